"""A host that stood still for longer than its lock lasts, or whose disk took nothing, in the moments where that counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.daemon.core.session_watch import OLD_COPY_S, SessionWatch
from arbd.results.compaction import compact
from arbd.results.extension import extend
from arbd.spool import ledger
from arbd.spool.control import this_user
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.session_index import active_names, take_names_away
from arbd.spool.sessions import create_session
from arbd.spool.system import HeldLock, RealSystem, SystemClock
from tests.spool.sessions import exhaust, make_session, rows_of, spec_of, write_rows


@pytest.fixture
def layout(tmp_path: Path) -> SpoolLayout:
    layout = SpoolLayout(tmp_path / "spool")
    layout.root.mkdir()
    layout.prepare()
    return layout


class _Lost:
    """A lock that its file server gave to another."""

    def __init__(self, held: HeldLock) -> None:
        self._held = held

    def release(self) -> None:
        self._held.release()

    def is_ours(self) -> bool:
        return False


class _StandsStill(RealSystem):
    """Comes back after its lock was given to another, with the folder of a session as another made it."""

    def lock(self, path: Path, timeout_s: float) -> HeldLock | None:
        held = super().lock(path, timeout_s)
        return None if held is None else _Lost(held)


class _Watched(RealSystem):
    """Tells in which order files become durable and names go."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self.told.append(("durable", Path(f"/proc/self/fd/{fd}").readlink().name))

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.told.append(("gone", f"{path.parent.name}/{path.name}"))


def test_who_lost_the_lock_while_making_a_session_writes_over_nothing_that_workers_need(layout: SpoolLayout) -> None:
    paths = layout.session("s")
    with pytest.raises(OSError, match="the lock was lost"):
        create_session(Files(_StandsStill()), layout, "s", b"tuning: {}\n", spec_of(1))
    assert not paths.spec.exists()
    assert not paths.ledger.exists()
    # Another makes it, longer.
    make_session(layout, 13)
    spec = paths.spec.read_bytes()
    paths.ledger.unlink()  # as the one that stood still saw it
    with pytest.raises(OSError, match="the lock was lost"):
        create_session(Files(_StandsStill()), layout, "s", b"tuning: {}\n", spec_of(1))
    assert paths.spec.read_bytes() == spec


@pytest.mark.parametrize("end", [ledger.CANCELLED, "done"])
def test_a_session_is_forgotten_only_when_what_ended_it_is_durable(layout: SpoolLayout, end: str) -> None:
    paths = make_session(layout, 1)
    queue = SessionQueue(Files(), paths)
    if end == ledger.CANCELLED:
        queue.change(lambda now: [ledger.StateRecord(state=ledger.CANCELLED)])
    else:
        queue.change(lambda now: [ledger.DoneRecord(counts=(1, 0, 0, 0), duplicates=0)])
    assert active_names(Files(), layout) == {"s"}
    system = _Watched()
    take_names_away(Files(system), layout, SessionQueue(Files(system), paths))
    assert active_names(Files(), layout) == set()
    durable = system.told.index(("durable", "ledger"))
    assert durable < system.told.index(("gone", "active/s"))


class _OldCopy(RealSystem):
    """Shows a ledger as it was when it had `shown` bytes, as a file server's client may for some seconds."""

    def __init__(self) -> None:
        self.shown: int | None = None

    def read(self, fd: int, offset: int, limit: int) -> bytes:
        if self.shown is not None and Path(f"/proc/self/fd/{fd}").readlink().name == "ledger":
            limit = max(0, min(limit, self.shown - offset))
        return super().read(fd, offset, limit)


class _Later(SystemClock):
    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("was_worked_on", [True, False])
def test_a_session_that_was_forgotten_by_an_old_copy_of_its_ledger_is_looked_at_again(
    layout: SpoolLayout, known: bool, was_worked_on: bool
) -> None:
    paths = make_session(layout, 20)
    write_rows(paths, "a", rows_of(1, 20))
    exhaust(paths, 20, (20, 0, 0, 0))
    compact(Files(), paths)
    clock, system = _Later(), _OldCopy()
    if known:
        # Somebody has it in the index already.
        other = SessionWatch(Files(), layout, clock, Worker("a", 1, 1))
        other.look(list)
        other.is_over(_read(Files(), paths), was_worked_on=True)
        clock.ahead_s += 100
        other.flush()
    watch = SessionWatch(Files(system), layout, clock, Worker("b", 2, 1))
    watch.look(list)
    system.shown = paths.ledger.stat().st_size
    extend(layout, "s", 5, this_user())
    for _ in range(40):
        # As a daemon does at each turn that finds it over.
        if "s" in watch.look(list).to_look_at:
            watch.is_over(_read(Files(system), paths), was_worked_on=was_worked_on)
        clock.ahead_s += 0.1
        if not active_names(Files(), layout):
            break
    assert not active_names(Files(), layout)
    system.shown = None
    clock.ahead_s += 3 * OLD_COPY_S + 10
    watch.flush()
    assert active_names(Files(), layout) == {"s"}
    assert "s" in watch.look(list).to_look_at


def _read(files: Files, paths: SessionPaths) -> SessionQueue:
    queue = SessionQueue(files, paths)
    queue.refresh()
    return queue
