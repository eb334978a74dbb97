"""Standing jobs under real daemons: new data make one session, whichever host sees them; the answer, and who did what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from tests.conftest import Arbctl, Daemons, wait_until
from tests.jobs import write_job

pytestmark = pytest.mark.bed


def write_day(folder: Path, day: int) -> None:
    """A file of a day, moved into place whole."""
    ts = np.arange(50, dtype=np.int64) * 10**9 + (20_000 + day) * 86_400 * 10**9
    price = np.full(50, 100.0 + day)
    np.savez(folder / "new", ts_ns=ts, bid_a=price, ask_a=price + 1, bid_b=price, ask_b=price + 1, fx=np.ones(50))
    (folder / "new.npz").rename(folder / f"q-2026-03-{day:02}.npz")


def shown(arbctl: Arbctl, name: str = "night") -> dict[str, Any]:
    code, out, err = arbctl("standing", "show", name, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def sessions_done(arbctl: Arbctl) -> list[str]:
    found = json.loads(arbctl("list", "--json", "--all")[1])["sessions"]
    return sorted(view["session_id"] for view in found if view["state"] == "done")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for day in (1, 2, 3):
        write_day(folder, day)
    return folder


def submit(arbctl: Arbctl, tmp_path: Path, data: Path, **more: Any) -> None:
    job = write_job(
        tmp_path / "job.yaml", "samples:quick", 20, method="tpe", session_id="night", schedule={"when": "data changed"},
        data=[{"folder": str(data), "pattern": "q-*", "last": "2d"}], **more,
    )  # fmt: skip
    code, _, err = arbctl("submit", job)
    assert code == 0, err


def test_new_data_make_one_session_that_knows_the_one_before_though_a_host_dies(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, data: Path, tmp_path: Path
) -> None:
    first = daemons.start("a", slots=1)
    daemons.start("b", slots=1)
    submit(arbctl, tmp_path, data)
    wait_until(lambda: len(sessions_done(arbctl)) == 1, 120.0, what="the first session")
    assert shown(arbctl)["answer"]["advice"] == "wait"
    first.kill()
    first.wait(20)
    write_day(data, 4)
    wait_until(lambda: len(sessions_done(arbctl)) == 2, 120.0, what="the session on new data")
    wait_until(lambda: shown(arbctl)["last_session_state"] == "done", what="the answer")
    told = shown(arbctl)
    newer, older = told["fires"]
    assert [newer["starts_from"], older["starts_from"]] == [older["session_id"], None]
    assert told["standing_setting"]["session"] == older["session_id"]
    assert told["owner"] == SessionQueue(Files(), layout.session(newer["session_id"])).refresh().provenance.owner
    best = json.loads(arbctl("best", older["session_id"], "--format", "json")[1])
    written = layout.session(newer["session_id"]).job.read_text()
    assert "'2026-03-04'" in written
    assert f"x: {best['x']}" in written or str(best["x"]) in written
    value = told["answer"]["standing"]["value"]
    assert value == pytest.approx(told["standing_setting"]["value"])
    assert told["answer"]["winner"]["value"] >= value
    # What is the same under another name or time of change is no new data.
    (data / "q-2026-03-04.npz").touch()
    beats = int(json.loads(arbctl("workers", "--json")[1])["workers"][0]["beats"])
    wait_until(
        lambda: any(w["beats"] > beats + 10 for w in json.loads(arbctl("workers", "--json")[1])["workers"]),
        what="some looks",
    )
    assert len(shown(arbctl)["fires"]) == 2
    assert "a standing job makes a session" in daemons.log()


def test_what_a_person_does_is_told_and_a_job_that_is_asked_for_comes_at_once(
    arbctl: Arbctl, daemons: Daemons, data: Path, tmp_path: Path
) -> None:
    daemons.start("a", slots=1)
    submit(arbctl, tmp_path, data)
    wait_until(lambda: len(sessions_done(arbctl)) == 1, 120.0, what="the first session")
    assert arbctl("standing", "fire", "night", "--reason", "to see")[0] == 0
    wait_until(lambda: "night-asked-1" in sessions_done(arbctl), 120.0, what="the session that was asked for")
    assert arbctl("standing", "pause", "night", "--reason", "holidays")[0] == 0
    (listed,) = json.loads(arbctl("list", "--json")[1])["standing"]
    assert (listed["state"], listed["last_session"]) == ("paused", "night-asked-1")
    code, out, _ = arbctl("standing", "list")
    assert code == 0
    assert "paused" in out
    assert arbctl("standing", "remove", "night")[0] == 0
    assert arbctl("standing", "list")[1].strip() == "no standing jobs"
    assert "removed" in arbctl("standing", "list", "--all")[1]
    deeds = [(deed["what"], deed["reason"]) for deed in shown(arbctl)["history"]]
    assert deeds == [("fire", "to see"), ("pause", "holidays"), ("remove", "")]
    code, out, _ = arbctl("standing", "show", "night")
    assert code == 0
    assert "holidays" in out
    assert arbctl("standing", "pause", "nigth")[0] == 3
    assert arbctl("standing", "show", "night", "--session", "night-asked-2")[0] == 3


def test_data_that_are_away_are_told_until_they_are_back(
    arbctl: Arbctl, daemons: Daemons, data: Path, tmp_path: Path
) -> None:
    daemons.start("a", slots=1)
    submit(arbctl, tmp_path, data)
    wait_until(lambda: len(sessions_done(arbctl)) == 1, 120.0, what="the first session")
    data.rename(tmp_path / "away")
    wait_until(lambda: "cannot be listed" in (shown(arbctl)["trouble"] or ""), what="word of it")
    assert "cannot be listed" in arbctl("list")[1]
    assert "cannot make its session" in arbctl("doctor")[1]
    (tmp_path / "away").rename(data)
    wait_until(lambda: shown(arbctl)["trouble"] is None, what="its end")
    assert len(shown(arbctl)["fires"]) == 1
