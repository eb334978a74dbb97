"""A segment's writer on a disk that fails: everything reported is durable, nothing written is lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from arbd.errors import CorruptionError
from arbd.results import segments
from arbd.results.columns import RowRules
from arbd.results.segments import SegmentBatch, SegmentReader, SegmentWriter, read_batch, read_stretch
from arbd.spool.files import Files
from arbd.spool.frames import HEADER
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


def with_two_segments(paths: SessionPaths) -> dict[str, list[SegmentBatch]]:
    """Two batches in each of two segments."""
    for worker in ("a", "b"):
        writer = SegmentWriter(Files(), paths, worker, 1, "0.1")
        for first in (1, 6):
            writer.write(rows_of(first, 5))
            writer.sync()
        writer.close()
    found: dict[str, list[SegmentBatch]] = {}
    for batch in SegmentReader(Files(), paths).poll():
        found.setdefault(batch.segment, []).append(batch)
    return found


def test_a_batch_is_read_again_at_the_place_that_it_was_found_at(paths: SessionPaths) -> None:
    for name, batches in with_two_segments(paths).items():
        assert [batch.offset for batch in batches] == [0, batches[0].end]
        assert batches[-1].end == (paths.segments / name).stat().st_size
        for batch in batches:
            again = read_batch(Files(), paths, name, batch.offset)
            assert again.iteration.tolist() == batch.rows.iteration.tolist()
            (stretch,) = read_stretch(Files(), paths, name, batch.offset, batch.end)
            assert (stretch.offset, stretch.end) == (batch.offset, batch.end)


@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_batch_that_is_damaged_since_it_was_found_is_told_with_its_place(paths: SessionPaths, spoilt: int) -> None:
    name, batches = next(iter(with_two_segments(paths).items()))
    path, place = paths.segments / name, batches[spoilt].offset
    data = bytearray(path.read_bytes())
    data[place + HEADER.size + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match=f"byte {place}: ") as error:
        list(read_stretch(Files(), paths, name, 0, batches[-1].end))
    assert error.value.offset == place


def test_rows_that_are_none_of_the_session_are_damage_and_refused_when_they_are_read_again(paths: SessionPaths) -> None:
    name, batches = next(iter(with_two_segments(paths).items()))
    rules = RowRules(8, dict.fromkeys(batches[0].rows.params))
    reader = SegmentReader(Files(), paths, prefix="a-", rules=rules)
    assert [batch.rows.iteration[0] for batch in reader.poll()] == [1]
    places = [(found.damage.offset, found.damage.end) for found in reader.damage]
    assert places == [(batches[1].offset, batches[1].end)]
    with pytest.raises(CorruptionError, match="iteration 10 of 8"):
        list(read_stretch(Files(), paths, name, 0, batches[-1].end, rules))


def test_what_is_no_file_of_a_writer_is_told_once_and_the_others_are_read(paths: SessionPaths) -> None:
    with_two_segments(paths)
    (paths.segments / "aa-0000000000000001-0.1.seg").symlink_to("/dev/zero")
    reader = SegmentReader(Files(), paths)
    assert len(list(reader.poll())) == 4
    assert list(reader.poll()) == []
    assert [(found.path.name[:2], found.damage.offset, found.damage.end) for found in reader.damage] == [("aa", 0, 0)]


def test_after_a_disk_took_everything_again_a_writer_writes_at_once(paths: SessionPaths) -> None:
    disk = Whims()
    writer = SegmentWriter(Files(disk), paths, "w", 1, "0.1")
    disk.failing = {"write"}
    writer.write(rows_of(1, 5))
    disk.failing.clear()
    writer.sync()
    size = sum(path.stat().st_size for path in paths.segments.iterdir())
    writer.write(rows_of(6, 5))
    assert sum(path.stat().st_size for path in paths.segments.iterdir()) > size


def test_a_batch_stands_in_its_file_before_it_is_synced(paths: SessionPaths) -> None:
    writer = SegmentWriter(Files(), paths, "w", 1, "0.1")
    writer.write(rows_of(1, 5))
    assert iterations(paths) == [1, 2, 3, 4, 5]


def test_what_is_durable_does_not_count_to_what_is_kept_in_memory(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, synced = Whims(), []
    monkeypatch.setattr(disk, "fsync", synced.append)
    monkeypatch.setattr(segments, "KEEP_BYTES", len(rows_of(1, 5).encode()) * 3 // 2)
    writer = SegmentWriter(Files(disk), paths, "w", 1, "0.1")
    writer.write(rows_of(1, 5))
    writer.sync()
    before = len(synced)
    writer.write(rows_of(6, 5))
    assert len(synced) == before


def test_a_file_is_named_after_worker_start_and_slot_and_those_that_follow_it_are_numbered(paths: SessionPaths) -> None:
    assert segments.segment_name("host-a", 255, "0.1") == "host-a-00000000000000ff-0.1.seg"
    assert segments.worker_of("host-a-00000000000000ff-0.1.seg") == "host-a"
    writer = SegmentWriter(Files(), paths, "host-a", 255, "0.1")
    for iteration in (1, 2, 3):
        writer.write(rows_of(iteration, 1))
        writer.sync()
        writer.close()
    names = [f"host-a-00000000000000ff-0.1{number}.seg" for number in ("", ".2", ".3")]
    assert sorted(path.name for path in paths.segments.iterdir()) == sorted(names)
    assert sorted(iterations(paths)) == [1, 2, 3]
