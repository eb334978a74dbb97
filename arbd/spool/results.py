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
from arbd.spool.frames import HEADER, encode_frame, scan_frames
from arbd.spool.layout import SessionPaths
from arbd.spool.merge import Merge, MergedGroup
from arbd.spool.rows import RowBatch, decode_rows

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

    def next(self) -> bytes | None:
        header = self._files.read(self._path, self.offset, HEADER.size)
        if not header:
            return None
        length = HEADER.unpack(header)[0] if len(header) == HEADER.size else 0
        data = self._files.read(self._path, self.offset, HEADER.size + length)
        scan = scan_frames(data)
        if not scan.frames or scan.frames[0].offset != 0:
            raise CorruptionError(
                self._path, self.offset, "damaged; delete this file, readers then use the segments beside it"
            )
        self.offset += HEADER.size + length
        return bytes(scan.frames[0].payload)

    def skip(self) -> None:
        length = HEADER.unpack(self._files.read(self._path, self.offset, HEADER.size))[0]
        self.offset += HEADER.size + length


def read_results(files: Files, paths: SessionPaths, *, blocks: bool = False) -> Iterator[ResultGroup]:
    """The groups of `results.msgpack`. FileNotFoundError when there is none, CorruptionError when damaged."""
    cursor = _FrameCursor(files, paths)
    first = cursor.next()
    header = msgpack.unpackb(first) if first is not None else {}
    if header.get("v") != SCHEMA_VERSION:
        raise CorruptionError(paths.results, 0, f"not results of schema {SCHEMA_VERSION}")
    workers = tuple(header["workers"])
    while (payload := cursor.next()) is not None:
        record = msgpack.unpackb(payload)
        rows = decode_rows(record["r"])
        worker = np.frombuffer(record["w"], dtype="<i4")
        if record["b"]:
            about = msgpack.unpackb(cursor.next() or b"\xc0")
            if blocks:
                data = b"".join(cursor.next() or b"" for _ in range(about["pieces"]))
                rows = replace(rows, blocks=np.frombuffer(data, "<f8").reshape(len(rows), about["n_blocks"], 2))
            else:
                for _ in range(about["pieces"]):
                    cursor.skip()
        yield ResultGroup(rows, worker, workers)


def read_rows(files: Files, paths: SessionPaths, *, done: bool, blocks: bool = False) -> Iterator[ResultGroup]:
    """All rows of a session, sorted by iteration: from `results.msgpack` when `done`, else from the segments."""
    if done and paths.results.name in files.names(paths.folder):
        yield from read_results(files, paths, blocks=blocks)
        return
    merge = Merge(files, paths)
    for group in merge.groups():
        rows = group.rows if blocks else replace(group.rows, blocks=None)
        yield ResultGroup(rows, group.worker, tuple(merge.workers))
