"""What is over stands in the index: whatever is lost of it, lists show the same."""

from __future__ import annotations

import errno
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from arbd.analysis.overview import read_overviews
from arbd.daemon.core.session_watch import LEFT_LOOKS, TAKING_S, UNMADE_LOOKS, SessionWatch
from arbd.results.compaction import compact
from arbd.results.run_again import run_again
from arbd.spool import ledger
from arbd.spool.control import change_state, open_queue
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.session_index import SessionIndex, active_names, ended_sessions, make_anew, reopen
from arbd.spool.sessions import REOPENED_PREFIX
from arbd.spool.system import RealSystem, SystemClock
from tests.conftest import Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

FILES = Files()


@pytest.fixture
def layout(tmp_path: Path) -> SpoolLayout:
    layout = SpoolLayout(tmp_path / "spool")
    layout.root.mkdir()
    layout.prepare()
    return layout


def done(layout: SpoolLayout, name: str, failed: int = 0) -> None:
    paths = make_session(layout, 20, name, labels={"desk": "btc"})
    write_rows(paths, "a", rows_of(1, 20 - failed))
    if failed:
        write_rows(paths, "b", rows_of(21 - failed, failed, status=ledger.FAILED))
    exhaust(paths, 20, (20 - failed, failed, 0, 0))
    compact(FILES, paths)


def watch_of(layout: SpoolLayout, worker_id: str = "a", incarnation: int = 1) -> SessionWatch:
    return SessionWatch(FILES, layout, SystemClock(), Worker(worker_id, incarnation, 1))


def documents(layout: SpoolLayout, tmp_path: Path) -> list[dict[str, object]]:
    shown = read_overviews(layout, tmp_path / "bookmarks")
    assert not shown.errors
    # What was done to a session is in its history; the index has what lists show.
    return [{**view.document(), "last_action": None} for view in shown.views]


def write_down(layout: SpoolLayout, watch: SessionWatch, *names: str) -> None:
    """As a daemon does that worked on them."""
    watch.look(list)
    for name in names:
        queue = SessionQueue(FILES, layout.session(name))
        queue.refresh()
        watch.is_over(queue, was_worked_on=True)
    watch._due = {name: (0.0, entry) for name, (_, entry) in watch._due.items()}
    watch._next_flush_s = 0.0
    watch.flush()


