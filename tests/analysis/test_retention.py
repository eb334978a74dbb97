"""Rounds of retention on real files: killed between any two calls, met by somebody else's work, and told what they did."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.analysis.archive import restore_archive
from arbd.analysis.retention import FolderArchiver, Outcome, Retainer, round_lock
from arbd.errors import ArbdError, UsageError
from arbd.results.compaction import compact
from arbd.results.run_again import run_again
from arbd.results.store_reader import read_results
from arbd.spool.control import change_state, this_user
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import CANCELLED
from arbd.spool.liveness import Beat, take_liveness_lock, write_beat
from arbd.spool.provenance import Actor
from arbd.spool.queue import SessionQueue
from arbd.spool.retention_log import ARCHIVED, PURGED, SEGMENTS, read_deeds
from arbd.spool.retention_rules import parse_rules
from arbd.spool.session_index import make_anew
from arbd.spool.sessions import remove_unfinished
from arbd.spool.system import RealSystem, SystemClock
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

N = 6
FULL = os.environ.get("ARBD_RETENTION_KILLS") == "all"


def finished(layout: SpoolLayout, name: str) -> None:
    paths = make_session(layout, N, name)
    write_rows(paths, "a", rows_of(1, N, value=float(len(name)), blocks=True))
    exhaust(paths, N)
    compact(Files(), paths)


@pytest.fixture
def ended(layout: SpoolLayout) -> SpoolLayout:
    """A session that is done, one that was cancelled, both in the index."""
    finished(layout, "done")
    write_rows(make_session(layout, N, "killed"), "a", rows_of(1, 2))
    change_state(layout, "killed", CANCELLED, Actor(user="anna", uid=1, host="desk", wall_ns=1))
    make_anew(Files(), layout)
    for name in list((layout.active).iterdir()):
        name.unlink()
    return layout


def retainer(layout: SpoolLayout, rules: list[dict[str, Any]], archive: Path, files: Files | None = None) -> Retainer:
    archive.mkdir(exist_ok=True)
    return Retainer(
        files or Files(), layout, SystemClock(), parse_rules(rules, "here"), FolderArchiver(archive), "this-host"
    )


def outcomes(layout: SpoolLayout, rules: list[dict[str, Any]], archive: Path) -> list[Outcome]:
    found = retainer(layout, rules, archive)
    assert found.archiver is not None
    with FolderArchiver(archive).alone():
        return list(found.run())


ALL = {
    "segments": [{"action": "segments", "keep": 0, "older_than": "1s"}],
    "archive": [{"action": "archive", "older_than": "1s"}],
    "archive_and_purge": [{"action": "archive_and_purge", "older_than": "1s"}],
    "purge": [{"action": "purge", "older_than": "1s", "state": "cancelled"}],
}


def values(layout: SpoolLayout, name: str) -> list[float]:
    return [
        float(value) for group in read_results(Files(), layout.session(name)) for value in group.rows.metrics["value"]
    ]


def test_each_action_does_what_it_says_once(ended: SpoolLayout, tmp_path: Path) -> None:
    before = values(ended, "done")
    assert {one.session_id: one.what for one in outcomes(ended, ALL["segments"], tmp_path / "a")} == {
        "done": SEGMENTS,
        "killed": SEGMENTS,
    }
    assert not list(ended.session("done").segments.iterdir())
    assert list(ended.session("killed").segments.iterdir()), "of a cancelled session they are all that there is"
    assert outcomes(ended, ALL["segments"], tmp_path / "a") == []
    assert [one.what for one in outcomes(ended, ALL["archive"], tmp_path / "a")] == [ARCHIVED, ARCHIVED]
    assert outcomes(ended, ALL["archive"], tmp_path / "a") == []
    assert [one.what for one in outcomes(ended, ALL["archive_and_purge"], tmp_path / "a")] == [PURGED, PURGED]
    assert sorted(path.name for path in (tmp_path / "a").glob("*.tar.gz")) == ["done.tar.gz", "killed.tar.gz"]
    assert not list(ended.sessions.iterdir())
    assert restore_archive(Files(), ended, tmp_path / "a" / "done.tar.gz") == "done"
    assert values(ended, "done") == before
    told = [(deed.session_id, deed.what) for deed in read_deeds(Files(), ended).every]
    assert told.count(("done", PURGED)) == told.count(("done", ARCHIVED)) == told.count(("done", SEGMENTS)) == 1


def test_an_archive_of_another_session_of_that_name_is_not_overwritten(ended: SpoolLayout, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "done.tar.gz").write_bytes(b"somebody else's")
    outcomes(ended, ALL["archive_and_purge"], tmp_path / "a")
    assert (tmp_path / "a" / "done.tar.gz").read_bytes() == b"somebody else's"
    assert restore_archive(Files(), ended, tmp_path / "a" / "done.2.tar.gz") == "done"


class LyingArchiver(FolderArchiver):
    """A disk that loses a byte of what was written, after it was read back."""

    def archive(self, *about: Any) -> str:
        place = super().archive(*about)
        data = bytearray(Path(place).read_bytes())
        data[len(data) // 2] ^= 1
        Path(place).write_bytes(data)
        return place


def test_nothing_is_purged_whose_archive_does_not_read_back(ended: SpoolLayout, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    lying = retainer(ended, ALL["archive_and_purge"], tmp_path / "a")
    lying.archiver = LyingArchiver(tmp_path / "a")
    found = list(lying.run())
    assert all("does not read back" in one.error for one in found)
    assert values(ended, "done")
    assert SessionQueue(Files(), ended.session("killed")).refresh().over


class KilledError(BaseException):
    """SIGKILL."""


CALLS = ("open", "write", "fsync", "rename", "link", "remove", "make_folder", "remove_folder", "names", "lock")


class Interrupted(RealSystem):
    """A system of whose calls one meets something: a kill, if nothing else is named, and then none comes after it."""

    def __init__(self, at: int, meet: Callable[[], None] | None = None) -> None:
        self.calls, self.at, self.meet = 0, at, meet

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CALLS:
            return found

        def counted(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            if self.meet is None and self.calls >= self.at:
                raise KilledError
            if self.meet is not None and self.calls == self.at:
                self.meet()
            return found(*arguments, **more)

        return counted


@dataclass
class Farm:
    """A spool that is copied for each kill."""

    layout: SpoolLayout
    archive: Path

    def copy(self, to: Path) -> Farm:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.layout.root, to / "spool")
        return Farm(SpoolLayout(to / "spool"), to / "archive")

    def is_safe(self, name: str, expected: list[float]) -> None:
        """It is in the spool with all its results, or in an archive of that name that restores to them."""
        if (self.layout.session(name).ledger).exists():
            assert values(self.layout, name) == expected
            return
        elsewhere = SpoolLayout(self.layout.root.parent / "restored")
        shutil.rmtree(elsewhere.root, ignore_errors=True)
        elsewhere.root.mkdir()
        elsewhere.prepare()
        restore_archive(Files(), elsewhere, self.archive / f"{name}.tar.gz")
        assert values(elsewhere, name) == expected


@pytest.mark.parametrize("action", ["segments", "archive_and_purge"])
def test_a_kill_at_any_call_loses_nothing_and_the_next_round_ends_it(
    action: str, ended: SpoolLayout, tmp_path: Path
) -> None:
    rules = [{"action": action, "older_than": "1s", "state": "done"}]
    expected = values(ended, "done")
    farm = Farm(ended, tmp_path / "none")
    counting = Interrupted(10**9)
    whole = farm.copy(tmp_path / "whole")
    assert [one.error for one in retainer(whole.layout, rules, whole.archive, Files(counting)).run()] == [""]
    assert counting.calls > 40
    for last in range(1, counting.calls + 1, 1 if FULL else 9):
        killed = farm.copy(tmp_path / "killed")
        with pytest.raises(KilledError):
            list(retainer(killed.layout, rules, killed.archive, Files(Interrupted(last))).run())
        killed.is_safe("done", expected)
        assert [one.error for one in outcomes(killed.layout, rules, killed.archive) if one.error] == [], last
        # As whoever takes jobs up does.
        remove_unfinished(Files(), killed.layout)
        killed.is_safe("done", expected)
        deeds = [(one.session_id, one.what) for one in read_deeds(Files(), killed.layout).every]
        what = SEGMENTS if action == "segments" else PURGED
        assert deeds.count(("done", what)) == 1, (last, deeds)
        names = [path.name for path in killed.layout.sessions.iterdir()]
        assert sorted(names) == (["done", "killed"] if action == "segments" else ["killed"])
        archives = [path.name for path in killed.archive.iterdir() if not path.name.endswith(".lock")]
        assert archives == ([] if action == "segments" else ["done.tar.gz"]), last


@pytest.mark.parametrize("action", ["segments", "archive_and_purge", "purge"])
def test_a_session_that_is_asked_for_more_at_any_moment_keeps_everything(
    action: str, ended: SpoolLayout, tmp_path: Path
) -> None:

    rules = [{"action": action, "older_than": "1s", "state": "done"}]
    farm = Farm(ended, tmp_path / "none")
    counting = Interrupted(10**9)
    whole = farm.copy(tmp_path / "whole")
    list(retainer(whole.layout, rules, whole.archive, Files(counting)).run())
    again = 0
    for last in range(1, counting.calls + 1, 1 if FULL else 9):
        met = farm.copy(tmp_path / "met")
        asked: list[int] = []

        def retry(met: Farm = met, asked: list[int] = asked) -> None:
            # It is in use, or gone: then the person is told.
            with contextlib.suppress(ArbdError, OSError, TimeoutError):
                queue = SessionQueue(Files(), met.layout.session("done"), lock_timeout_s=0.01)
                queue.refresh()
                asked.append(run_again(met.layout, queue, lambda rows: np.ones(len(rows.status), bool), this_user()))

        list(retainer(met.layout, rules, met.archive, Files(Interrupted(last, retry))).run())
        again += bool(asked)
        if asked:
            state = SessionQueue(Files(), met.layout.session("done")).refresh()
            assert (state.over, state.unclaimed) == (False, N)
    assert again > 0


def beat_at(layout: SpoolLayout, wall_ns: int) -> Any:
    lock = take_liveness_lock(Files(), layout, "w")
    assert lock is not None
    write_beat(Files(), layout, Beat("w", 1, 1, {"wall_ns": wall_ns, "sessions": []}))
    return lock


def test_a_host_whose_calendar_is_far_from_another_s_removes_nothing(ended: SpoolLayout, tmp_path: Path) -> None:
    lock = beat_at(ended, time.time_ns() - 2 * 3600 * 10**9)
    with pytest.raises(UsageError, match=r"worker w are 2\.0 h apart"):
        outcomes(ended, ALL["archive_and_purge"], tmp_path / "a")
    assert values(ended, "done")
    lock.release()
    assert outcomes(ended, ALL["archive_and_purge"], tmp_path / "a")


def test_one_host_at_a_time_makes_a_round(ended: SpoolLayout) -> None:
    held = round_lock(Files(), ended)
    assert held is not None
    assert round_lock(Files(), ended) is None
    held.release()
    again = round_lock(Files(), ended)
    assert again is not None
    again.release()


def test_a_missing_folder_for_archives_is_told_and_nothing_is_made(ended: SpoolLayout, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"make it, or mount it"), FolderArchiver(tmp_path / "unmounted").alone():
        pass
    assert not (tmp_path / "unmounted").exists()
