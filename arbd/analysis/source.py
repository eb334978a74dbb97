"""Where the columns of a session's results come from: `results.msgpack`, rows in memory, or one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from arbd.arrays import Array
from arbd.errors import CorruptionError
from arbd.results.columns import RowBatch, RowRules, concatenate
from arbd.results.session_rows import beyond, whole_segments
from arbd.results.store_format import ResultGroup, groups_of
from arbd.results.store_reader import StoredResults
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths

T = TypeVar("T")


class Source(Protocol):
    """Where the columns come from: a results file, or rows in memory."""

    n: int
    counts: tuple[int, ...]
    workers: tuple[str, ...]
    worker_counts: Mapping[str, int]
    code_counts: Mapping[str, int]
    metric_names: list[str]

    @property
    def has_reports(self) -> bool:
        """True when any row has intermediate values."""
        ...

    def fixed(self, name: str) -> Array:
        """A column that every row has."""
        ...

    def worker(self) -> Array:
        """Indices into `workers`."""
        ...

    def origin(self) -> Array | None:
        """As of `RowBatch.origin`."""
        ...

    def param(self, name: str) -> Array:
        """A parameter, encoded."""
        ...

    def metric(self, name: str) -> Array:
        """A metric, NaN where a row has none."""
        ...

    def errors(self) -> Mapping[int, str]:
        """Error texts by iteration."""
        ...

    def reports(self, positions: Sequence[int]) -> dict[int, list[tuple[int, float]]]:
        """Intermediate values by iteration, of those of some rows that have any."""
        ...

    def groups(self, *, blocks: bool = False) -> Iterator[ResultGroup]:
        """Everything."""
        ...

    def at(self, positions: Sequence[int]) -> Iterator[tuple[int, ResultGroup]]:
        """Single rows, each with its place in `positions`."""
        ...


class LoadedRows:
    """Rows in memory, as a `Source`."""

    def __init__(self, groups: Sequence[ResultGroup]) -> None:
        workers: dict[str, int] = {}
        columns = [np.empty(0, dtype=np.int32)]
        for group in groups:
            renamed = np.array([workers.setdefault(name, len(workers)) for name in group.workers], dtype=np.int32)
            columns.append(renamed[group.worker])
        self._rows = concatenate([group.rows for group in groups])
        self._worker = np.concatenate(columns)
        self.n = len(self._rows)
        self.counts: tuple[int, ...] = self._rows.counts()
        self.workers = tuple(workers)
        shares = np.bincount(self._worker, minlength=len(workers)).tolist()
        self.worker_counts: Mapping[str, int] = dict(zip(workers, shares, strict=True))
        self.code_counts: Mapping[str, int] = _code_counts(self._rows)
        self.metric_names = list(self._rows.metrics)

    def fixed(self, name: str) -> Array:
        """See `Source`."""
        column: Array = getattr(self._rows, name)
        return column

    def worker(self) -> Array:
        """See `Source`."""
        return self._worker

    def origin(self) -> Array | None:
        """See `Source`."""
        return self._rows.origin

    def param(self, name: str) -> Array:
        """See `Source`."""
        return self._rows.params[name] if self.n else np.empty(0, dtype=np.int64)

    def metric(self, name: str) -> Array:
        """See `Source`."""
        return self._rows.metrics[name]

    def errors(self) -> Mapping[int, str]:
        """See `Source`."""
        return self._rows.errors

    @property
    def has_reports(self) -> bool:
        """See `Source`."""
        return bool(self._rows.reports)

    def reports(self, positions: Sequence[int]) -> dict[int, list[tuple[int, float]]]:
        """See `Source`."""
        wanted = self._rows.iteration[np.asarray(positions, dtype=np.int64)].tolist()
        return {number: list(self._rows.reports[number]) for number in wanted if number in self._rows.reports}

    def groups(self, *, blocks: bool = False) -> Iterator[ResultGroup]:
        """See `Source`."""
        if not self.n:
            return
        rows = self._rows if blocks else replace(self._rows, blocks=None)
        yield ResultGroup(rows, self._worker, self.workers)

    def at(self, positions: Sequence[int]) -> Iterator[tuple[int, ResultGroup]]:
        """See `Source`."""
        for place, position in enumerate(positions):
            one = np.array([position])
            yield place, ResultGroup(self._rows.select(one), self._worker[one], self.workers)


def _code_counts(rows: RowBatch) -> dict[str, int]:
    digests, counts = np.unique(rows.codes, return_counts=True)
    return {digest.decode(): int(count) for digest, count in zip(digests.tolist(), counts, strict=True)}


class StoredOrSegments:
    """`results.msgpack` as a `Source`; as soon as a part of it turns out to be damaged, the segments beside it.

    Both hold the same rows in the same order, so that positions and names stay what they are.
    """

    def __init__(
        self, stored: StoredResults, files: Files, paths: SessionPaths, rules: RowRules, *, blocks: bool
    ) -> None:
        self._source: Source = stored
        self._open = partial(_segments, files, paths, rules, blocks=blocks)
        self.n, self.counts, self.workers = stored.n, stored.counts, stored.workers
        self.worker_counts: Mapping[str, int] = stored.worker_counts
        self.code_counts: Mapping[str, int] = stored.code_counts
        self.metric_names = stored.metric_names

    def _read(self, read: Callable[[Source], T]) -> T:
        try:
            return read(self._source)
        except CorruptionError as error:
            if not isinstance(self._source, StoredResults):
                raise
            self._source = self._open(error)
            return read(self._source)

    def fixed(self, name: str) -> Array:
        """See `Source`."""
        return self._read(lambda source: source.fixed(name))

    def worker(self) -> Array:
        """See `Source`."""
        return self._read(lambda source: source.worker())

    def origin(self) -> Array | None:
        """See `Source`."""
        return self._read(lambda source: source.origin())

    def param(self, name: str) -> Array:
        """See `Source`."""
        return self._read(lambda source: source.param(name))

    def metric(self, name: str) -> Array:
        """See `Source`."""
        return self._read(lambda source: source.metric(name))

    def errors(self) -> Mapping[int, str]:
        """See `Source`."""
        return self._read(lambda source: source.errors())

    @property
    def has_reports(self) -> bool:
        """See `Source`."""
        return self._read(lambda source: source.has_reports)

    def reports(self, positions: Sequence[int]) -> dict[int, list[tuple[int, float]]]:
        """See `Source`."""
        return self._read(lambda source: source.reports(positions))

    def groups(self, *, blocks: bool = False) -> Iterator[ResultGroup]:
        """See `Source`."""
        last = 0
        try:
            for group in self._source.groups(blocks=blocks):
                yield group
                last = int(group.rows.iteration[-1])
        except CorruptionError as error:
            if not isinstance(self._source, StoredResults):
                raise
            self._source = self._open(error)
            yield from beyond(self._source.groups(blocks=blocks), last)

    def at(self, positions: Sequence[int]) -> Iterator[tuple[int, ResultGroup]]:
        """See `Source`."""
        return iter(self._read(lambda source: list(source.at(positions))))


def _segments(
    files: Files, paths: SessionPaths, rules: RowRules, error: CorruptionError, *, blocks: bool
) -> LoadedRows:
    merge = whole_segments(files, paths, rules, error)
    return LoadedRows(list(groups_of(merge, blocks=blocks)))


def open_results(files: Files, paths: SessionPaths, rules: RowRules, *, blocks: bool = False) -> Source:
    """The results of a session that has a `results.msgpack`, from there as far as it is whole.

    CorruptionError where it is damaged and its segments do not hold every iteration.
    """
    try:
        stored = StoredResults(files, paths, rules)
    except CorruptionError as error:
        return _segments(files, paths, rules, error, blocks=blocks)
    return StoredOrSegments(stored, files, paths, rules, blocks=blocks)
