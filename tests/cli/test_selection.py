"""`list` with filters, `set`, `history`: as somebody at a desk that shares a spool uses them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.provenance import Submission
from arbd.spool.sessions import create_session
from tests.conftest import Arbctl
from tests.jobs import write_job
from tests.spool.sessions import spec_of

HOUR_NS = 3600 * 10**9


@pytest.fixture
def desk(layout: SpoolLayout) -> SpoolLayout:
    for name, user, hours, label in (("a", "anna", 1, "btc"), ("b", "bob", 50, "btc"), ("c", "bob", 2, "eth")):
        said = Submission(user=user, uid=1, host="desk", wall_ns=time.time_ns() - hours * HOUR_NS)
        create_session(Files(), layout, name, b"", spec_of(4, labels={"desk": label}), submission=said)
    return layout


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), "abc"),
        (("--user", "bob"), "bc"),
        (("--user", "bob", "--user", "anna"), "abc"),
        (("--label", "desk=btc"), "ab"),
        (("--label", "desk"), "abc"),
        (("--label", "other"), ""),
        (("--since", "1d"), "ac"),
        (("--older-than", "1d"), "b"),
        (("--state", "paused"), ""),
        (("--state", "pending,running", "--user", "bob", "--label", "desk=eth"), "c"),
    ],
)
def test_a_list_has_what_fits_every_filter(
    arbctl: Arbctl, desk: SpoolLayout, filters: tuple[str, ...], expected: str
) -> None:  # fmt: skip
    code, out, _ = arbctl("list", "--json", *filters)
    assert code == 0
    assert "".join(view["session_id"] for view in json.loads(out)["sessions"]) == expected


@pytest.mark.parametrize("wrong", [("--state", "sleeping"), ("--since", "soon"), ("--older-than", "30 days")])
def test_a_filter_that_cannot_be_meant_is_bad_usage(arbctl: Arbctl, desk: SpoolLayout, wrong: tuple[str, str]) -> None:
    code, _, err = arbctl("list", *wrong)
    assert (code, wrong[0] in err) == (2, True)


def test_who_did_what_is_shown_where_one_looks(arbctl: Arbctl, desk: SpoolLayout) -> None:
    assert arbctl("pause", "a", "--reason", "wrong fees")[0] == 0
    assert arbctl("set", "a", "priority=3", "labels.draft=yes")[0] == 0
    told = json.loads(arbctl("status", "a", "--json")[1])
    assert (told["submitter"], told["host"], told["method"], told["priority"]) == ("anna", "desk", "random", 3)
    assert told["labels"] == {"desk": "btc", "draft": "yes"}
    assert told["last_action"]["what"] == "set"
    assert "submitted by anna from desk" in arbctl("status", "a")[1]
    history = json.loads(arbctl("history", "a", "--json")[1])["history"]
    assert [(deed["what"], deed["reason"]) for deed in history[1:]] == [("pause", "wrong fees"), ("set", "")]
    assert "wrong fees" in arbctl("history", "a")[1]
    assert arbctl("history", "nobody")[0] == 3
    assert arbctl("set", "a", "seed=1")[0] == 2


def test_a_reason_too_long_for_a_record_is_refused(arbctl: Arbctl, desk: SpoolLayout) -> None:
    assert arbctl("cancel", "a", "--reason", "x" * 1001)[0] == 2
    assert json.loads(arbctl("status", "a", "--json")[1])["state"] == "pending"


def test_a_verb_on_many_shows_first_and_then_does_it_to_each(arbctl: Arbctl, desk: SpoolLayout) -> None:
    code, out, _ = arbctl("cancel", "--user", "bob", "--reason", "left the desk")
    assert (code, "2 sessions; nothing was done" in out) == (0, True)
    assert json.loads(arbctl("list", "--state", "cancelled", "--json")[1])["sessions"] == []
    assert arbctl("cancel", "--user", "bob", "--reason", "left the desk", "--yes")[0] == 0
    cancelled = json.loads(arbctl("list", "--state", "cancelled", "--json")[1])["sessions"]
    assert [view["session_id"] for view in cancelled] == ["b", "c"]
    assert all(view["last_action"]["reason"] == "left the desk" for view in cancelled)


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "archive"])
def test_a_verb_without_a_session_and_without_a_filter_is_bad_usage(
    arbctl: Arbctl, desk: SpoolLayout, verb: str
) -> None:  # fmt: skip
    assert arbctl(verb, "--yes")[0] == 2
    assert arbctl(verb, "a", "--user", "anna")[0] == 2


def test_an_archive_that_is_there_is_not_overwritten(arbctl: Arbctl, desk: SpoolLayout, tmp_path: Path) -> None:
    arbctl("cancel", "--label", "desk", "--yes")
    target = tmp_path / "archives"
    assert arbctl("archive", "--label", "desk", "--output", target, "--yes")[0] == 2
    target.mkdir()
    assert arbctl("archive", "--label", "desk", "--output", target)[0] == 0
    assert list(target.iterdir()) == []
    assert arbctl("archive", "--label", "desk", "--output", target, "--yes")[0] == 0
    assert sorted(file.name for file in target.iterdir()) == ["a.tar.gz", "b.tar.gz", "c.tar.gz"]
    (target / "a.tar.gz").write_bytes(b"precious")
    code, out, _ = arbctl("archive", "--label", "desk", "--output", target, "--yes")
    assert (code, "not overwritten" in out) == (1, True)
    assert arbctl("archive", "a", "--output", target / "a.tar.gz")[0] == 2
    assert (target / "a.tar.gz").read_bytes() == b"precious"
    assert arbctl("archive", "a", "--output", target / "a.tar.gz", "--force")[0] == 0


def test_many_are_purged_together(arbctl: Arbctl, desk: SpoolLayout) -> None:
    arbctl("cancel", "--user", "bob", "--yes")
    flags = ("--results", "--claims", "--label", "desk")
    assert "2 sessions; nothing was done" in arbctl("purge", *flags)[1]
    assert arbctl("purge", *flags, "--yes")[0] == 0
    assert [view["session_id"] for view in json.loads(arbctl("list", "--all", "--json")[1])["sessions"]] == ["a"]


def test_many_files_are_submitted_together_or_none_is(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    for name in "abc":
        write_job(tmp_path / f"{name}.yaml", "samples:quick", 5)
    files = sorted(tmp_path.glob("?.yaml"))
    sessions = json.loads(arbctl("submit", *files, "--json")[1])["sessions"]
    assert [told["iterations"] for told in sessions] == [5, 5, 5]
    waiting = {file.name for file in layout.incoming.glob("*.yaml")}
    assert waiting == {f"{told['session_id']}.submitted.yaml" for told in sessions}
    assert arbctl("submit", *files, "--session-id", "one")[0] == 2
    assert arbctl("submit", *files, "--set", "session_id=one")[0] == 2
    (tmp_path / "b.yaml").write_text("tuning: {}\n")
    assert arbctl("submit", *files)[0] == 2
    assert {file.name for file in layout.incoming.glob("*.yaml")} == waiting
