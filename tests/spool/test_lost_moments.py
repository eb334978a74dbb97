"""A host that stood still for longer than its lock lasts, or whose disk took nothing, in the moments where that counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.session_index import active_names, take_names_away
from arbd.spool.sessions import create_session
from arbd.spool.system import HeldLock, RealSystem
from tests.spool.sessions import make_session, spec_of


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
