"""Hosts are drained, the spool is stopped, workers are forgotten: with real daemons, through the real commands."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from tests.conftest import Arbctl, Daemons, wait_until
from tests.jobs import write_job

pytestmark = pytest.mark.bed


def state_of(arbctl: Arbctl, worker: str) -> tuple[str, bool, int]:
    told = json.loads(arbctl("workers", "--json", "--all")[1])["workers"]
    found = next((one for one in told if one["worker_id"] == worker), None)
    return ("", False, 0) if found is None else (found["state"], found["alive"], found["busy"])


def test_a_drained_worker_gives_back_what_it_has_and_others_end_the_session(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    daemons.start("a", slots=1)
    wait_until(lambda: state_of(arbctl, "a")[0] == "running", what="the start of a")
    assert arbctl("submit", write_job(tmp_path / "job.yaml", "samples:slow", 40), "--session-id", "s")[0] == 0
    queue = SessionQueue(Files(), layout.session("s"))
    wait_until(lambda: layout.session("s").ledger.exists() and queue.refresh().claims, what="a claim")
    assert arbctl("drain", "a", "--reason", "new memory")[0] == 0
    wait_until(lambda: state_of(arbctl, "a") == ("drained", True, 0), what="the drain")
    assert not queue.refresh().claims
    assert "new memory" in arbctl("workers")[1]
    assert "new memory" in daemons.log()
    daemons.start("b", slots=2)
    wait_until(lambda: queue.refresh().worker_counts.get("b"), what="the work of b")
    counted = queue.state.worker_counts.get("a", [0])[0]
    wait_until(lambda: queue.refresh().done, 120.0, what="the end of the session")
    assert queue.state.worker_counts.get("a", [0])[0] == counted
    assert arbctl("forget", "a")[0] == 2
    assert "arbctl undrain a" in arbctl("doctor")[1]
    assert arbctl("undrain", "a", "--reason", "it is in")[0] == 0
    wait_until(lambda: state_of(arbctl, "a")[0] == "running", what="the end of the drain")
    assert "it is in" in daemons.log()
    told = json.loads(arbctl("history", "--json")[1])["history"]
    assert [(one["what"], one["worker"], one["reason"]) for one in told] == [
        ("drain", "a", "new memory"),
        ("undrain", "a", "it is in"),
    ]
    assert all(one["user"] and one["host"] and one["when"] for one in told)


def test_nothing_is_taken_up_during_maintenance_and_everything_afterwards(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    assert arbctl("maintenance", "on", "--reason", "new file server")[0] == 0
    daemons.start("a", slots=1)
    wait_until(lambda: state_of(arbctl, "a")[0] == "maintenance", what="the start of a")
    code, _, err = arbctl("submit", write_job(tmp_path / "job.yaml", "samples:quick", 20), "--session-id", "s")
    assert (code, "no job is taken up" in err, "new file server" in err) == (0, True, True)
    beats = [0]

    def has_looked_often() -> bool:
        told = json.loads(arbctl("workers", "--json")[1])["workers"][0]["beats"]
        beats.append(told)
        return bool(told > beats[1] + 3)

    wait_until(has_looked_often, what="some looks")
    assert not layout.session("s").ledger.exists()
    for command in (("list",), ("status", "s"), ("doctor",), ("watch", "--once")):
        assert "new file server" in arbctl(*command)[1], command
    assert arbctl("maintenance", "off")[0] == 0
    wait_until(
        lambda: layout.session("s").ledger.exists() and SessionQueue(Files(), layout.session("s")).refresh().done,
        what="the end of the session",
    )


def test_a_session_that_runs_says_that_it_waits_for_the_end_of_maintenance(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    daemons.start("a", slots=1)
    assert arbctl("submit", write_job(tmp_path / "job.yaml", "samples:slow", 500), "--session-id", "s")[0] == 0
    wait_until(lambda: seen_by(arbctl, "s")[0] == "running", what="the start of the session")
    assert arbctl("maintenance", "on", "--reason", "new file server")[0] == 0
    wait_until(lambda: seen_by(arbctl, "s")[0] == "blocked", what="what is out to come back")
    assert "new file server" in seen_by(arbctl, "s")[1]
    assert "new file server" in arbctl("status", "s")[1]
    assert arbctl("maintenance", "off")[0] == 0
    wait_until(lambda: seen_by(arbctl, "s")[0] == "running", what="the session to go on")


def test_a_worker_that_holds_its_lock_and_stands_still_is_silent_for_everybody(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout
) -> None:
    first = daemons.start("a", slots=1)
    daemons.start("b", slots=1)
    wait_until(lambda: {state_of(arbctl, name)[0] for name in "ab"} == {"running"}, what="the start of both")
    first.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: "a has not been heard of for" in arbctl("workers")[1], what="a to be missed")
        (told,) = (one for one in json.loads(arbctl("workers", "--json")[1])["workers"] if one["worker_id"] == "a")
        assert told["alive"]
        assert told["silent_s"] > 0
        assert "silent" in arbctl("watch", "--once")[1]
        assert "a: has not been heard of" in arbctl("doctor")[1]
    finally:
        first.send_signal(signal.SIGCONT)
    wait_until(lambda: "has not been heard of" not in arbctl("workers")[1], what="a to be heard of again")


def test_a_worker_that_is_gone_is_forgotten(arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout) -> None:
    daemons.start("a", slots=1)
    wait_until(lambda: state_of(arbctl, "a")[0] == "running", what="the start of a")
    daemons.stop()
    assert arbctl("forget", "a")[0] == 0
    assert state_of(arbctl, "a") == ("", False, 0)
    assert arbctl("forget", "a")[0] == 3
    assert arbctl("drain", "nobody")[0] == 3


def seen_by(arbctl: Arbctl, name: str) -> tuple[str, str]:
    views = json.loads(arbctl("list", "--json")[1])["sessions"]
    return next(((view["state"], view["reason"]) for view in views if view["session_id"] == name), ("", ""))


def test_a_session_waits_for_others_for_a_host_and_ends_at_its_deadline(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:quick", 20)
    for name, *terms in (
        ("first", "execution.priority=1"),
        ("second", "after=first"),
        ("third", "after=[first, nobody]"),
        ("left", "after=right"),
        ("right", "after=left"),
        ("elsewhere", "requires={gpu: 'yes'}"),
        ("late", "deadline=2020-01-01T00:00:00Z"),
    ):
        sets = [part for term in terms for part in ("--set", term)]
        assert arbctl("submit", job, "--session-id", name, *sets)[0] == 0
    daemons.start("a", slots=1)
    wait_until(lambda: seen_by(arbctl, "first")[0] == "done", 180.0, what="the first session")
    wait_until(lambda: seen_by(arbctl, "second")[0] == "done", 180.0, what="the second")
    wait_until(lambda: seen_by(arbctl, "late")[0] == "done", 180.0, what="the late one")
    queue = SessionQueue(Files(), layout.session("late"))
    assert queue.refresh().stopped == "its deadline was reached"
    first = SessionQueue(Files(), layout.session("first")).refresh()
    second = SessionQueue(Files(), layout.session("second")).refresh()
    assert second.started_ns >= first.recent[-1][0]
    waits = (
        "waits for nobody to be over; nobody is no session yet: if that is a mistake, cancel third and submit it again"
    )
    wait_until(
        lambda: seen_by(arbctl, "third") == ("pending", waits), what="the reason, once the first is known as over"
    )
    assert (seen_by(arbctl, "left")[1], seen_by(arbctl, "right")[1]) == (
        "waits for right to be over, which never comes: left -> right -> left; cancel one of these",
        "waits for left to be over, which never comes: right -> left -> right; cancel one of these",
    )
    assert arbctl("cancel", "left")[0] == 0
    wait_until(lambda: seen_by(arbctl, "right")[0] == "done", 180.0, what="the one that waited for what is cancelled")
    assert seen_by(arbctl, "elsewhere") == ("pending", "needs a host with gpu=yes")
    (tmp_path / "labelled.yaml").write_text(daemons.config.read_text() + "labels: {gpu: yes}\n")
    daemons.config = tmp_path / "labelled.yaml"
    daemons.start("b", slots=1)
    wait_until(lambda: seen_by(arbctl, "elsewhere")[0] == "done", 180.0, what="the one for another host")
    assert set(SessionQueue(Files(), layout.session("elsewhere")).refresh().worker_counts) == {"b"}
