"""Result segments: append-only files with one writer each, and how all of a session's segments are read.

Keeps I2 (a segment is synced before its chunk is reported), and that no two processes ever append to one
file: the name holds worker, incarnation and slot, and a file that exists is never opened for writing again.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from arbd.errors import CorruptionError, UnsafePathError, VersionError
from arbd.results.columns import RowBatch, RowRules, decode_batch
from arbd.results.records import MAX_METRICS
from arbd.spool.files import Appender, Files
from arbd.spool.frames import HEADER, Damage, frame_length, join_frame, scan_file, scan_frames
from arbd.spool.layout import SessionPaths
from arbd.values import dataclass

SUFFIX = ".seg"
# What `segment_name` makes; anything else in the folder is nobody's.
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}-[0-9a-f]{16}-[A-Za-z0-9.]{1,64}\.seg")
# How much a writer keeps in memory between two syncs.
KEEP_BYTES = 16 * 1024 * 1024


def segment_name(worker_id: str, incarnation: int, slot: str) -> str:
    """`<worker_id>-<incarnation>-<slot>.seg`; the slot's label holds no '-'."""
    return f"{worker_id}-{incarnation:016x}-{slot}{SUFFIX}"


def worker_of(name: str) -> str:
    """The worker id in a segment's name."""
    return name.removesuffix(SUFFIX).rsplit("-", 2)[0]


class SegmentWriter:
    """The one writer of a series of segments; the first file appears with the first batch.

    A file on which a write or sync failed is left as it is, because nobody can say what of it is on the disk;
    everything written since the last sync is kept, and goes to the next file of the series.
    """

    def __init__(self, files: Files, paths: SessionPaths, worker_id: str, incarnation: int, slot: str) -> None:
        self._files = files
        self._paths = paths
        self._name = partial(segment_name, worker_id, incarnation)
        self._slot = slot
        self._numbers = itertools.count(1)
        self._appender: Appender | None = None
        self._unsynced: list[bytes] = []
        self._unsynced_bytes = 0
        self._failed = False

    def write(self, batch: RowBatch) -> None:
        """Append a batch; durable, and surely written, once `sync` returns. OSError only when much is unsynced."""
        frame = join_frame(batch.encoded_pieces())
        self._unsynced.append(frame)
        self._unsynced_bytes += len(frame)
        if not self._failed:
            try:
                self._put(frame)
            except OSError:
                self._abandon()
        if self._unsynced_bytes >= KEEP_BYTES:
            self.sync()

    def sync(self) -> None:
        """Return once every written batch is durable. After an OSError it can be called again."""
        if not self._unsynced:
            return
        try:
            appender = self._appender or self._open_next()
            appender.sync()
        except OSError:
            self._abandon()
            raise
        self._failed = False
        self._unsynced.clear()
        self._unsynced_bytes = 0

    def close(self) -> None:
        """Close the file; the segment is not opened again."""
        self._abandon()

    def _put(self, frame: bytes) -> None:
        if self._appender is None:
            self._open_next()
        else:
            self._appender.write(frame)

    def _open_next(self) -> Appender:
        """A new file with everything in it that is not durable yet."""
        number = next(self._numbers)
        slot = self._slot if number == 1 else f"{self._slot}.{number}"
        self._appender = self._files.appender(self._paths.segments / self._name(slot))
        for frame in self._unsynced:
            self._appender.write(frame)
        return self._appender

    def _abandon(self) -> None:
        # From here on only `sync` tries again: a failing disk is not asked at every batch.
        self._failed = True
        if self._appender is not None:
            # What a failing close could lose is kept in memory, and was not reported to anybody.
            with contextlib.suppress(OSError):
                self._appender.close()
            self._appender = None


@dataclass(frozen=True, slots=True)
class SegmentBatch:
    """A batch as found: in which segment, at which byte, and where the next one begins.

    `n_blocks`: how many return blocks each row has there, be they read or not.
    """

    segment: str
    offset: int
    rows: RowBatch
    end: int
    n_blocks: int = 0


@dataclass(frozen=True, slots=True)
class SegmentDamage:
    """A stretch of a segment that cannot be read; its iterations run again."""

    path: Path
    damage: Damage


