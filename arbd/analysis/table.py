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
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.results.columns import Array, RowBatch, RowRules, concatenate
from arbd.results.csv_writer import iso_utc, status_name
from arbd.results.result import TuningResult
from arbd.results.store_format import ResultGroup, has_results, read_segments
from arbd.results.store_reader import StoredResults
from arbd.search.constraints import as_values, total_violation
from arbd.search.pareto import hypervolume, pareto_mask
from arbd.search.plan import INFEASIBLE, INFEASIBLE_NAME, Limits
from arbd.search.space import SearchSpace
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED, STATUS_NAMES, LedgerState
from arbd.spool.queue import SessionQueue

SAMPLE_ROWS = 65_536
BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Front:
    """A Pareto front: positions of its rows by the first objective, and the volume that they dominate.

    `reference` is the corner that the volume is measured from: the worst finite value of every objective among all
    results. `left_out` says why the volume is NaN, where it is.
    """

    positions: tuple[int, ...]
    hypervolume: float
    reference: Mapping[str, float]
    left_out: str = ""


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
        rows = concatenate([group.rows for group in self.source.groups(blocks=self.blocks)])
        if not len(rows):
            rows = replace(rows, params={name: np.empty(0, dtype=np.int64) for name in self.spec.space.names})
        return rows

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
    def _origin(self) -> Array | None:
        return self.source.origin()

    @property
    def repeated(self) -> int:
        """Rows that share the result of another, because their parameters stood before."""
        return 0 if self._origin is None else int((self._origin > 0).sum())

    @cached_property
    def completed(self) -> Array:
        """Which rows are results of the objective."""
        if self.source.counts[COMPLETED] == self.source.n:
            completed = np.ones(self.source.n, dtype=bool)
        else:
            completed = np.asarray(self.source.fixed("status") == COMPLETED)
        return completed if self._origin is None else np.asarray(completed & (self._origin != INFEASIBLE))

    @cached_property
    def violation(self) -> Array:
        """By how much each row breaks the constraints that speak of metrics; 0 where there are none."""
        constraints = Limits.of(self.spec).after
        if not constraints:
            return np.zeros(len(self))
        # Only the columns that they speak of are read.
        names = frozenset[str]().union(*(constraint.names for constraint in constraints))
        space = SearchSpace(tuple(d for d in self.spec.space.dimensions if d.name in names))
        params = as_values(space.decode({name: self.source.param(name) for name in space.names}))
        metrics = {name: self.source.metric(name) for name in self.metric_names if name in names}
        values = {**self.spec.fixed, **params, **metrics}
        return total_violation(constraints, values, len(self))

    @cached_property
    def breaking(self) -> Array:
        """Which rows break a constraint that speaks of metrics."""
        return np.asarray(self.violation > 0)

    @cached_property
    def comparable(self) -> Array:
        """Which rows can be the best: results that keep every constraint and used as much of the data as any."""
        chosen = self.completed & ~self.breaking
        if self._has_shares and chosen.any():
            budget = self.source.metric(BUDGET)
            chosen = chosen & (budget == np.nanmax(budget[chosen], initial=-np.inf))
        return np.asarray(chosen)

    @property
    def _has_shares(self) -> bool:
        return self.spec.has_shares and BUDGET in self.metric_names

    def rank(self, metric: str, top_n: int, ascending: bool) -> list[int]:
        """Positions of the best completed rows by a metric, best first, NaN last; UsageError for an unknown metric."""
        values = self.metric(metric)
        ranked = np.flatnonzero(self.completed)
        keys = values[ranked] if ascending else -values[ranked]
        wanted = max(0, top_n)
        if self._has_shares or self.spec.constraints:
            violation = self.violation[ranked]
            budget = self.source.metric(BUDGET)[ranked] if self._has_shares else np.ones(len(ranked))
            # What breaks a constraint ranks after the rest; what used less of the data is no match for what used more.
            order = np.lexsort((keys, violation, -budget, violation > 0, np.isnan(keys)))
            return [int(i) for i in ranked[order[:wanted]]]
        for step in (max(1, len(keys) // SAMPLE_ROWS), 1):
            # What is worse than the last of the wanted, of some rows and then of all that are left, need not be sorted.
            some = keys[::step]
            if wanted < len(some):
                near = np.flatnonzero(~(keys > np.partition(some, wanted)[wanted]))
                ranked, keys = ranked[near], keys[near]
        order = np.argsort(keys, kind="stable")
        return [int(i) for i in ranked[order[:wanted]]]

    def losses(self) -> Array:
        """Of shape (rows, objectives), lower is better; NaN for rows that are in no front."""
        n = len(self)
        columns = []
        for goal in self.spec.metrics:
            column = self.source.metric(goal.name) if goal.name in self.metric_names else np.full(n, np.nan)
            columns.append(column if goal.direction == "minimize" else -column)
        losses = np.column_stack(columns).astype(np.float64)
        losses[~self.completed | self.breaking] = np.nan
        return losses

    def in_front(self) -> Array:
        """Which rows are in the Pareto front."""
        return pareto_mask(self.losses())

    def front(self) -> Front:
        """The Pareto front of a session of several objectives, with its volume."""
        losses = self.losses()
        known = losses[~np.isnan(losses).any(axis=1)]
        positions = np.flatnonzero(pareto_mask(losses))
        positions = positions[np.argsort(losses[positions, 0], kind="stable")]
        if not len(known):
            return Front((), float("nan"), {})
        worst = known.max(axis=0, initial=-np.inf, where=np.isfinite(known))
        sign = [1.0 if goal.direction == "minimize" else -1.0 for goal in self.spec.metrics]
        reference = {goal.name: float(s * w) for goal, s, w in zip(self.spec.metrics, sign, worst, strict=True)}
        volume, why = hypervolume(losses[positions], worst), ""
        if np.isnan(volume):
            infinite = np.isinf(losses[positions]).any() or np.isinf(worst).any()
            why = (
                "a result is infinite"
                if infinite
                else f"{len(positions):,} points of {losses.shape[1]} objectives are too many for an exact one"
            )
        return Front(tuple(positions.tolist()), volume, reference, why)

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
        origins, shares = rows.origins, rows.metrics.get(BUDGET) if self._has_shares else None
        return [
            TuningResult(
                session_id=self.session_id,
                worker_id=group.workers[int(group.worker[i])],
                iteration=int(rows.iteration[i]),
                params=params[i],
                metrics=_metrics(rows, i),
                timestamp=iso_utc(int(rows.ended_ns[i])),
                status=status_name(int(rows.status[i]), int(origins[i])),
                duration_s=float(rows.duration_s[i]),
                attempt=int(rows.attempt[i]),
                error=rows.errors.get(int(rows.iteration[i]), ""),
                same_as=max(0, int(origins[i])),
                data_share=float(shares[i]) if shares is not None and 0.0 < shares[i] <= 1.0 else 1.0,
            )
            for i in range(len(rows))
        ]

    def worker_counts(self) -> dict[str, int]:
        """Rows by worker."""
        return {name: count for name, count in self.source.worker_counts.items() if count}

    @property
    def missing(self) -> int:
        """Iterations that the ledger counts and no file has; 0 while the session goes on, when rows may be on their way."""
        return max(0, self.state.counted - len(self)) if self.state.over else 0

    @property
    def missing_text(self) -> str:
        """What to say where results are missing."""
        return (
            f"the results of {self.missing:,} of {self.state.counted:,} recorded iterations are not there: "
            "they were purged or lost; "
            f"`arbctl purge {self.session_id} --results --claims --yes`, then `arbctl restore` its archive or submit its job again"
        )

    def counts(self) -> dict[str, int]:
        """Rows by status; those that were not run only where there are any."""
        infeasible = 0 if self._origin is None else int((self._origin == INFEASIBLE).sum())
        counts = dict(zip(STATUS_NAMES, self.source.counts, strict=True))
        return {**counts, "completed": counts["completed"] - infeasible} | (
            {INFEASIBLE_NAME: infeasible} if infeasible else {}
        )


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
    rules = RowRules.of(spec)
    source: Source
    if state.done and has_results(files, paths):
        source = StoredResults(files, paths, rules)
    else:
        source = LoadedRows(list(read_segments(files, paths, blocks=blocks, rules=rules)))
    return ResultTable(session_id, spec, state, source, blocks)
