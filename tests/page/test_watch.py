"""What is seen of a spool: everything once, then what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arbd.page.watch import TURN, SpoolWatch
from arbd.search.problem import MetricGoal
from arbd.spool import ledger
from arbd.spool.control import change_state
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, take_liveness_lock, write_beat
from tests.spool.sessions import exhaust, make_session


@pytest.fixture
def watch(layout: SpoolLayout, tmp_path: Path) -> SpoolWatch:
    return SpoolWatch(layout, tmp_path / "bookmarks")


def test_everything_is_told_once_and_then_what_changed(layout: SpoolLayout, watch: SpoolWatch) -> None:
    make_session(layout, 5, "a", metrics=(MetricGoal("pnl", "maximize"),))
    exhaust(make_session(layout, 7, "b"), 7, (6, 1, 0, 0))
    watch.look()
    first = watch.changes(0)
    rows = {row["id"]: row for row in first["sessions"]}
    assert (first["whole"], first["complete"], first["count"]) == (True, True, 2)
    assert (rows["a"]["state"], rows["a"]["done"], rows["a"]["of"], rows["a"]["metric"]) == ("pending", 0, 5, "pnl")
    assert (rows["b"]["state"], rows["b"]["done"], rows["b"]["bad"]) == ("finishing", 7, 1)
    watch.look()
    same = watch.changes(first["version"])
    assert (same["sessions"], same["gone"], same["whole"], same["version"]) == ([], [], False, first["version"])
    change_state(layout, "a", ledger.PAUSED)
    watch.look()
    changed = watch.changes(first["version"])
    assert [(row["id"], row["state"]) for row in changed["sessions"]] == [("a", "paused")]
    Files().remove_tree(layout.session("a").folder)
    watch.look()
    assert watch.changes(changed["version"])["gone"] == ["a"]
    assert [row["id"] for row in watch.changes(0)["sessions"]] == ["b"]


@pytest.mark.parametrize("since", [-1, 0, 1, 10**18])
def test_a_browser_of_another_server_gets_everything(layout: SpoolLayout, watch: SpoolWatch, since: int) -> None:
    make_session(layout, 5, "a")
    watch.look()
    assert watch.changes(since)["whole"]


def test_sessions_that_are_over_are_looked_at_again_in_turns(layout: SpoolLayout, watch: SpoolWatch) -> None:
    names = [f"s{number:04d}" for number in range(TURN + 20)]
    for name in names:
        make_session(layout, 1, name)
        change_state(layout, name, ledger.CANCELLED)
    watch.look()
    before = watch.changes(0)["version"]
    for name in names:
        Files().append(layout.session(name).ledger, b"")
        layout.session(name).ledger.write_bytes(layout.session(name).ledger.read_bytes()[:-1])
    for _ in range(3):
        watch.look()
    assert {row["id"] for row in watch.changes(before)["sessions"]} == set(names)


def test_what_cannot_be_read_is_a_row_with_the_reason(layout: SpoolLayout, watch: SpoolWatch) -> None:
    paths = make_session(layout, 5, "broken")
    paths.spec.write_bytes(b"\0" * 100)
    make_session(layout, 5, "good")
    watch.look()
    rows = {row["id"]: row for row in watch.changes(0)["sessions"]}
    assert rows["broken"]["state"] == "unreadable"
    assert "arbctl repair broken" in rows["broken"]["reason"]
    assert rows["good"]["state"] == "pending"


def test_jobs_that_wait_or_were_refused_and_workers_are_told(layout: SpoolLayout, watch: SpoolWatch) -> None:
    (layout.incoming / "waiting.yaml").write_text("tuning: {}\n")
    (layout.rejected / "bad.yaml").write_text("?\n")
    (layout.rejected / "bad.yaml.error.txt").write_text("line 1: no\n")
    write_beat(Files(), layout, Beat("w1", 1, 1, {"state": "running", "slots": 4, "busy": 2, "rate": 1.5, "host": "h"}))
    watch.look()
    found = watch.changes(0)
    assert [(job["id"], job["state"]) for job in found["jobs"]] == [
        ("waiting.yaml", "queued"),
        ("bad.yaml", "rejected"),
    ]
    assert found["jobs"][0]["reason"]
    assert found["jobs"][1]["reason"].startswith("line 1: no; ")
    assert [(one["id"], one["state"], one["alive"]) for one in found["workers"]] == [("w1", "gone", False)]
    assert len(watch.worker_points()["w1"]) == 1


@pytest.mark.parametrize("waits_for", ["", "the scheduler"])
@pytest.mark.parametrize("refused", [{}, {"tcp://h:2": "NumPy is 1.0 there"}, "nonsense"])
@pytest.mark.parametrize(
    "executor", [None, "nonsense", {"kind": "dask", "address": "a", "slots": 8, "ready": 6, "busy": 5}]
)
def test_slots_of_an_executor_are_told_with_what_is_in_their_way(
    layout: SpoolLayout, watch: SpoolWatch, executor: Any, refused: Any, waits_for: str
) -> None:
    told = {**executor, "waits_for": waits_for, "refused": refused} if isinstance(executor, dict) else executor
    life = take_liveness_lock(Files(), layout, "w1")
    assert life is not None
    write_beat(Files(), layout, Beat("w1", 1, 1, {"state": "running", "executor": told}))
    watch.look()
    life.release()
    (one,) = watch.changes(0)["workers"]
    if not isinstance(executor, dict):
        assert one["executor"] is None
        return
    notes = [*(["waits for the scheduler"] if waits_for else [])]
    notes += [f"refuses {name}: {why}" for name, why in refused.items()] if isinstance(refused, dict) else []
    assert one["executor"] == {**executor, "notes": notes}


def test_what_is_in_a_session_s_way_stands_in_its_row(layout: SpoolLayout, watch: SpoolWatch) -> None:
    make_session(layout, 5, "a")
    watch.look()
    before = watch.changes(0)["version"]
    write_beat(Files(), layout, Beat("w1", 1, 1, {"state": "running", "blocked": {"a": "no such data here"}}))
    watch.look()
    (row,) = watch.changes(before)["sessions"]
    assert row["reason"] == "w1: no such data here"
    write_beat(Files(), layout, Beat("w1", 1, 2, {"state": "running", "blocked": {}}))
    watch.look()
    assert "reason" not in watch.changes(before)["sessions"][0]


def test_a_spool_that_is_gone_is_told_and_what_was_seen_stays(layout: SpoolLayout, watch: SpoolWatch) -> None:
    make_session(layout, 5, "a")
    watch.look()
    layout.sessions.rename(layout.root / "away")
    watch.look()
    found = watch.changes(0)
    assert "sessions" in found["trouble"]
    assert [row["id"] for row in found["sessions"]] == ["a"]
    (layout.root / "away").rename(layout.sessions)
    watch.look()
    assert watch.changes(0)["trouble"] == ""
