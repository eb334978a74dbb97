"""A session's results as columns: what ranking, reports and export of many rows work on.

Of a finished session only the columns that are asked for are read; a running one has its rows in segments, which
are read whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from arbd.errors import UsageError
from arbd.spool.csvfile import iso_utc
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED, STATUS_NAMES, LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.results import ResultGroup, StoredResults, has_results, read_segments
from arbd.spool.rows import Array, RowBatch, concatenate
from arbd.spool.sessions import read_spec
from arbd.tuning.jobspec import JobSpec
from arbd.tuning.result import TuningResult


class Source(Protocol):
    """Where the columns come from: a results file, or rows in memory."""

    n: int
    counts: tuple[int, ...]
    workers: tuple[str, ...]
    worker_counts: Mapping[str, int]
    metric_names: list[str]

    def fixed(self, name: str) -> Array:
        """A column that every row has."""
        ...

    def worker(self) -> Array:
        """Indices into `workers`."""
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
        self.metric_names = list(self._rows.metrics)

    def fixed(self, name: str) -> Array:
        """See `Source`."""
        column: Array = getattr(self._rows, name)
        return column

    def worker(self) -> Array:
        """See `Source`."""
        return self._worker

    def param(self, name: str) -> Array:
        """See `Source`."""
        return self._rows.params[name]

    def metric(self, name: str) -> Array:
        """See `Source`."""
        return self._rows.metrics[name]

    def errors(self) -> Mapping[int, str]:
        """See `Source`."""
        return self._rows.errors

    def groups(self, *, blocks: bool = False) -> Iterator[ResultGroup]:
        """See `Source`."""
        rows = self._rows if blocks else replace(self._rows, blocks=None)
        yield ResultGroup(rows, self._worker, self.workers)

    def at(self, positions: Sequence[int]) -> Iterator[tuple[int, ResultGroup]]:
        """See `Source`."""
        for place, position in enumerate(positions):
            one = np.array([position])
            yield place, ResultGroup(self._rows.select(one), self._worker[one], self.workers)


@dataclass(frozen=True, eq=False)
class ResultTable:
    """All rows of a session sorted by iteration. `blocks`: `rows` holds the return blocks too."""

    session_id: str
    spec: JobSpec
    state: LedgerState
    source: Source
    blocks: bool = False

    def __len__(self) -> int:
        return self.source.n

    @cached_property
    def rows(self) -> RowBatch:
        """Everything in memory."""
        return concatenate([group.rows for group in self.source.groups(blocks=self.blocks)])

    @cached_property
    def worker(self) -> Array:
        """Who evaluated each row: indices into `workers`."""
        return self.source.worker()

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of all workers that have rows."""
        return self.source.workers

    @property
    def metric_names(self) -> list[str]:
        """Names of all metrics."""
        return self.source.metric_names

    def metric(self, name: str) -> Array:
        """A metric of all rows, NaN where a row has none; UsageError for an unknown one."""
        if name not in self.metric_names:
            known = ", ".join(self.metric_names) or "none yet"
            raise UsageError(f"session {self.session_id} has no metric {name!r}; metrics are: {known}")
        return self.source.metric(name)

    @cached_property
    def completed(self) -> Array:
        """Which rows have metrics."""
        if self.source.counts[COMPLETED] == self.source.n:
            return np.ones(self.source.n, dtype=bool)
        return np.asarray(self.source.fixed("status") == COMPLETED)

    def rank(self, metric: str, top_n: int, ascending: bool) -> list[int]:
        """Positions of the best completed rows by a metric, best first, NaN last; UsageError for an unknown metric."""
        values = self.metric(metric)
        ranked = np.flatnonzero(self.completed)
        keys = values[ranked] if ascending else -values[ranked]
        wanted = max(0, top_n)
        if wanted < len(keys):
            # Only what is no worse than the last of the wanted needs to be put in order.
            bound = np.partition(keys, wanted)[wanted]
            near = np.flatnonzero(~(keys > bound))
            ranked, keys = ranked[near], keys[near]
        order = np.argsort(keys, kind="stable")
        return [int(i) for i in ranked[order[:wanted]]]

    def results(self, positions: Sequence[int]) -> list[TuningResult]:
        """The rows at `positions` as values."""
        if len(positions) == self.source.n and list(positions) == list(range(self.source.n)):
            return [result for group in self.source.groups() for result in self._values(group)]
        found: dict[int, TuningResult] = {}
        for place, group in self.source.at(positions):
            (found[place],) = self._values(group)
        return [found[place] for place in range(len(positions))]

    def _values(self, group: ResultGroup) -> list[TuningResult]:
        rows = group.rows
        params = self.spec.space.rows(dict(rows.params))
        return [
            TuningResult(
                session_id=self.session_id,
                worker_id=group.workers[int(group.worker[i])],
                iteration=int(rows.iteration[i]),
                params=params[i],
                metrics=_metrics(rows, i),
                timestamp=iso_utc(int(rows.ended_ns[i])),
                status=STATUS_NAMES[int(rows.status[i])],
                duration_s=float(rows.duration_s[i]),
                attempt=int(rows.attempt[i]),
                error=rows.errors.get(int(rows.iteration[i]), ""),
            )
            for i in range(len(rows))
        ]

    def worker_counts(self) -> dict[str, int]:
        """Rows by worker."""
        return {name: count for name, count in self.source.worker_counts.items() if count}

    def counts(self) -> dict[str, int]:
        """Rows by status."""
        return dict(zip(STATUS_NAMES, self.source.counts, strict=True))


def _metrics(rows: RowBatch, i: int) -> dict[str, float]:
    if rows.status[i] != COMPLETED:
        return {}
    return {name: float(column[i]) for name, column in rows.metrics.items()}


def load_table(spool: Path, session_id: str, *, blocks: bool = False) -> ResultTable:
    """Read a session, finished or still running. NotFoundError when it does not exist."""
    layout = SpoolLayout(spool)
    layout.require_readable()
    files = Files()
    paths = layout.session(session_id)
    state = SessionQueue(files, paths).refresh()
    spec = read_spec(files, paths)
    source: Source
    if state.done and has_results(files, paths):
        source = StoredResults(files, paths)
    else:
        source = LoadedRows(list(read_segments(files, paths, blocks=blocks)))
    return ResultTable(session_id, spec, state, source, blocks)
