"""A session's results as columns: what ranking and export of many rows work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from arbd.errors import UsageError
from arbd.spool.csvfile import INFEASIBLE_NAME, iso_utc, status_name
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED, STATUS_NAMES, LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.results import ResultGroup, read_rows
from arbd.spool.rows import Array, RowBatch, RowRules, concatenate
from arbd.spool.sessions import read_spec
from arbd.tuning.jobspec import JobSpec
from arbd.tuning.pareto import hypervolume, pareto_mask
from arbd.tuning.plan import INFEASIBLE, Limits
from arbd.tuning.result import TuningResult


@dataclass(frozen=True, slots=True)
class Front:
    """A Pareto front: positions of its rows by the first objective, and the volume that they dominate.

    `reference` is the corner that the volume is measured from: the worst of every objective among all results.
    """

    positions: tuple[int, ...]
    hypervolume: float
    reference: Mapping[str, float]


@dataclass(frozen=True, eq=False)
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
        ranked = np.flatnonzero(self.completed)
        keys = values[ranked] if ascending else -values[ranked]
        violation = self.violation[ranked]
        budget = self.rows.metrics.get("budget", np.ones(len(self.rows)))[ranked]
        # What used less of the data is no match for what used more; what breaks a constraint ranks after what does not.
        order = np.lexsort((keys, violation, np.isnan(keys), -budget))
        return [int(i) for i in ranked[order[: max(0, top_n)]]]

    @property
    def completed(self) -> Array:
        """Which rows are results of the objective."""
        return np.asarray((self.rows.status == COMPLETED) & (self.rows.origins != INFEASIBLE))

    @cached_property
    def violation(self) -> Array:
        """By how much each row breaks the constraints that speak of metrics; 0 where there are none."""
        return Limits.of(self.spec).violation(self.rows.params, self.rows.metrics, len(self.rows))

    def losses(self) -> Array:
        """Of shape (rows, objectives), lower is better; NaN for rows that are in no front."""
        n = len(self.rows)
        columns = []
        for goal in self.spec.metrics:
            column = self.rows.metrics.get(goal.name, np.full(n, np.nan))
            columns.append(column if goal.direction == "minimize" else -column)
        losses = np.column_stack(columns).astype(np.float64)
        losses[~self.completed | (self.violation > 0)] = np.nan
        return losses

    def front(self) -> Front:
        """The Pareto front of a session of several objectives."""
        losses = self.losses()
        known = losses[~np.isnan(losses).any(axis=1)]
        positions = np.flatnonzero(pareto_mask(losses))
        positions = positions[np.argsort(losses[positions, 0], kind="stable")]
        if not len(known):
            return Front((), float("nan"), {})
        worst = known.max(axis=0)
        sign = [1.0 if goal.direction == "minimize" else -1.0 for goal in self.spec.metrics]
        reference = {goal.name: float(s * w) for goal, s, w in zip(self.spec.metrics, sign, worst, strict=True)}
        return Front(tuple(positions.tolist()), hypervolume(losses[positions], worst), reference)

    def results(self, positions: Sequence[int]) -> list[TuningResult]:
        """The rows at `positions` as values."""
        index = np.array(positions, dtype=np.int64)
        rows = self.rows.select(index)
        params = self.spec.space.rows(dict(rows.params))
        origins = rows.origins
        return [
            TuningResult(
                session_id=self.session_id,
                worker_id=self.workers[int(self.worker[position])],
                iteration=int(rows.iteration[i]),
                params=params[i],
                metrics=_metrics(rows, i),
                timestamp=iso_utc(int(rows.ended_ns[i])),
                status=status_name(int(rows.status[i]), int(origins[i])),
                duration_s=float(rows.duration_s[i]),
                attempt=int(rows.attempt[i]),
                error=rows.errors.get(int(rows.iteration[i]), ""),
                same_as=max(0, int(origins[i])),
            )
            for i, position in enumerate(positions)
        ]

    def worker_counts(self) -> dict[str, int]:
        """Rows by worker."""
        found = np.bincount(self.worker.astype(np.int64), minlength=len(self.workers))
        return {name: int(count) for name, count in zip(self.workers, found, strict=True) if count}

    def counts(self) -> dict[str, int]:
        """Rows by status; those that were not run only where there are any."""
        infeasible = int((self.rows.origins == INFEASIBLE).sum())
        counts = dict(zip(STATUS_NAMES, self.rows.counts(), strict=True))
        return {**counts, "completed": counts["completed"] - infeasible} | (
            {INFEASIBLE_NAME: infeasible} if infeasible else {}
        )

    def group(self) -> ResultGroup:
        """The rows in the form that the writers take."""
        return ResultGroup(self.rows, self.worker.astype(np.int32), self.workers)


def _metrics(rows: RowBatch, i: int) -> dict[str, float]:
    if rows.status[i] != COMPLETED or rows.origins[i] == INFEASIBLE:
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
