"""A segment's writer on a disk that fails: everything reported is durable, nothing written is lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from arbd.results import segments
from arbd.results.segments import SegmentReader, SegmentWriter
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.system import RealSystem
from tests.spool.sessions import rows_of


class Whims(RealSystem):
    """A disk on which the calls named fail."""

    def __init__(self) -> None:
        self.failing: set[str] = set()

    def _check(self, call: str) -> None:
        if call in self.failing:
            raise OSError(errno.EIO, "Input/output error")

    def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
        self._check("open")
        return super().open(path, flags, mode)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if "write" in self.failing and len(data) > 1:
            super().write(fd, data[: len(data) // 2])
        self._check("write")
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._check("fsync")
        super().fsync(fd)

    def close(self, fd: int) -> None:
        super().close(fd)
        self._check("close")


@pytest.fixture
def paths(tmp_path: Path) -> SessionPaths:
    found = SessionPaths(tmp_path)
    found.segments.mkdir()
    return found


def iterations(paths: SessionPaths) -> list[int]:
    return [i for batch in SegmentReader(Files(), paths).poll() for i in batch.rows.iteration.tolist()]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close"])
@pytest.mark.parametrize("written_before", [0, 1])
def test_rows_that_a_failing_disk_did_not_take_are_in_the_next_file(
    paths: SessionPaths, call: str, written_before: int
) -> None:
    disk = Whims()
    writer = SegmentWriter(Files(disk), paths, "w", 1, "0.1")
    if written_before:
        writer.write(rows_of(1, 5))
        writer.sync()
    disk.failing = {call, "fsync"}
    writer.write(rows_of(6, 5))
    with pytest.raises(OSError, match="Input/output"):
        writer.sync()
    with pytest.raises(OSError, match="Input/output"):
        writer.sync()
    disk.failing.clear()
    writer.write(rows_of(11, 2))
    writer.sync()
    writer.close()
    found = iterations(paths)
    assert set(found) == set(range(1 if written_before else 6, 13))
    assert found.count(1) == written_before
    # The torn end of the first file is no damage: nobody was told of it.
    reader = SegmentReader(Files(), paths)
    assert list(reader.poll())
    assert reader.damage == []


def test_a_writer_keeps_a_bounded_amount_in_memory(paths: SessionPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "KEEP_BYTES", 1_000)
    disk = Whims()
    writer = SegmentWriter(Files(disk), paths, "w", 1, "0.1")
    disk.failing = {"open"}
    with pytest.raises(OSError, match="Input/output"):
        for first in range(1, 1_000, 10):
            writer.write(rows_of(first, 10))
    disk.failing.clear()
    writer.sync()
    assert iterations(paths)[:10] == list(range(1, 11))


def test_nothing_is_made_where_nothing_was_written(paths: SessionPaths) -> None:
    writer = SegmentWriter(Files(), paths, "w", 1, "0.1")
    writer.sync()
    writer.close()
    assert list(paths.segments.iterdir()) == []
