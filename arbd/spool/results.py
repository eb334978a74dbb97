"""`results.msgpack`: all rows of a finished session, sorted by iteration, each iteration once.

Owns the file's form, and gives readers one way to a session's rows whether it is finished or still running.
The file is a header frame, then per group of rows one frame of columns and, when the session keeps return
blocks, one frame of blocks, so that who needs no blocks does not read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgpack
import numpy as np

from arbd.errors import CorruptionError
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, encode_frame, frame_length, scan_frames
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger_records import check_worker_id
from arbd.spool.merge import Merge, MergedGroup
from arbd.spool.records import mapping, raw, sequence, unpack, whole
from arbd.spool.rows import MAX_ROWS, Array, RowBatch, RowRules, decode_rows

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ResultGroup:
    """Rows sorted by iteration, and the worker of each (`workers[worker[i]]`)."""

    rows: RowBatch
    worker: np.ndarray[tuple[int], np.dtype[np.int32]]
    workers: tuple[str, ...]


def encode_results(session_id: str, n: int, merge: Merge) -> Iterator[bytes]:
    """The bytes of `results.msgpack`, frame by frame."""
    header = {
        "v": SCHEMA_VERSION,
        "session_id": session_id,
        "n": n,
        "rows": len(merge.iteration),
        "counts": list(merge.counts),
        "duplicates": merge.duplicates,
        "workers": merge.workers,
    }
    yield encode_frame(bytes(msgpack.packb(header)))
    for group in merge.groups():
        yield from _encode_group(group)


def _encode_group(group: MergedGroup) -> Iterator[bytes]:
    worker = group.worker.astype("<i4").tobytes()
    columns = replace(group.rows, blocks=None).encode()
    yield encode_frame(bytes(msgpack.packb({"w": worker, "r": columns, "b": group.rows.blocks is not None})))
    if group.rows.blocks is not None:
        blocks = group.rows.blocks.astype("<f8")
        # A frame has a bounded size, so the blocks of a large group are cut by rows.
        step = max(1, 16 * 1024 * 1024 // max(1, blocks[0].nbytes))
        pieces = [blocks[start : start + step] for start in range(0, len(blocks), step)]
        yield encode_frame(bytes(msgpack.packb({"pieces": len(pieces), "n_blocks": blocks.shape[1]})))
        for piece in pieces:
            yield encode_frame(piece.tobytes())


class _FrameCursor:
    """Walks the frames of a file without reading those that are skipped."""

    def __init__(self, files: Files, paths: SessionPaths) -> None:
        self._files = files
        self._path = paths.results
        self.offset = 0
        self._last = 0

    def next(self) -> bytes | None:
        """The next payload, or None at the end of the file."""
        header = self._files.read(self._path, self.offset, HEADER.size)
        if not header:
            return None
        size = HEADER.size + frame_length(header)
        scan = scan_frames(self._files.read(self._path, self.offset, size))
        if not scan.frames or scan.frames[0].offset != 0:
            raise self.damaged("damaged", self.offset)
        self._last = self.offset
        self.offset += size
        return bytes(scan.frames[0].payload)

    def skip(self) -> None:
        """Go over the next frame."""
        length = frame_length(self._files.read(self._path, self.offset, HEADER.size))
        if not length:
            raise self.damaged("damaged", self.offset)
        self.offset += HEADER.size + length

    def damaged(self, what: str, offset: int | None = None) -> CorruptionError:
        """The error for the last frame, or one at `offset`."""
        place = self._last if offset is None else offset
        return CorruptionError(self._path, place, f"{what}; delete this file, readers then use the segments beside it")


def read_results(
    files: Files, paths: SessionPaths, *, blocks: bool = False, rules: RowRules | None = None
) -> Iterator[ResultGroup]:
    """The groups of `results.msgpack`. FileNotFoundError when there is none, CorruptionError when damaged.

    Damaged it is too when its rows do not keep the `rules` of the session.
    """
    cursor = _FrameCursor(files, paths)
    before = 0
    try:
        workers = _header(cursor.next())
        while (payload := cursor.next()) is not None:
            group, has_blocks = _group(payload, workers, rules)
            before = _grown(group, before)
            if has_blocks and blocks:
                group = replace(group, rows=replace(group.rows, blocks=_read_blocks(cursor, len(group.rows))))
            elif has_blocks:
                _skip_blocks(cursor)
            yield group
    except ValueError as error:
        raise cursor.damaged(str(error)) from error


def _header(payload: bytes | None) -> tuple[str, ...]:
    header = mapping(unpack(payload or b""), "the header")
    if header.get("v") != SCHEMA_VERSION:
        raise ValueError(f"not results of schema {SCHEMA_VERSION}")
    return tuple(check_worker_id(name) for name in sequence(header.get("workers"), "the workers"))


def _group(payload: bytes, workers: tuple[str, ...], rules: RowRules | None) -> tuple[ResultGroup, bool]:
    record = mapping(unpack(payload), "the group")
    rows = decode_rows(raw(record.get("r"), "the rows"))
    if rules is not None:
        rules.check(rows)
    index = np.frombuffer(raw(record.get("w"), "the workers"), dtype="<i4")
    if not len(rows) or len(index) != len(rows) or index.min() < 0 or index.max() >= len(workers):
        raise ValueError("rows of workers that the header does not name")
    return ResultGroup(rows, index, workers), record.get("b") is True


def _grown(group: ResultGroup, before: int) -> int:
    """The last iteration of a group, which begins behind the one before it."""
    if group.rows.iteration[0] <= before:
        raise ValueError("iterations that do not grow from group to group")
    return int(group.rows.iteration[-1])


def _pieces(cursor: _FrameCursor) -> tuple[int, int]:
    about = mapping(unpack(cursor.next() or b""), "the blocks")
    return whole(about.get("pieces"), "the number of pieces", 1, MAX_ROWS), whole(about.get("n_blocks"), "blocks")


def _read_blocks(cursor: _FrameCursor, n: int) -> Array:
    pieces, n_blocks = _pieces(cursor)
    found: list[bytes] = []
    for _ in range(pieces):
        piece = cursor.next()
        if piece is None or sum(map(len, found)) + len(piece) > n * n_blocks * 16:
            raise ValueError("blocks that are more or fewer than their rows")
        found.append(piece)
    data = b"".join(found)
    if len(data) != n * n_blocks * 16:
        raise ValueError("blocks that are more or fewer than their rows")
    return np.frombuffer(data, "<f8").reshape(n, n_blocks, 2)


def _skip_blocks(cursor: _FrameCursor) -> None:
    for _ in range(_pieces(cursor)[0]):
        cursor.skip()


def read_rows(
    files: Files, paths: SessionPaths, *, done: bool, blocks: bool = False, rules: RowRules | None = None
) -> Iterator[ResultGroup]:
    """All rows of a session, sorted by iteration: from `results.msgpack` when `done`, else from the segments.

    Rows that do not keep the `rules` of the session do not count.
    """
    if done and paths.results.name in files.names(paths.folder):
        yield from read_results(files, paths, blocks=blocks, rules=rules)
        return
    merge = Merge(files, paths, rules)
    for group in merge.groups():
        rows = group.rows if blocks else replace(group.rows, blocks=None)
        yield ResultGroup(rows, group.worker, tuple(merge.workers))