def test_lists_show_the_same_from_the_index_as_from_the_ledgers(layout: SpoolLayout, tmp_path: Path) -> None:
    done(layout, "a")
    done(layout, "b", failed=3)
    make_session(layout, 5, "c")
    change_state(layout, "c", ledger.CANCELLED)
    make_session(layout, 5, "d")
    before = documents(layout, tmp_path)
    write_down(layout, watch_of(layout), "a", "b", "c")
    assert set(ended_sessions(FILES, layout, FILES.names(layout.sessions))) == {"a", "b", "c"}
    assert documents(layout, tmp_path) == before
    assert make_anew(FILES, layout) == (3, [])
    assert documents(layout, tmp_path) == before
    assert len(FILES.names(layout.index)) == 1
    for name in FILES.names(layout.index):
        data = (layout.index / name).read_bytes()
        (layout.index / name).write_bytes(data[: len(data) // 2] + b"\0" + data[len(data) // 2 + 1 :])
    assert documents(layout, tmp_path) == before


def test_only_those_that_ended_last_are_shown_where_somebody_asks_for_a_few(
    layout: SpoolLayout, tmp_path: Path
) -> None:
    for name in "abcde":
        done(layout, name)
    make_session(layout, 5, "x")
    write_down(layout, watch_of(layout), "a", "b", "c")
    found = read_overviews(layout, tmp_path, 2)
    assert (len(found.views), found.more) == (3, 3)
    assert "x" in [view.session_id for view in found.views]
    assert read_overviews(layout, tmp_path, 0).more == 5


def test_a_session_that_runs_again_is_read_whatever_the_index_says(layout: SpoolLayout, tmp_path: Path) -> None:
    done(layout, "a", failed=3)
    watch = watch_of(layout)
    write_down(layout, watch, "a")
    assert "a" not in watch.look(list).to_look_at
    run_again(layout, open_queue(layout, "a"), lambda rows: rows.status == ledger.FAILED)
    assert documents(layout, tmp_path)[0]["state"] == "running"
    assert "a" in watch.look(list).to_look_at
    assert "a" in watch_of(layout, "b").look(list).to_look_at


def test_a_session_that_an_old_copy_of_its_ledger_called_over_goes_on(layout: SpoolLayout) -> None:
    """Its name was taken away by a worker whose network client showed the ledger of a moment ago."""
    done(layout, "a", failed=3)
    watches = [watch_of(layout), watch_of(layout, "b")]
    old = SessionQueue(FILES, layout.session("a"))
    old.refresh()
    for watch in watches:
        watch.look(list)
    run_again(layout, open_queue(layout, "a"), lambda rows: rows.status == ledger.FAILED)
    for watch in watches:
        watch.is_over(old, was_worked_on=False)
    for name in (layout.active / "a", layout.sessions / f"{REOPENED_PREFIX}a"):
        FILES.remove(name)
    assert all(watch.look(list).to_look_at == [] for watch in watches)
    watches[0]._due = {"a": (0.0, watches[0]._due["a"][1])}
    watches[0].flush()
    assert all(watch.look(list).to_look_at == ["a"] for watch in watches)
    assert ended_sessions(FILES, layout, ["a"]) == {}


def test_a_session_that_was_never_made_whole_is_not_in_the_index(layout: SpoolLayout) -> None:
    make_session(layout, 5, "a")
    assert active_names(FILES, layout) == {"a"}
    assert "a" in watch_of(layout).look(list).to_look_at
    assert ended_sessions(FILES, layout, ["a"]) == {}


def test_another_start_of_a_daemon_looks_at_nothing_that_is_over(layout: SpoolLayout) -> None:
    for name in "abc":
        done(layout, name)
    write_down(layout, watch_of(layout), "a", "b", "c")
    for incarnation in range(2, 6):
        again = watch_of(layout, incarnation=incarnation)
        assert again.look(list).to_look_at == []
        done(layout, f"s{incarnation}")
        assert again.look(list).to_look_at == [f"s{incarnation}"]
        write_down(layout, again, f"s{incarnation}")
    # One file of each start would become many.
    assert len(FILES.names(layout.index)) <= 3
    index = SessionIndex(FILES, layout)
    index.refresh()
    assert len(index.ended) == 7


def test_a_name_that_a_crash_left_goes_away(layout: SpoolLayout) -> None:
    done(layout, "a")
    watch = watch_of(layout)
    write_down(layout, watch, "a")
    assert active_names(FILES, layout) == set()
    reopen(FILES, layout, "a")
    FILES.publish(layout.active / "nobody", b"")
    queue = SessionQueue(FILES, layout.session("a"))
    queue.refresh()
    for _ in range(2 * UNMADE_LOOKS):
        if "a" in watch.look(list).to_look_at:
            watch.is_over(queue, was_worked_on=False)
    assert active_names(FILES, layout) == set()
    assert FILES.names(layout.sessions) == ["a"]


class SlowServerClock(SystemClock):
    """A look at the clock comes after a removal that took a tenth of what a look has for them."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic_s(self) -> float:
        self._now_s += TAKING_S / 10
        return self._now_s


@pytest.mark.parametrize("are_sessions", [True, False])
def test_names_that_were_left_go_away_as_many_at_a_look_as_the_file_server_lets(
    are_sessions: bool, layout: SpoolLayout
) -> None:
    names = [f"s{number}" for number in range(25)]
    if are_sessions:
        done(layout, "s0")
        for name in names[1:]:
            shutil.copytree(layout.sessions / "s0", layout.sessions / name)
    for name in names:
        (layout.active / name).touch()
    watch = watch_of(layout)
    watch.clock = SlowServerClock()
    there = [len(names)]
    for _ in range((LEFT_LOOKS if are_sessions else UNMADE_LOOKS) + 6):
        for name in watch.look(list).to_look_at:
            queue = SessionQueue(FILES, layout.session(name))
            queue.refresh()
            watch.is_over(queue, was_worked_on=False)
        there.append(len(active_names(FILES, layout)))
    gone = [before - after for before, after in pairwise(there)]
    assert 0 < max(gone) <= 11
    assert there[-1] == 0


def test_a_name_that_somebody_else_took_away_and_that_comes_back_is_looked_at_at_once(layout: SpoolLayout) -> None:
    done(layout, "a")
    watch = watch_of(layout)
    write_down(layout, watch, "a")
    queue = SessionQueue(FILES, layout.session("a"))
    queue.refresh()
    for looks in range(1, LEFT_LOOKS):
        (layout.active / "a").touch()
        for number in range(1, looks + 1):
            watch.look(list)
            assert ("a" in watch.over) is (number.bit_count() > 1)
            watch.is_over(queue, was_worked_on=False)
        FILES.remove(layout.active / "a")
        watch.look(list)


def test_a_session_whose_name_was_left_is_read_ever_less_often_and_at_once_when_it_goes_on(layout: SpoolLayout) -> None:
    done(layout, "a")
    watch = watch_of(layout)
    write_down(layout, watch, "a")
    reopen(FILES, layout, "a")
    FILES.remove(layout.sessions / f"{REOPENED_PREFIX}a")
    queue = SessionQueue(FILES, layout.session("a"))
    queue.refresh()
    looked = []
    for number in range(1, LEFT_LOOKS):
        watch.look(list)
        if "a" not in watch.over:
            looked.append(number)
            watch.is_over(queue, was_worked_on=False)
    assert looked == [1, 2, 4]
    assert active_names(FILES, layout) == {"a"}
    watch.begins("a")
    watch.is_over(queue, was_worked_on=False)
    reopen(FILES, layout, "a")
    watch.look(list)
    assert "a" not in watch.over


def test_sessions_of_earlier_versions_are_found_without_their_name_in_active(layout: SpoolLayout) -> None:
    watch = watch_of(layout)
    watch.look(list)
    make_session(layout, 5, "old")
    FILES.remove(layout.active / "old")
    assert watch.look(list).to_look_at == ["old"]


@pytest.mark.parametrize("lost", ["nothing", "repaired", "removed"])
def test_a_session_that_was_purged_is_over_for_those_that_wait_for_it_whatever_is_left_of_the_index(
    lost: str, layout: SpoolLayout, arbctl: Arbctl
) -> None:
    done(layout, "a")
    before = watch_of(layout)
    write_down(layout, before, "a")
    code, out, err = arbctl("--spool", layout.root, "purge", "a", "--segments", "--results", "--claims", "--yes")
    assert code == 0, out + err
    if lost == "repaired":
        assert make_anew(FILES, layout) == (0, [])
    elif lost == "removed":
        shutil.rmtree(layout.index)
    before.must_list = True
    for watch in (before, watch_of(layout, "b", 2)):
        watch.look(list)
        assert watch.has_ended("a")
        assert not watch.has_ended("never-made")
    make_session(layout, 5, "a")
    for watch in (before, watch_of(layout, "c", 3)):
        watch.look(list)
        watch.begins("a")
        assert not watch.has_ended("a")


class Unreadable(RealSystem):
    """The log of what was removed may not be read, for now."""

    is_closed = True

    def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
        if self.is_closed and path.parent.name == "retention":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return super().open(path, flags, mode)


def test_sessions_are_found_where_the_log_of_what_was_removed_cannot_be_read_and_it_is_read_later(
    layout: SpoolLayout, arbctl: Arbctl
) -> None:
    done(layout, "a")
    write_down(layout, watch_of(layout), "a")
    code, out, err = arbctl("--spool", layout.root, "purge", "a", "--segments", "--results", "--claims", "--yes")
    assert code == 0, out + err
    shutil.rmtree(layout.index)
    make_session(layout, 5, "b")
    system = Unreadable()
    watch = SessionWatch(Files(system), layout, SystemClock(), Worker("b", 2, 1))
    assert watch.look(list).to_look_at == ["b"]
    assert "cannot be read: Permission denied" in watch.trouble
    assert not watch.has_ended("a")
    system.is_closed = False
    watch.must_list = True
    watch.look(list)
    assert (watch.trouble, watch.has_ended("a")) == ("", True)
