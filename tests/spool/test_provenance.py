"""Who did what to a session stands in its ledger, and earlier versions read past it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import UsageError
from arbd.spool import ledger
from arbd.spool.bookmarks import from_plain, to_plain
from arbd.spool.control import change, change_state, parse_changes, this_user
from arbd.spool.files import Files
from arbd.spool.history import history_of
from arbd.spool.job_file import host_in, host_line
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import MAX_BUSY_NS, read_record
from arbd.spool.provenance import LABEL, MAX_LABELS, Actor, Changes, Submission
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import create_session
from tests.spool.sessions import make_session, spec_of


@pytest.fixture
def layout(tmp_path: Path) -> SpoolLayout:
    layout = SpoolLayout(tmp_path)
    layout.prepare()
    return layout


ANNA = Actor(user="anna", uid=1001, host="desk-1", wall_ns=1_700_000_000_000_000_000, reason="wrong fees")


def test_whose_a_session_is_and_what_was_changed_is_folded_from_its_ledger(layout: SpoolLayout) -> None:
    submission = Submission(user="bob", uid=7, host="desk-2", wall_ns=5)
    spec = spec_of(9, labels={"desk": "btc"})
    create_session(Files(), layout, "s", b"", spec, submission=submission)
    change(layout, "s", ["priority=4", "max_slots=2"], ANNA)
    state = change(layout, "s", ["labels.draft=1", "max_slots=none"], ANNA)
    provenance = state.provenance
    assert (provenance.owner, provenance.submission.method) == ("bob", "random")
    assert provenance.changes == Changes(priority=4, max_slots=None, labels={"desk": "btc", "draft": "1"})
    assert provenance.labels == {"desk": "btc", "draft": "1"}
    assert state.state == ledger.RUNNING
    # A reader that left off here goes on from the same.
    assert from_plain(msgspec.msgpack.decode(msgspec.msgpack.encode(to_plain(state)), strict=False)) == state


def test_every_action_has_its_author_and_reason_in_the_history(layout: SpoolLayout) -> None:
    create_session(Files(), layout, "s", b"", spec_of(9), submission=Submission(user="bob", host="desk-2"))
    change_state(layout, "s", ledger.PAUSED, ANNA)
    change_state(layout, "s", ledger.RUNNING)
    change(layout, "s", ["priority=1"], ANNA)
    change_state(layout, "s", ledger.CANCELLED, ANNA)
    deeds = history_of(Files(), layout.session("s"))
    assert [deed.what for deed in deeds] == ["submitted", "pause", "resume", "set", "cancel"]
    me = this_user()
    assert [deed.user for deed in deeds] == ["bob", "anna", me.user, "anna", "anna"]
    assert [deed.reason for deed in deeds] == ["", "wrong fees", "", "wrong fees", "wrong fees"]
    assert deeds[3].changes == {"priority": 1}
    with pytest.raises(UsageError, match="nothing of it can be changed"):
        change(layout, "s", ["priority=2"], ANNA)


def test_what_earlier_versions_wrote_has_no_author(layout: SpoolLayout) -> None:
    paths = make_session(layout, 3)
    queue = SessionQueue(Files(), paths)
    queue.change(lambda _: [ledger.switched(ledger.PAUSED), ledger.switched(ledger.RUNNING)])
    assert [(deed.what, deed.user) for deed in history_of(Files(), paths)] == [
        ("submitted", ""),
        ("pause", ""),
        ("resume", ""),
    ]
    assert [action.actor for action in queue.state.provenance.since(0)] == [None, None]


@pytest.mark.parametrize(
    "plain",
    [
        {"k": "state", "s": "paused", "who": {"user": "x" * 301, "uid": 1, "host": "h", "at": 1}},
        {"k": "state", "s": "paused", "who": {"user": "x", "uid": -1, "host": "h", "at": 1}},
        {"k": "state", "s": "running", "set": {"max_slots": 0}},
        {"k": "state", "s": "running", "set": {"labels": {"a": "b" * 65}}},
        {"k": "finish", "i": 1, "t": 1, "c": [], "b": -MAX_BUSY_NS - 1},
    ],
)
def test_what_cannot_be_meant_is_no_record(plain: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="the record"):
        read_record(msgspec.msgpack.encode(plain), 5)


@pytest.mark.parametrize(
    "setting",
    ["priority", "priority=x", "priority=", "priority=1.5", "priority=1001", "priority=-1001", "priority=" + "9" * 5000,
     "max_slots=0", "max_slots=-1", "max_slots=1048577", "seed=4", "", "=", "labels.=b", "labels.a b=c", "labels.a\nb=c",
     "labels.\u00e9=c", "labels.a=\u00fc", "labels.a=b c", "labels.a=" + "b" * 65, "labels." + "a" * 65 + "=b"],
)  # fmt: skip
def test_what_cannot_be_changed_is_said(setting: str) -> None:
    with pytest.raises(UsageError, match="expected (an integer|NAME=VALUE|priority)|made of|the minimum is"):
        parse_changes([setting], {})


LABEL_TEXT = st.one_of(st.text(max_size=3), st.from_regex(LABEL, fullmatch=True))


@given(LABEL_TEXT, LABEL_TEXT.filter(bool))
def test_set_takes_the_labels_that_a_job_file_takes(name: str, value: str) -> None:
    taken = all(LABEL.fullmatch(part) for part in (name, value))
    try:
        changes = parse_changes([f"labels.{name}={value}"], {})
    except UsageError:
        assert not taken or "=" in name
        return
    # What stands behind the first sign of equality is the value.
    assert "=" in name or (taken and changes.labels == {name: value})


def test_a_label_too_many_is_refused_and_one_that_an_earlier_version_let_through_can_go() -> None:
    many = {f"n{number}": "x" for number in range(MAX_LABELS)}
    with pytest.raises(UsageError, match="the maximum is 32"):
        parse_changes(["labels.more=x"], many)
    changed = parse_changes(["labels.n0=", "labels.more=x"], many).labels
    assert changed == {**{name: "x" for name in many if name != "n0"}, "more": "x"}
    assert parse_changes(["labels.="], {"": "b"}).labels == {}


def test_labels_that_two_people_set_at_once_are_both_there(layout: SpoolLayout) -> None:
    create_session(Files(), layout, "s", b"", spec_of(9, labels={"desk": "btc"}))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: change(layout, "s", [f"labels.n{n}=x"], ANNA), range(20)))
    state = SessionQueue(Files(), layout.session("s")).refresh()
    assert state.provenance.labels == {"desk": "btc", **{f"n{n}": "x" for n in range(20)}}


def test_a_job_says_where_it_was_submitted() -> None:
    assert host_in(host_line("desk 1/x") + b"tuning: {}\n") == "desk_1_x"
    assert host_in(b"tuning: {}\n") == ""


def test_only_the_last_actions_are_kept_in_memory() -> None:
    state = LedgerState()
    state.fold(ledger.opened(5))
    for _ in range(200):
        state.fold(ledger.switched(ledger.PAUSED))
    assert (state.provenance.acted, len(state.provenance.actions)) == (200, 50)
    assert len(state.provenance.since(190)) == 10
