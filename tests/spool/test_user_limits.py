"""Limits of users: who has which, and what cannot be one."""

from __future__ import annotations

import getpass
import grp
import os
from pathlib import Path

import pytest

from arbd.daemon.host.config import Config, load_config
from arbd.daemon.side.admission import admission
from arbd.errors import UsageError
from arbd.job.spec import Execution
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.provenance import Submission
from arbd.spool.rejected import keep_within
from arbd.spool.sessions import create_session
from arbd.spool.user_limits import NO_LIMITS, LimitTable, UserLimits, parse_limits
from tests.spool.sessions import spec_of

MY_GROUP = grp.getgrgid(os.getgid()).gr_name


def test_a_users_own_entry_goes_before_those_of_groups_and_of_everybody() -> None:
    me = getpass.getuser()
    mine, group, all_ = UserLimits(slots=1), UserLimits(slots=2), UserLimits(slots=3)
    assert LimitTable({"*": all_, f"@{MY_GROUP}": group, me: mine}).of(me) == mine
    assert LimitTable({"*": all_, f"@{MY_GROUP}": group}).of(me) == group
    assert LimitTable({"*": all_, "@no-such-group": group}).of(me) == all_
    assert LimitTable({"somebody": mine}).of(me) == NO_LIMITS
    assert LimitTable({"*": all_}).of("") == NO_LIMITS


@pytest.mark.parametrize(
    "text",
    [
        "limits: 4",
        "limits: {anna: 4}",
        "limits: {anna: {slot: 4}}",
        "limits: {anna: {slots: 0}}",
        "limits: {a: {slots: x}}",
    ],
)
def test_what_can_be_no_limit_is_said_with_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "arbd.yaml"
    file.write_text(text + "\n")
    with pytest.raises(UsageError, match="arbd.yaml, line 1: limits"):
        load_config(file, {})


def test_limits_are_settings(tmp_path: Path) -> None:
    file = tmp_path / "arbd.yaml"
    file.write_text('limits: {"@quants": {slots: 4, timeout_s: 1.5}}\n')
    assert load_config(file, {}).limits == {"@quants": UserLimits(slots=4, timeout_s=1.5)}
    assert parse_limits({}, "here") == {}


@pytest.fixture
def layout(tmp_path: Path) -> SpoolLayout:
    layout = SpoolLayout(tmp_path)
    layout.prepare()
    return layout


def test_a_job_beyond_its_users_limits_is_refused_with_the_limit(layout: SpoolLayout) -> None:
    limits = {"anna": UserLimits(queued=2, max_priority=3, timeout_s=10.0, memory_mb=512)}
    admit = admission(Config(spool=layout.root, limits=limits), Files())
    good = spec_of(5, execution=Execution(timeout_s=10.0, memory_mb=512, priority=3))
    assert admit(Submission(user="anna"), good) == ""
    assert admit(Submission(user="bob"), spec_of(5, execution=Execution(priority=900))) == ""
    assert "priority is 4; the maximum is 3" in admit(
        Submission(user="anna"), spec_of(5, execution=Execution(10.0, 1, None, 4, 512))
    )
    assert "timeout_s is not given" in admit(Submission(user="anna"), spec_of(5, execution=Execution(memory_mb=512)))
    assert "memory_mb is 1024" in admit(Submission(user="anna"), spec_of(5, execution=Execution(10.0, memory_mb=1024)))
    for name in "ab":
        create_session(Files(), layout, name, b"", good, submission=Submission(user="anna"))
    assert "anna has 2 sessions that are not over" in admit(Submission(user="anna"), good)
    assert admit(Submission(user="bob"), good) == ""


def test_who_has_filled_his_part_of_the_spool_gets_no_new_session_until_there_is_room(layout: SpoolLayout) -> None:
    limits = {"anna": UserLimits(spool_mb=1)}
    config = Config(spool=layout.root, limits=limits)
    for name, user in (("a", "anna"), ("b", "anna"), ("c", "bob")):
        paths = create_session(Files(), layout, name, b"", spec_of(5), submission=Submission(user=user))
        (paths.segments / "w.seg").write_bytes(bytes(600_000))
    assert "the sessions of anna take 1 MB of the spool; the maximum is 1" in admission(config, Files())(
        Submission(user="anna"), spec_of(5)
    )
    assert admission(config, Files())(Submission(user="bob"), spec_of(5)) == ""
    (layout.session("b").segments / "w.seg").unlink()
    assert admission(config, Files())(Submission(user="anna"), spec_of(5)) == ""


def test_the_oldest_refused_jobs_go_where_a_user_has_too_many_and_the_newest_stays(layout: SpoolLayout) -> None:
    for number in range(4):
        (layout.rejected / f"{number}.yaml").write_bytes(bytes(400))
        (layout.rejected / f"{number}.yaml.error.txt").write_text("wrong")
        os.utime(layout.rejected / f"{number}.yaml", (number, number))
    (layout.rejected / "on-its-way.yaml").write_bytes(bytes(400))
    assert keep_within(Files(), layout, lambda uid: None) == []
    assert keep_within(Files(), layout, lambda uid: 900 if uid == os.getuid() else None) == ["0.yaml", "1.yaml"]
    assert keep_within(Files(), layout, lambda uid: 1) == ["2.yaml"]
    left = sorted(path.name for path in layout.rejected.iterdir())
    assert left == ["3.yaml", "3.yaml.error.txt", "on-its-way.yaml"]
