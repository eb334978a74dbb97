"""Planted bugs: each breaks one rule of the real code, and the simulation has to notice."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

from arbd.results import extension
from arbd.results.segments import SegmentWriter
from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner
from arbd.search.schedule import Schedule
from arbd.spool import frames
from arbd.spool.files import Files, OpenedFile
from arbd.spool.frames import HEADER, Frame
from arbd.spool.liveness import Observer, read_beat
from arbd.spool.system import KeptFileLock


def finish_before_fsync() -> AbstractContextManager[object]:
    """Results are reported, and recorded as finished, without being synced."""

    def sync(self: SegmentWriter) -> None:
        self._unsynced.clear()

    return mock.patch.object(SegmentWriter, "sync", sync)


@contextlib.contextmanager
def ledger_opened_before_the_lock() -> Iterator[None]:
    """The ledger is opened, and what is in it looked up, before its lock is held."""
    opened: dict[int, int] = {}
    lock, extended = Files.lock, Files.extended

    @contextlib.contextmanager
    def open_then_lock(self: Files, path: Path, timeout_s: float, kept: KeptFileLock | None = None) -> Iterator[None]:
        fd = self.system.open(path.with_suffix(""), os.O_RDWR | os.O_APPEND) if path.name == "ledger.lock" else -1
        try:
            with lock(self, path, timeout_s, kept):
                opened[id(self)] = fd
                yield
        finally:
            opened.pop(id(self), None)
            if fd >= 0:
                self.system.close(fd)

    @contextlib.contextmanager
    def what_was_opened(self: Files, path: Path) -> Iterator[OpenedFile]:
        fd = opened.get(id(self), -1)
        if fd < 0 or path.name != "ledger":
            with extended(self, path) as found:
                yield found
        else:
            yield OpenedFile(self.system, fd)

    with mock.patch.object(Files, "lock", open_then_lock), mock.patch.object(Files, "extended", what_was_opened):
        yield


def takeover_without_standstill() -> AbstractContextManager[object]:
    """A worker is judged dead at the first look that shows the same heartbeat as the look before."""
    looks: dict[tuple[int, int], int] = {}

    def dead(self: Observer, worker_id: str, incarnation: int) -> str | None:
        beat = read_beat(self.files, self.layout, worker_id)
        counter = beat.counter if beat is not None else -1
        before = looks.get((id(self), incarnation))
        looks[id(self), incarnation] = counter
        return "it did not beat since the last look" if before == counter else None

    return mock.patch.object(Observer, "dead", dead)


def torn_tail_read_as_a_record() -> AbstractContextManager[object]:
    """A frame is believed without its checksum, and however much of it there is."""

    def frame_at(view: memoryview, offset: int) -> Frame | None:
        start = offset + HEADER.size
        if start >= len(view):
            return None
        end = min(len(view), start + HEADER.unpack_from(view, offset)[0])
        return Frame(offset, end, view[start:end])

    return mock.patch.object(frames, "_frame_at", frame_at)


def missing_folder_fsync() -> AbstractContextManager[object]:
    """New names are not made durable."""

    def sync_folder(self: Files, folder: Path) -> None:
        pass

    return mock.patch.object(Files, "sync_folder", sync_folder)


def suggests_from_whatever_is_known() -> AbstractContextManager[object]:
    """A generation is computed from all results that happen to be there, instead of those it is to depend on."""
    generation = GenerationPlanner.generation

    def hasty(self: GenerationPlanner, number: int, pending: Sequence[Generation]) -> Generation:
        known = self.trial_history.known[1:]
        up_to = len(known) if known.all() else int(known.argmin())
        with mock.patch.object(Schedule, "known_before", lambda self, number: up_to):
            return generation(self, number, pending)

    return mock.patch.object(GenerationPlanner, "generation", hasty)


def generation_not_whole() -> AbstractContextManager[object]:
    """A generation is written under its own name, piece by piece."""

    def publish_once(self: Files, path: Path, data: bytes) -> bool:
        fd = self.system.open(path, os.O_WRONLY | os.O_CREAT)
        self.system.write(fd, data[:20])
        self.system.write(fd, data[20:])
        self.system.close(fd)
        return True

    return mock.patch.object(Files, "publish_once", publish_once)


@contextlib.contextmanager
def extended_without_a_name() -> Iterator[None]:
    """A session goes on, and nobody who thinks that it is over is told."""
    with mock.patch.object(extension, "reopen", lambda files, layout, session_id: None):
        yield


@contextlib.contextmanager
def last_generation_left_in_part() -> Iterator[None]:
    """A search that ended in the middle of a generation goes on with the next one."""
    with mock.patch.object(extension, "_complete_last_generation", lambda files, paths, before, after: None):
        yield


MUTANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    bug.__name__: bug
    for bug in (
        finish_before_fsync,
        ledger_opened_before_the_lock,
        takeover_without_standstill,
        torn_tail_read_as_a_record,
        missing_folder_fsync,
        suggests_from_whatever_is_known,
        generation_not_whole,
        extended_without_a_name,
        last_generation_left_in_part,
    )
}
