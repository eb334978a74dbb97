"""Reads `results.msgpack` column by column, as what it is: a file that another host wrote (I7).

Owns the checks: places inside of the file, lengths that are those of the rows before anything is allocated for
them, names that may be names, rows that keep the rules of the session. What fails one is told with file and place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from arbd.errors import CorruptionError
from arbd.records import RecordFormat
from arbd.results import records
from arbd.results.code_runs import TRAILER, CodeRuns, code_of, counts_of
from arbd.results.columns import (
    FIXED_COLUMNS,
    Array,
    RowBatch,
    RowRules,
    check_fixed,
    decode_column,
    expand_code,
    plain_reports,
)
from arbd.results.records import MAX_METRICS, MAX_NAME_CHARS, ResultsGroup, ResultsIndex
from arbd.results.store_format import (
    BLOCKS,
    ERRORS,
    METRIC,
    ORIGIN,
    PARAM,
    REPORTS,
    WORKER,
    ResultGroup,
)
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, MAX_PAYLOAD_BYTES, frame_length, whole_frame
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import CRASHED, STATUS_NAMES

T = TypeVar("T")

_ITEM_BYTES = {"<i8": 8, "<f8": 8, "<i4": 4, "|u1": 1}
_FORMS = {**FIXED_COLUMNS, WORKER: "<i4", ORIGIN: "<i8"}
_TEXTS = (ERRORS, REPORTS)


@dataclass(frozen=True, slots=True)
class _Column:
    form: str
    pieces: tuple[tuple[int, int], ...]

    @property
    def content_bytes(self) -> int:
        return sum(length - HEADER.size for _, length in self.pieces)


@dataclass(frozen=True, slots=True)
class _Group:
    start: int
    n: int
    at: Mapping[str, _Column]


class _Codes:
    """Which code made which rows, without a value for each."""

    def __init__(self, runs: CodeRuns) -> None:
        self._runs = runs
        self._ends = np.cumsum([count for _, count in runs], dtype=np.int64)

    def counts(self) -> dict[str, int]:
        return counts_of(self._runs)

    def part(self, start: int, n: int) -> Array:
        first, last = np.searchsorted(self._ends, (start, start + n - 1), side="right")
        runs = self._runs[first : last + 1]
        skipped = start - (int(self._ends[first]) - runs[0][1])
        return expand_code(runs)[skipped : skipped + n]


class StoredResults:
    """The rows of `results.msgpack`, column by column, each read when asked for.

    FileNotFoundError when there is no such file, VersionError when it is another version's, CorruptionError where it is
    damaged; damaged it is too where rows do not keep the `rules` of the session. It goes on reading the file that it
    opened when a newer one takes its place.
    """

    def __init__(self, files: Files, paths: SessionPaths, rules: RowRules | None = None) -> None:
        self._path = paths.results
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
        if len(index.shares) != len(self.workers):
            raise ValueError(f"{len(index.shares)} shares of {len(self.workers)} workers")
        self.worker_counts: Mapping[str, int] = dict(zip(self.workers, index.shares, strict=True))
        self._groups: list[_Group] = []
        start = spent = 0
        for found in index.groups:
            group = self._group(found, start)
            self._groups.append(group)
            start += group.n
            spent += sum(length for column in group.at.values() for _, length in column.pieces)
        if len(self.worker_counts) != len(self.workers):
            raise ValueError("a worker is named twice")
        if not start == self.n == sum(self.counts) == sum(index.shares) or spent > self._reader.size:
            raise ValueError("it contradicts itself")
        # Earlier versions did not tell.
        self._codes = _Codes(code_of(index.code, self.n) if index.code else [("", self.n)] * bool(self.n))
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

    def _group(self, found: ResultsGroup, start: int) -> _Group:
        """A group, of which everything but the content was looked at."""
        n = found.rows
        at = {name: _column(place, self._reader.size) for name, place in found.at.items()}
        for name, column in at.items():
            if name in _TEXTS:
                continue
            row_bytes = 16 * _block_count(column.form) if name == BLOCKS else _row_bytes(name, column.form)
            if column.content_bytes != n * row_bytes:
                raise ValueError(f"a column of {column.content_bytes} bytes among {n} rows")
        missing = (FIXED_COLUMNS.keys() | {WORKER}) - at.keys()
        if missing:
            raise ValueError(f"a group without {', '.join(sorted(missing))}")
        if self._groups and _params(at) != _params(self._groups[0].at):
            raise ValueError("other parameters in one group than in another")
        return _Group(start, n, at)

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

    def _worker(self, group: _Group) -> Array:
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

    def groups(self, *, blocks: bool = False) -> Iterator[ResultGroup]:
        """Everything, group by group."""
        before, counts = 0, np.zeros(len(STATUS_NAMES), dtype=np.int64)
        for group in self._groups:
            rows = self._rows(group, blocks)
            if rows.iteration[0] <= before:
                raise self._damaged(group.at["iteration"].pieces[0][0], "iterations that do not grow between groups")
            before = int(rows.iteration[-1])
            counts += rows.counts()
            yield ResultGroup(rows, self._worker(group), self.workers)
        if tuple(counts.tolist()) != self.counts:
            raise self._damaged(self._reader.size, "its index counts other rows than there are")

    def at(self, positions: Sequence[int]) -> Iterator[tuple[int, ResultGroup]]:
        """The rows at some positions, each with its place in `positions`, in the order of the file's groups."""
        places = np.asarray(positions, dtype=np.int64)
        for group in self._groups:
            inside = np.flatnonzero((places >= group.start) & (places < group.start + group.n))
            if len(inside):
                rows, worker = self._rows(group, blocks=False), self._worker(group)
                for place in inside.tolist():
                    one = np.array([positions[place] - group.start])
                    yield place, ResultGroup(rows.select(one), worker[one], self.workers)

    def _joined(self, name: str, form: str) -> Array:
        columns = [self._column(group, name) for group in self._groups]
        return columns[0] if len(columns) == 1 else np.concatenate(columns or [np.empty(0, dtype=form)])

    def _rows(self, group: _Group, blocks: bool) -> RowBatch:
        metrics = [name.removeprefix(METRIC) for name in group.at if name.startswith(METRIC)]
        rows = RowBatch(
            **{name: self._column(group, name) for name in FIXED_COLUMNS},
            params={name: self._column(group, PARAM + name) for name in _params(group.at)},
            metrics={name: self._column(group, METRIC + name) for name in metrics},
            blocks=self._blocks(group) if blocks and BLOCKS in group.at else None,
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
        return rows

    def _column(self, group: _Group, name: str) -> Array:
        column = group.at.get(name)
        if column is None:
            return np.full(group.n, np.nan)
        # Its length was compared with its rows when the index was read.
        return decode_column(self._content(column), column.form, group.n)

    def _errors(self, group: _Group) -> dict[int, str]:
        return self._mapping(group, ERRORS, records.ERRORS)

    def _reports(self, group: _Group) -> dict[int, list[tuple[int, float]]]:
        return plain_reports(self._mapping(group, REPORTS, records.REPORTS))

    def _mapping(self, group: _Group, name: str, form: RecordFormat[dict[int, T]]) -> dict[int, T]:
        """What a column that is a map says by iteration."""
        if name not in group.at:
            return {}
        content = self._content(group.at[name])
        try:
            return form.read(content, self._path)
        except ValueError as error:
            raise self._damaged(group.at[name].pieces[0][0], str(error)) from error

    def _blocks(self, group: _Group) -> Array:
        column = group.at[BLOCKS]
        return np.frombuffer(self._content(column), "<f8").reshape(group.n, _block_count(column.form), 2)

    def _content(self, column: _Column) -> bytes:
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


def _column(found: Sequence[int | str], size: int) -> _Column:
    form, *places = found
    numbers = [place for place in places if isinstance(place, int)]
    if not isinstance(form, str) or len(numbers) < len(places) or not numbers or len(numbers) % 2:
        raise ValueError("a column without its place")
    pieces = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    if max(numbers) > size:
        raise ValueError(f"a place is {max(numbers)} in a file of {size} bytes")
    if any(length <= HEADER.size for _, length in pieces):
        raise ValueError("a place of no content")
    return _Column(form, pieces)


def _row_bytes(name: str, form: str) -> int:
    """What a row has in a column; ValueError for a column or a form that there is not."""
    for prefix, forms in ((PARAM, ("<i8", "<f8")), (METRIC, ("<f8",))):
        if name.startswith(prefix) and form in forms and len(name) - len(prefix) <= MAX_NAME_CHARS:
            return _ITEM_BYTES[form]
    if _FORMS.get(name) != form:
        raise ValueError(f"a column {name[:40]!a} of type {form!a}")
    return _ITEM_BYTES[form]


def _block_count(form: str) -> int:
    if not (form.isascii() and form.isdigit() and len(form) <= 9 and int(form)):
        raise ValueError(f"{form!a} blocks")
    return int(form)


def _params(at: Mapping[str, _Column]) -> list[str]:
    return [name.removeprefix(PARAM) for name in at if name.startswith(PARAM)]


def read_results(
    files: Files, paths: SessionPaths, *, blocks: bool = False, rules: RowRules | None = None
) -> Iterator[ResultGroup]:
    """The groups of `results.msgpack`, as `StoredResults` reads them."""
    yield from StoredResults(files, paths, rules).groups(blocks=blocks)
