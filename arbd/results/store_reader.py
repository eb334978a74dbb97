"""Reads `results.msgpack` column by column, as what it is: a file that another host wrote (I7).

Owns the checks: places inside of the file, lengths that are those of the rows before anything is allocated for
them, names that may be names, rows that keep the rules of the session. What fails one is told with file and place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from arbd.arrays import Array
from arbd.errors import CorruptionError
from arbd.records import RecordFormat
from arbd.results import records
from arbd.results.block_places import BlockReader, checked_segments, decode_runs
from arbd.results.code_runs import TRAILER, code_of
from arbd.results.columns import FIXED_COLUMNS, RowBatch, RowRules, check_fixed, decode_column, plain_reports
from arbd.results.merge import MergedGroup
from arbd.results.records import MAX_METRICS, ResultsIndex
from arbd.results.store_format import (
    BLOCK_PLACES,
    BLOCKS,
    ERRORS,
    METRIC,
    ORIGIN,
    PARAM,
    REPORTS,
    WORKER,
    ResultGroup,
)
from arbd.results.store_index import (
    StoredCodes,
    StoredColumn,
    StoredGroup,
    block_form,
    block_shape,
    params_of,
    stored_group,
)
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, MAX_PAYLOAD_BYTES, frame_length, whole_frame
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import CRASHED, STATUS_NAMES

T = TypeVar("T")


class StoredResults:
    """The rows of `results.msgpack`, column by column, each read when asked for.

    FileNotFoundError when there is no such file, VersionError when it is another version's, CorruptionError where it is
    damaged; damaged it is too where rows do not keep the `rules` of the session. It goes on reading the file that it
    opened when a newer one takes its place.
    """

    def __init__(self, files: Files, paths: SessionPaths, rules: RowRules | None = None) -> None:
        self._path = paths.results
        self._files, self._paths = files, paths
        self._rules = rules
        self._reader = files.reader(self._path)
        header = self._record(0, HEADER.size + frame_length(self._reader.read(0, HEADER.size)), records.HEADER)
        trailer_length = HEADER.size + TRAILER.size
        trailer_offset = max(0, self._reader.size - trailer_length)
        trailer = self._payload(trailer_offset, trailer_length)
        offset, length = TRAILER.unpack(trailer)
        index = self._record(offset, length, records.INDEX)
        self.session_n = header.n
        try:
            self._take_index(index)
        except ValueError as error:
            raise self._damaged(offset, f"its index does not hold: {error}") from error

    def _take_index(self, index: ResultsIndex) -> None:
        self.n = index.rows
        self.counts: tuple[int, ...] = index.counts
        self.duplicates = index.duplicates
        self.workers = index.workers
        self.segments = checked_segments(index.segments)
        if len(index.shares) != len(self.workers):
            raise ValueError(f"{len(index.shares)} shares of {len(self.workers)} workers")
        self.worker_counts: Mapping[str, int] = dict(zip(self.workers, index.shares, strict=True))
        self._groups: list[StoredGroup] = []
        start = spent = 0
        for found in index.groups:
            group = stored_group(found, start, self._reader.size, self._groups[0] if self._groups else None)
            self._groups.append(group)
            start += group.n
            spent += sum(length for column in group.at.values() for _, length in column.pieces)
        if len(self.worker_counts) != len(self.workers):
            raise ValueError("a worker is named twice")
        if not start == self.n == sum(self.counts) == sum(index.shares) or spent > self._reader.size:
            raise ValueError("it contradicts itself")
        # Earlier versions did not tell.
        self._codes = StoredCodes(code_of(index.code, self.n) if index.code else [("", self.n)] * bool(self.n))
        self.code_counts: Mapping[str, int] = self._codes.counts()
        names = dict.fromkeys(name for group in self._groups for name in group.at)
        self.metric_names = [name.removeprefix(METRIC) for name in names if name.startswith(METRIC)]
        self.param_names = [name.removeprefix(PARAM) for name in names if name.startswith(PARAM)]
        if len(self.metric_names) > MAX_METRICS or len(self.param_names) > MAX_METRICS:
            raise ValueError(f"{len(self.metric_names):,} metrics; the maximum is {MAX_METRICS:,}")
        if self._groups and self._rules is not None:
            if self.n > self._rules.n:
                raise ValueError(f"{self.n} rows of {self._rules.n} iterations")
            self._rules.check_names(self.param_names)

    def fixed(self, name: str) -> Array:
        """One of `FIXED_COLUMNS`."""
        column = self._joined(name, FIXED_COLUMNS[name])
        if not len(column):
            return column
        if name == "status" and column.max() > CRASHED:
            raise self._damaged(self._place(name), f"a status {column.max()}")
        if name in ("epoch", "attempt") and column.min() < 0:
            raise self._damaged(self._place(name), f"a negative {name}")
        if name == "iteration" and (column[0] < 1 or np.any(column[1:] <= column[:-1]) or self._beyond(column[-1])):
            raise self._damaged(self._place(name), "iterations that are not the session's, in their order")
        return column

    def _beyond(self, iteration: int) -> bool:
        return self._rules is not None and iteration > self._rules.n

    def worker(self) -> Array:
        """Indices into `workers`."""
        columns = [self._worker(group) for group in self._groups]
        return np.concatenate([np.empty(0, dtype="<i4"), *columns])

    def _worker(self, group: StoredGroup) -> Array:
        column = self._column(group, WORKER)
        if column.min() < 0 or column.max() >= len(self.workers):
            raise self._damaged(group.at[WORKER].pieces[0][0], "rows of workers that the index does not name")
        return column

    def origin(self) -> Array | None:
        """As of `RowBatch.origin`."""
        if not any(ORIGIN in group.at for group in self._groups):
            return None
        return np.concatenate(
            [
                self._column(group, ORIGIN) if ORIGIN in group.at else np.zeros(group.n, dtype=np.int64)
                for group in self._groups
            ]
        )

    def param(self, name: str) -> Array:
        """A parameter, encoded as the search space has it."""
        column = self._joined(PARAM + name, "<i8")
        if self._rules is not None and len(column):
            try:
                self._rules.check_param(name, column)
            except ValueError as error:
                raise self._damaged(self._place(PARAM + name), str(error)) from error
        return column

    def metric(self, name: str) -> Array:
        """A metric; NaN for rows that do not have it."""
        return self._joined(METRIC + name, "<f8")

    def errors(self) -> dict[int, str]:
        """Error texts by iteration."""
        return {iteration: text for group in self._groups for iteration, text in self._errors(group).items()}

    @property
    def has_reports(self) -> bool:
        """True when any row has intermediate values."""
        return any(REPORTS in group.at for group in self._groups)

    def reports(self, positions: Sequence[int]) -> dict[int, list[tuple[int, float]]]:
        """Intermediate values by iteration, of those of some rows that have any."""
        places, found = np.asarray(positions, dtype=np.int64), dict[int, list[tuple[int, float]]]()
        for group in self._groups:
            inside = places[(places >= group.start) & (places < group.start + group.n)] - group.start
            if REPORTS in group.at and len(inside):
                told = self._reports(group)
                numbers = self._column(group, "iteration")[inside].tolist()
                found |= {number: told[number] for number in numbers if number in told}
        return found

    def groups(self, *, blocks: bool = False) -> Iterator[ResultGroup]:
        """Everything, group by group. A DamageWarning where blocks cannot be read, which are NaN then."""
        reader = BlockReader(self._files, self._paths, self.segments) if blocks else None
        before, counts = 0, np.zeros(len(STATUS_NAMES), dtype=np.int64)
        for group in self._groups:
            rows = self._rows(group, reader)
            if rows.iteration[0] <= before:
                raise self._damaged(group.at["iteration"].pieces[0][0], "iterations that do not grow between groups")
            before = int(rows.iteration[-1])
            counts += rows.counts()
            yield ResultGroup(rows, self._worker(group), self.workers)
        if tuple(counts.tolist()) != self.counts:
            raise self._damaged(self._reader.size, "its index counts other rows than there are")
        if reader is not None:
            reader.warn(self._path)

    def as_merged(self) -> StoredRows:
        """The same rows as what results are made of."""
        return StoredRows(self)

    def at(self, positions: Sequence[int]) -> Iterator[tuple[int, ResultGroup]]:
        """The rows at some positions, each with its place in `positions`, in the order of the file's groups."""
        places = np.asarray(positions, dtype=np.int64)
        for group in self._groups:
            inside = np.flatnonzero((places >= group.start) & (places < group.start + group.n))
            if len(inside):
                rows, worker = self._rows(group), self._worker(group)
                for place in inside.tolist():
                    one = np.array([positions[place] - group.start])
                    yield place, ResultGroup(rows.select(one), worker[one], self.workers)

    def _joined(self, name: str, form: str) -> Array:
        columns = [self._column(group, name) for group in self._groups]
        return columns[0] if len(columns) == 1 else np.concatenate(columns or [np.empty(0, dtype=form)])

    def _rows(self, group: StoredGroup, reader: BlockReader | None = None) -> RowBatch:
        metrics = [name.removeprefix(METRIC) for name in group.at if name.startswith(METRIC)]
        rows = RowBatch(
            **{name: self._column(group, name) for name in FIXED_COLUMNS},
            params={name: self._column(group, PARAM + name) for name in params_of(group.at)},
            metrics={name: self._column(group, METRIC + name) for name in metrics},
            errors=self._errors(group),
            reports=self._reports(group),
            origin=self._column(group, ORIGIN) if ORIGIN in group.at else None,
            code=self._codes.part(group.start, group.n),
        )
        try:
            check_fixed(rows)
            if self._rules is not None:
                self._rules.check(rows)
        except ValueError as error:
            raise self._damaged(group.at["iteration"].pieces[0][0], str(error)) from error
        return rows if reader is None else replace(rows, blocks=self._blocks(group, rows, reader))

    def _column(self, group: StoredGroup, name: str) -> Array:
        column = group.at.get(name)
        if column is None:
            return np.full(group.n, np.nan)
        # The length of one that is not packed was compared with its rows when the index was read.
        try:
            return decode_column(self._content(column), column.plain_form, group.n, packed=column.is_packed)
        except ValueError as error:
            raise self._damaged(column.pieces[0][0], str(error)) from error

    def _errors(self, group: StoredGroup) -> dict[int, str]:
        return self._mapping(group, ERRORS, records.ERRORS)

    def _reports(self, group: StoredGroup) -> dict[int, list[tuple[int, float]]]:
        return plain_reports(self._mapping(group, REPORTS, records.REPORTS))

    def _mapping(self, group: StoredGroup, name: str, form: RecordFormat[dict[int, T]]) -> dict[int, T]:
        """What a column that is a map says by iteration."""
        if name not in group.at:
            return {}
        content = self._content(group.at[name])
        try:
            return form.read(content, self._path)
        except ValueError as error:
            raise self._damaged(group.at[name].pieces[0][0], str(error)) from error

    def _blocks(self, group: StoredGroup, rows: RowBatch, reader: BlockReader) -> Array | None:
        if BLOCKS in group.at:
            column = group.at[BLOCKS]
            content = np.frombuffer(self._content(column), block_form(column.form))
            return content.reshape(group.n, *block_shape(column.form))
        if BLOCK_PLACES not in group.at:
            return None
        column = group.at[BLOCK_PLACES]
        try:
            runs = decode_runs(self._content(column), group.n, len(self.segments))
        except ValueError as error:
            raise self._damaged(column.pieces[0][0], str(error)) from error
        origins = rows.origins
        return reader.read(runs, np.where(origins > 0, origins, rows.iteration))

    def _content(self, column: StoredColumn) -> bytes:
        parts = [self._payload(*piece) for piece in column.pieces]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _place(self, name: str) -> int:
        return next((group.at[name].pieces[0][0] for group in self._groups if name in group.at), 0)

    def _payload(self, offset: int, length: int) -> bytes:
        """The payload of the frame at a place, if that frame has this length and is whole."""
        if not (HEADER.size < length <= MAX_PAYLOAD_BYTES + HEADER.size and 0 <= offset <= self._reader.size - length):
            raise self._damaged(offset)
        payload = whole_frame(self._reader.read(offset, length))
        if payload is None:
            raise self._damaged(offset)
        return payload

    def _record(self, offset: int, length: int, form: RecordFormat[T]) -> T:
        payload = self._payload(offset, length)
        try:
            return form.read(payload, self._path)
        except ValueError as error:
            raise self._damaged(offset, str(error)) from error

    def _damaged(self, offset: int, what: str = "damaged") -> CorruptionError:
        remedy = f"`arbctl repair {self._path.parent.name}` makes it anew from its segments; without these, restore an archive"
        return CorruptionError(self._path, offset, f"{what}; {remedy}")


class StoredRows:
    """Stored results as `arbd.results.store_format.Encodable`."""

    def __init__(self, stored: StoredResults) -> None:
        self._stored = stored
        self.workers: Sequence[str] = stored.workers
        self.segments: Sequence[str] = ()
        self.duplicates: int = stored.duplicates

    def groups(self, *, blocks: bool = True) -> Iterator[MergedGroup]:
        """As of `Merge.groups`."""
        for group in self._stored.groups(blocks=blocks):
            yield MergedGroup(group.rows, group.worker)


def read_results(
    files: Files, paths: SessionPaths, *, blocks: bool = False, rules: RowRules | None = None
) -> Iterator[ResultGroup]:
    """The groups of `results.msgpack`, as `StoredResults` reads them."""
    yield from StoredResults(files, paths, rules).groups(blocks=blocks)
