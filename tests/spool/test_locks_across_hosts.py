"""What the spool asks of locks and appends, on a real distributed filesystem with two clients."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import struct
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from arbd.spool.files import Files
from arbd.spool.frames import encode_frame, scan_frames
from tests.beds.gluster import GlusterBed

pytestmark = pytest.mark.bed

ACQUISITIONS = 10_000
PROCESSES = 4


def _take_turns(folder: Path, board: Path, number: int, turns: int) -> int:
    """Take the lock again and again; how often somebody else was in there too, by a board on the local disk."""
    with board.open("r+b") as file, mmap.mmap(file.fileno(), 8) as page:
        overlaps = 0
        for _ in range(turns):
            with Files().lock(folder / "contract.lock", 120.0):
                overlaps += struct.unpack_from("q", page)[0] != 0
                struct.pack_into("q", page, 0, number)
                os.sched_yield()
                overlaps += struct.unpack_from("q", page)[0] != number
                struct.pack_into("q", page, 0, 0)
        return overlaps


@pytest.mark.timeout(600)
def test_ten_thousand_holds_of_a_lock_by_four_processes_on_two_hosts_never_overlap(
    gluster: GlusterBed, tmp_path: Path
) -> None:
    board = tmp_path / "board"
    board.write_bytes(bytes(8))
    jobs = [(gluster.mounts[i % 2], board, i + 1, ACQUISITIONS // PROCESSES) for i in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(_take_turns, *zip(*jobs, strict=True))) == [0] * PROCESSES


def _append(folder: Path, number: int, count: int) -> None:
    files = Files()
    for i in range(count):
        with files.lock(folder / "log.lock", 120.0):
            files.append(folder / "log", encode_frame(b"%d/%d" % (number, i)))


def test_appends_under_the_lock_from_two_hosts_are_all_there_and_whole(gluster: GlusterBed) -> None:
    (gluster.mounts[0] / "log").touch()
    numbers = range(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_append, [gluster.mounts[i % 2] for i in numbers], numbers, [100] * PROCESSES))
    scan = scan_frames(Files().read(gluster.mounts[1] / "log"))
    assert scan.damage == ()
    found = sorted(bytes(frame.payload) for frame in scan.frames)
    assert found == sorted(b"%d/%d" % (number, i) for number in range(PROCESSES) for i in range(100))


def test_a_lock_of_a_killed_process_is_free_at_once(gluster: GlusterBed) -> None:
    ours, theirs = gluster.mounts
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(theirs / "held.lock", ready))
    holder.start()
    assert ready.wait(60)
    assert Files().try_lock(ours / "held.lock") is None
    holder.kill()
    holder.join()
    with Files().lock(ours / "held.lock", 30.0):
        pass


def _hold(path: Path, ready: object) -> None:
    lock = Files().try_lock(path)
    assert lock is not None
    ready.set()  # type: ignore[attr-defined]
    import time

    time.sleep(600)
