"""A session's results as columns: what ranking and export of many rows work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from arbd.errors import UsageError
from arbd.spool.csvfile import iso_utc
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED, STATUS_NAMES, LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.results import ResultGroup, read_rows
from arbd.spool.rows import Array, RowBatch, RowRules, concatenate
from arbd.spool.sessions import read_spec
from arbd.tuning.jobspec import JobSpec
from arbd.tuning.result import TuningResult


@dataclass(frozen=True, slots=True, eq=False)
class ResultTable:
    """All rows of a session sorted by iteration; `worker` holds indices into `workers`."""

    session_id: str
    spec: JobSpec
    state: LedgerState
    rows: RowBatch
    worker: Array
    workers: tuple[str, ...]

    @property
    def metric_names(self) -> list[str]:
        """Names of all metrics."""
        return list(self.rows.metrics)

    def rank(self, metric: str, top_n: int, ascending: bool) -> list[int]:
        """Positions of the best completed rows by a metric, best first, NaN last; UsageError for an unknown metric."""
        if metric not in self.rows.metrics:
            known = ", ".join(self.metric_names) or "none yet"
            raise UsageError(f"session {self.session_id} has no metric {metric!r}; metrics are: {known}")
        values = self.rows.metrics[metric]
        completed = np.flatnonzero(self.rows.status == COMPLETED)
        keys = values[completed] if ascending else -values[completed]
        order = np.argsort(keys, kind="stable")
        return [int(i) for i in completed[order[: max(0, top_n)]]]

    def results(self, positions: Sequence[int]) -> list[TuningResult]:
        """The rows at `positions` as values."""
        index = np.array(positions, dtype=np.int64)
        rows = self.rows.select(index)
        params = self.spec.space.rows(dict(rows.params))
        return [
            TuningResult(
                session_id=self.session_id,
                worker_id=self.workers[int(self.worker[position])],
                iteration=int(rows.iteration[i]),
                params=params[i],
                metrics=_metrics(rows, i),
                timestamp=iso_utc(int(rows.ended_ns[i])),
                status=STATUS_NAMES[int(rows.status[i])],
                duration_s=float(rows.duration_s[i]),
                attempt=int(rows.attempt[i]),
                error=rows.errors.get(int(rows.iteration[i]), ""),
            )
            for i, position in enumerate(positions)
        ]

    def worker_counts(self) -> dict[str, int]:
        """Rows by worker."""
        found = np.bincount(self.worker.astype(np.int64), minlength=len(self.workers))
        return {name: int(count) for name, count in zip(self.workers, found, strict=True) if count}

    def counts(self) -> dict[str, int]:
        """Rows by status."""
        return dict(zip(STATUS_NAMES, self.rows.counts(), strict=True))

    def group(self) -> ResultGroup:
        """The rows in the form that the writers take."""
        return ResultGroup(self.rows, self.worker.astype(np.int32), self.workers)


def _metrics(rows: RowBatch, i: int) -> dict[str, float]:
    if rows.status[i] != COMPLETED:
        return {}
    return {name: float(column[i]) for name, column in rows.metrics.items()}


def load_table(spool: Path, session_id: str, *, blocks: bool = False) -> ResultTable:
    """Read a session, finished or still running. NotFoundError when it does not exist."""
    layout = SpoolLayout(spool)
    layout.require_readable()
    files = layout.files()
    paths = layout.session(session_id)
    state = SessionQueue(files, paths).refresh()
    spec = read_spec(files, paths)
    groups = list(read_rows(files, paths, done=state.done, blocks=blocks, rules=RowRules.of(spec)))
    workers: dict[str, int] = {}
    columns = []
    for group in groups:
        renamed = np.array([workers.setdefault(name, len(workers)) for name in group.workers], dtype=np.int64)
        columns.append(renamed[group.worker])
    rows = concatenate([group.rows for group in groups])
    if not groups:
        rows = replace(rows, params={name: np.empty(0, dtype=np.int64) for name in spec.space.names})
    worker = np.concatenate([np.empty(0, dtype=np.int64), *columns])
    return ResultTable(session_id, spec, state, rows, worker, tuple(workers))