class SegmentReader:
    """Reads a session's segments incrementally: each `poll` gives the batches that are new since the last.

    Only segments whose name starts with `prefix` are read; return blocks only when asked for. A batch that breaks
    the `rules` of the session counts as damaged.
    """

    def __init__(
        self,
        files: Files,
        paths: SessionPaths,
        *,
        blocks: bool = False,
        prefix: str = "",
        rules: RowRules | None = None,
    ) -> None:
        self._files = files
        self._paths = paths
        self._blocks = blocks
        self._prefix = prefix
        self._rules = rules
        self._metrics: set[str] = set()
        self._offsets: dict[str, int] = {}
        self._given_up: set[str] = set()
        self.damage: list[SegmentDamage] = []

    def poll(self) -> Iterator[SegmentBatch]:
        """New whole batches, segment by segment in the order of their names.

        VersionError at one that another version wrote, at every poll: nothing is skipped.
        """
        for name in self._files.names(self._paths.segments):
            if NAME.fullmatch(name) and name.startswith(self._prefix) and name not in self._given_up:
                try:
                    yield from self._poll_segment(name)
                except UnsafePathError:
                    # No file of a writer; the rows of the others count.
                    self._given_up.add(name)
                    self._damaged(self._paths.segments / name, 0, 0)

    def _poll_segment(self, name: str) -> Iterator[SegmentBatch]:
        path = self._paths.segments / name

        def read(offset: int, limit: int) -> bytes:
            # One that is listed and yet not found is a stale name of a network client: better no answer than a wrong one.
            return self._files.read(path, offset, limit)

        for base, scan in scan_file(read, self._offsets.get(name, 0)):
            self._offsets[name] = base + scan.good_end
            if scan.given_up:
                self._given_up.add(name)
            for damage in scan.damage:
                self._damaged(path, base + damage.offset, base + damage.end)
            for frame in scan.frames:
                try:
                    rows, n_blocks = self._batch(frame.payload, path)
                except VersionError:
                    self._offsets[name] = base + frame.offset
                    raise
                except ValueError:
                    self._damaged(path, base + frame.offset, base + frame.end)
                    continue
                yield SegmentBatch(name, base + frame.offset, rows, base + frame.end, n_blocks)

    def _damaged(self, path: Path, offset: int, end: int) -> None:
        self.damage.append(SegmentDamage(path, Damage(offset, end)))

    def _batch(self, payload: memoryview, path: Path) -> tuple[RowBatch, int]:
        rows, n_blocks = decode_batch(payload, path, blocks=self._blocks)
        if self._rules is not None:
            self._rules.check(rows)
        metrics = self._metrics.union(rows.metrics)
        if len(metrics) > MAX_METRICS:
            raise ValueError(f"more than {MAX_METRICS:,} different metrics in one session")
        self._metrics = metrics
        return rows, n_blocks


def read_batch(files: Files, paths: SessionPaths, segment: str, offset: int, rules: RowRules | None = None) -> RowBatch:
    """The whole batch (with blocks) at a place that a `SegmentBatch` named; CorruptionError when it is gone."""
    length = frame_length(files.read(paths.segments / segment, offset, HEADER.size))
    (found,) = read_stretch(files, paths, segment, offset, offset + HEADER.size + length, rules)
    return found.rows


def read_stretch(
    files: Files,
    paths: SessionPaths,
    segment: str,
    offset: int,
    end: int,
    rules: RowRules | None = None,
    *,
    blocks: bool = True,
) -> Iterator[SegmentBatch]:
    """The whole batches between two places that `SegmentBatch` named; CorruptionError when one is gone."""
    path = paths.segments / segment
    scan = scan_frames(files.read(path, offset, end - offset))
    if scan.damage or scan.good_end != end - offset:
        place = scan.damage[0].offset if scan.damage else scan.good_end
        raise CorruptionError(path, offset + place, "the batch that stood here is damaged now")
    for frame in scan.frames:
        try:
            rows, n_blocks = decode_batch(frame.payload, path, blocks=blocks)
            if rules is not None:
                rules.check(rows)
        except ValueError as error:
            raise CorruptionError(path, offset + frame.offset, str(error)) from error
        yield SegmentBatch(segment, offset + frame.offset, rows, offset + frame.end, n_blocks)
