"""`results.msgpack`: all rows of a finished session, sorted by iteration, each iteration once.

Owns the file's form: a header frame, then per group of rows one frame for each column, at the end an index that
tells where each is, and a trailer that tells where the index is. So whoever wants one column of a million rows
reads that column, and how many rows there are of which status and worker stands in the index. Every frame has its
checksum; nothing that the index says is believed without looking (I7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import numpy as np

from arbd.errors import CorruptionError
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, MAX_PAYLOAD_BYTES, encode_frame, whole_frame
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import STATUS_NAMES
from arbd.spool.merge import Merge, MergedGroup
from arbd.spool.rows import FIXED_COLUMNS, Array, RowBatch, decode_column

SCHEMA_VERSION = 2
BLOCK_PIECE_BYTES = 16 * 1024 * 1024
TRAILER = struct.Struct(">QQ")
WORKER, ERRORS, REPORTS, BLOCKS = "worker", "errors", "reports", "blocks"
PARAM, METRIC = "p:", "m:"


@dataclass(frozen=True, slots=True)
class ResultGroup:
    """Rows sorted by iteration, and the worker of each (`workers[worker[i]]`)."""

    rows: RowBatch
    worker: np.ndarray[tuple[int], np.dtype[np.int32]]
    workers: tuple[str, ...]


def encode_results(session_id: str, n: int, merge: Merge) -> Iterator[bytes]:
    """The bytes of `results.msgpack`, frame by frame."""
    header = encode_frame(bytes(msgpack.packb({"v": SCHEMA_VERSION, "session_id": session_id, "n": n})))
    yield header
    offset = len(header)
    groups: list[dict[str, Any]] = []
    shares = np.zeros(len(merge.workers), dtype=np.int64)
    for group in merge.groups():
        places: dict[str, list[Any]] = {}
        for name, form, payload in _columns(group):
            frame = encode_frame(payload)
            places.setdefault(name, [form]).extend((offset, len(frame)))
            offset += len(frame)
            yield frame
        groups.append({"n": len(group.rows), "at": places})
        shares += np.bincount(group.worker, minlength=len(shares))
    index = {
        "v": SCHEMA_VERSION,
        "rows": len(merge.iteration),
        "counts": list(merge.counts),
        "duplicates": merge.duplicates,
        "workers": merge.workers,
        "shares": shares.tolist(),
        "groups": groups,
    }
    frame = encode_frame(bytes(msgpack.packb(index)))
    yield frame
    yield encode_frame(TRAILER.pack(offset, len(frame)))


def _columns(group: MergedGroup) -> Iterator[tuple[str, str, bytes]]:
    """Name, form and bytes of each column; the blocks of a large group come in several pieces."""
    rows = group.rows
    for name, form in FIXED_COLUMNS.items():
        yield name, form, _bytes(getattr(rows, name), form)
    yield WORKER, "<i4", _bytes(group.worker, "<i4")
    for name, column in rows.params.items():
        form = "<f8" if column.dtype.kind == "f" else "<i8"
        yield PARAM + name, form, _bytes(column, form)
    for name, column in rows.metrics.items():
        yield METRIC + name, "<f8", _bytes(column, "<f8")
    if rows.errors:
        yield ERRORS, "", bytes(msgpack.packb(dict(rows.errors)))
    if rows.reports:
        reports = {iteration: [list(step) for step in steps] for iteration, steps in rows.reports.items()}
        yield REPORTS, "", bytes(msgpack.packb(reports))
    if rows.blocks is not None:
        step = max(1, BLOCK_PIECE_BYTES // max(1, rows.blocks[0].nbytes))
        for start in range(0, len(rows), step):
            yield BLOCKS, str(rows.blocks.shape[1]), _bytes(rows.blocks[start : start + step], "<f8")


def _bytes(column: Array, form: str) -> bytes:
    return np.ascontiguousarray(column, dtype=form).tobytes()


@dataclass(frozen=True, slots=True)
class _Group:
    start: int
    n: int
    at: Mapping[str, Sequence[Any]]


class StoredResults:
    """The rows of `results.msgpack`, column by column, each read when asked for.

    FileNotFoundError when there is no such file, CorruptionError where it is damaged. It goes on reading the file
    that it opened when a newer one takes its place.
    """

    def __init__(self, files: Files, paths: SessionPaths) -> None:
        self._path = paths.results
        self._reader = files.reader(self._path)
        header = self._parsed(self._payload(0, self._header_length()), 0)
        if not isinstance(header, dict) or header.get("v") != SCHEMA_VERSION:
            raise CorruptionError(self._path, 0, f"not results of schema {SCHEMA_VERSION}")
        trailer_length = HEADER.size + TRAILER.size
        trailer_offset = max(0, self._reader.size - trailer_length)
        trailer = self._payload(trailer_offset, trailer_length)
        if len(trailer) != TRAILER.size:
            raise self._damaged(trailer_offset)
        offset, length = TRAILER.unpack(trailer)
        index = self._parsed(self._payload(offset, length), offset)
        try:
            self._take_index(index)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise self._damaged(offset) from error

    def _take_index(self, index: Any) -> None:
        self.n = int(index["rows"])
        self.counts = tuple(int(count) for count in index["counts"])
        self.duplicates = int(index["duplicates"])
        self.workers = tuple(str(name) for name in index["workers"])
        self.worker_counts: Mapping[str, int] = dict(
            zip(self.workers, (int(share) for share in index["shares"]), strict=True)
        )
        self._groups: list[_Group] = []
        start = spent = 0
        for group in index["groups"]:
            self._groups.append(_Group(start, int(group["n"]), group["at"]))
            start += self._groups[-1].n
            spent += sum(sum(place[2::2]) for place in group["at"].values())
        if start != self.n or len(self.counts) != len(STATUS_NAMES) or spent > self._reader.size:
            raise ValueError("the index contradicts itself")
        names = dict.fromkeys(name for group in self._groups for name in group.at)
        self.param_names = [name.removeprefix(PARAM) for name in names if name.startswith(PARAM)]
        self.metric_names = [name.removeprefix(METRIC) for name in names if name.startswith(METRIC)]

    def fixed(self, name: str) -> Array:
        """One of `FIXED_COLUMNS`."""
        return self._joined(name, FIXED_COLUMNS[name])

    def worker(self) -> Array:
        """Indices into `workers`."""
        return self._joined(WORKER, "<i4")

    def param(self, name: str) -> Array:
        """A parameter, encoded as the search space has it."""
        return self._joined(PARAM + name, "<f8")

    def metric(self, name: str) -> Array:
        """A metric; NaN for rows that do not have it."""
        return self._joined(METRIC + name, "<f8")

    def errors(self) -> dict[int, str]:
        """Error texts by iteration."""
        return {iteration: text for group in self._groups for iteration, text in self._errors(group).items()}

    def groups(self, *, blocks: bool = False) -> Iterator[ResultGroup]:
        """Everything, group by group."""
        for group in self._groups:
            yield ResultGroup(self._rows(group, blocks), self._column(group, WORKER, "<i4"), self.workers)

    def at(self, positions: Sequence[int]) -> Iterator[tuple[int, ResultGroup]]:
        """The rows at some positions, each with its place in `positions`, in the order of the file's groups."""
        places = np.asarray(positions, dtype=np.int64)
        for group in self._groups:
            inside = np.flatnonzero((places >= group.start) & (places < group.start + group.n))
            if len(inside):
                rows, worker = self._rows(group, blocks=False), self._column(group, WORKER, "<i4")
                for place in inside.tolist():
                    one = np.array([positions[place] - group.start])
                    yield place, ResultGroup(rows.select(one), worker[one], self.workers)

    def _joined(self, name: str, form: str) -> Array:
        columns = [self._column(group, name, form) for group in self._groups]
        return columns[0] if len(columns) == 1 else np.concatenate([np.empty(0, dtype=columns[0].dtype), *columns])

    def _rows(self, group: _Group, blocks: bool) -> RowBatch:
        fixed = {name: self._column(group, name, form) for name, form in FIXED_COLUMNS.items()}
        return RowBatch(
            **fixed,
            params={name: self._column(group, PARAM + name, "<f8") for name in self._named(group, PARAM)},
            metrics={name: self._column(group, METRIC + name, "<f8") for name in self._named(group, METRIC)},
            blocks=self._blocks(group) if blocks and BLOCKS in group.at else None,
            errors=self._errors(group),
            reports=self._reports(group),
        )

    def _named(self, group: _Group, prefix: str) -> list[str]:
        return [name.removeprefix(prefix) for name in group.at if name.startswith(prefix)]

    def _column(self, group: _Group, name: str, form: str) -> Array:
        if name not in group.at:
            return np.full(group.n, np.nan)
        told, offset, data = self._pieces(group, name)
        try:
            return decode_column(data, told or form, group.n)
        except ValueError as error:
            raise self._damaged(offset) from error

    def _errors(self, group: _Group) -> dict[int, str]:
        if ERRORS not in group.at:
            return {}
        _, offset, data = self._pieces(group, ERRORS)
        try:
            return {int(iteration): str(text) for iteration, text in self._parsed(data, offset).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise self._damaged(offset) from error

    def _reports(self, group: _Group) -> dict[int, list[tuple[int, float]]]:
        if REPORTS not in group.at:
            return {}
        _, offset, data = self._pieces(group, REPORTS)
        try:
            found = self._parsed(data, offset).items()
            return {int(i): [(int(step), float(value)) for step, value in steps] for i, steps in found}
        except (AttributeError, TypeError, ValueError) as error:
            raise self._damaged(offset) from error

    def _blocks(self, group: _Group) -> Array:
        told, offset, data = self._pieces(group, BLOCKS)
        try:
            return np.frombuffer(data, "<f8").reshape(group.n, int(told), 2)
        except ValueError as error:
            raise self._damaged(offset) from error

    def _pieces(self, group: _Group, name: str) -> tuple[str, int, bytes]:
        """Form, first offset and content of a column."""
        try:
            form, *places = group.at[name]
            pieces = [(int(a), int(b)) for a, b in zip(places[::2], places[1::2], strict=True)]
            first = pieces[0][0]
        except (TypeError, ValueError, IndexError) as error:
            raise self._damaged(0) from error
        return str(form), first, b"".join([self._payload(*piece) for piece in pieces])

    def _header_length(self) -> int:
        header = self._reader.read(0, HEADER.size)
        return HEADER.size + HEADER.unpack(header)[0] if len(header) == HEADER.size else 0

    def _payload(self, offset: int, length: int) -> bytes:
        """The payload of the frame at a place, if that frame has this length and is whole."""
        if not (0 <= offset < self._reader.size and HEADER.size < length <= MAX_PAYLOAD_BYTES + HEADER.size):
            raise self._damaged(offset)
        payload = whole_frame(self._reader.read(offset, length))
        if payload is None:
            raise self._damaged(offset)
        return payload

    def _parsed(self, data: bytes, offset: int) -> Any:
        try:
            return msgpack.unpackb(data, strict_map_key=False)
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
            raise self._damaged(offset) from error

    def _damaged(self, offset: int) -> CorruptionError:
        reason = "damaged; delete this file, readers then use the segments beside it"
        return CorruptionError(self._path, offset, reason)


def read_results(files: Files, paths: SessionPaths, *, blocks: bool = False) -> Iterator[ResultGroup]:
    """The groups of `results.msgpack`. FileNotFoundError when there is none, CorruptionError when damaged."""
    yield from StoredResults(files, paths).groups(blocks=blocks)


def has_results(files: Files, paths: SessionPaths) -> bool:
    """True when the session's results were compacted; asked of the listing, as `sessions.exists` is."""
    return paths.results.name in files.names(paths.folder)


def read_segments(files: Files, paths: SessionPaths, *, blocks: bool = False) -> Iterator[ResultGroup]:
    """All rows of a session from its segments, sorted by iteration."""
    merge = Merge(files, paths)
    for group in merge.groups():
        rows = group.rows if blocks else replace(group.rows, blocks=None)
        yield ResultGroup(rows, group.worker, tuple(merge.workers))


def read_rows(files: Files, paths: SessionPaths, *, done: bool, blocks: bool = False) -> Iterator[ResultGroup]:
    """All rows of a session, sorted by iteration: from `results.msgpack` when `done`, else from the segments."""
    if done and has_results(files, paths):
        return read_results(files, paths, blocks=blocks)
    return read_segments(files, paths, blocks=blocks)
