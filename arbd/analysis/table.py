"""A session's results as columns: what ranking, reports and export of many rows work on.

Of a finished session only the columns that are asked for are read; a running one has its rows in segments, which
are read whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from arbd.analysis.source import LoadedRows, Source, open_results
from arbd.arrays import Array
from arbd.errors import DamageWarning, UsageError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.registry import hint
from arbd.results.cells import iso_utc
from arbd.results.columns import RowBatch, RowRules, concatenate
from arbd.results.csv_writer import BUDGET, budgets, status_name
from arbd.results.ranking import Ranking
from arbd.results.result import TuningResult
from arbd.results.session_rows import in_results
from arbd.results.store_format import ResultGroup, read_segments
from arbd.search.plan import NOT_RUN_NAMES, RUN, Limits
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED, STATUS_NAMES, LedgerState
from arbd.spool.queue import SessionQueue
from arbd.values import dataclass

# So many rows at a time are values.
PART_ROWS = 4_096


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

    @cached_property
    def _origin(self) -> Array | None:
        return self.source.origin()

    @property
    def duplicates(self) -> int:
        """Rows that have the result of another, because their parameters stood before."""
        return 0 if self._origin is None else int((self._origin > 0).sum())

    @cached_property
    def completed(self) -> Array:
        """Which rows are results of the objective."""
        if self.source.counts[COMPLETED] == self.source.n:
            completed = np.ones(self.source.n, dtype=bool)
        else:
            completed = np.asarray(self.source.fixed("status") == COMPLETED)
        return completed if self._origin is None else np.asarray(completed & (self._origin >= RUN))

    @cached_property
    def ranked(self) -> Array | None:
        """Which rows are of the session's own search; None where all are."""
        if self.spec.validation is None:
            return None
        return self.spec.layout.own_search(self.source.fixed("iteration"))

    @cached_property
    def violation(self) -> Array | None:
        """By how much each row breaks the constraints that speak of metrics; None where there are none."""
        limits = self._limits
        if not limits.after:
            return None
        # Only the columns that they speak of are read.
        params = {name: self.source.param(name) for name in self.spec.space.names if name in limits.names_after}
        metrics = {name: self.source.metric(name) for name in self.metric_names if name in limits.names_after}
        return limits.violation(params, metrics, len(self))

    @cached_property
    def budget(self) -> Array | None:
        """The part of the data that each row used; None where all used the same."""
        return budgets(self.source.metric(BUDGET)) if self._has_budgets else None

    @property
    def _has_budgets(self) -> bool:
        return self.spec.has_shares and BUDGET in self.metric_names

    def column(self, metric: str) -> Array | None:
        """A metric of all rows; None for an unknown one."""
        return self.source.metric(metric) if metric in self.metric_names else None

    @cached_property
    def ranking(self) -> Ranking:
        """The rows in their order."""
        return Ranking(self.spec.metrics, self)

    def rank(self, metric: str, top_n: int | None = None, ascending: bool | None = None) -> list[int]:
        """As of `Ranking.order`; UsageError for an unknown metric."""
        if self.column(metric) is None:
            known = ", ".join(self.metric_names) or "none yet"
            raise UsageError(
                f"session {self.session_id} has no metric {metric!r}; {hint(metric, self.metric_names)}metrics are: {known}"
            )
        return self.ranking.order(metric, top_n, ascending)

    def results(self, positions: Sequence[int]) -> list[TuningResult]:
        """The rows at `positions` as values."""
        if len(positions) == self.source.n and list(positions) == list(range(self.source.n)):
            return [result for _, results in self.parts() for result in results]
        found: dict[int, TuningResult] = {}
        for place, group in self.source.at(positions):
            (found[place],) = self._values(group)
        return [found[place] for place in range(len(positions))]

    def parts(self, *, blocks: bool = False) -> Iterator[tuple[RowBatch, list[TuningResult]]]:
        """All rows some at a time, as columns and as values, so that no more are in memory."""
        for group in self.source.groups(blocks=blocks):
            for at in range(0, len(group.rows), PART_ROWS):
                chosen = slice(at, at + PART_ROWS)
                part = ResultGroup(group.rows.select(chosen), group.worker[chosen], group.workers)
                yield part.rows, self._values(part)

    def _values(self, group: ResultGroup) -> list[TuningResult]:
        rows = group.rows
        params = self.spec.space.rows(dict(rows.params))
        origins, n = rows.origins, len(rows)
        budget = budgets(rows.metrics[BUDGET]) if self._has_budgets and BUDGET in rows.metrics else np.ones(n)
        violation = self._limits.violation(rows.params, rows.metrics, n)
        directions = {goal.name: goal.direction for goal in self.spec.metrics}
        layout = self.spec.layout
        places = [layout.stretches[at] for at in layout.indices(rows.iteration).tolist()]
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
                duplicate_of=max(0, int(origins[i])),
                budget=float(budget[i]),
                violation=float(violation[i]) if rows.status[i] == COMPLETED and origins[i] >= RUN else 0.0,
                directions=directions,
                phase=str(places[i].phase),
                fold=places[i].fold,
                reports=tuple(rows.reports.get(int(rows.iteration[i]), ())),
            )
            for i in range(n)
        ]

    @cached_property
    def _limits(self) -> Limits:
        return Limits.of(self.spec)

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
            f"`arbctl repair {self.session_id} --dry-run` says what can be made anew, `arbctl restore` puts an archive back"
        )

    def counts(self) -> dict[str, int]:
        """Rows by status; those that were not run only where there are any."""
        counts = dict(zip(STATUS_NAMES, self.source.counts, strict=True))
        if self._origin is None:
            return counts
        for origin, name in NOT_RUN_NAMES.items():
            found = int(np.count_nonzero(self._origin == origin))
            counts["completed"] -= found
            counts |= {name: found} if found else {}
        return counts


def _metrics(rows: RowBatch, i: int) -> dict[str, float]:
    if rows.status[i] != COMPLETED or rows.origins[i] < RUN:
        return {}
    return {name: float(column[i]) for name, column in rows.metrics.items()}


def load_table(spool: Path, session_id: str, *, blocks: bool = False) -> ResultTable:
    """Read a session, finished or still running. NotFoundError when it does not exist."""
    layout = SpoolLayout(spool)
    layout.require_readable()
    files = layout.files()
    paths = layout.session(session_id)
    queue = SessionQueue(files, paths)
    state = queue.refresh()
    queue.warn_of_damage()
    spec = read_spec(files, paths)
    rules = RowRules.of(spec)
    source: Source
    if in_results(files, paths, done=state.done):
        source = open_results(files, paths, rules, blocks=blocks)
    else:
        source = LoadedRows(list(read_segments(files, paths, blocks=blocks, rules=rules)))
    table = ResultTable(session_id, spec, state, source, blocks)
    if table.missing and len(table):
        warnings.warn(f"{paths.segments}: {table.missing_text}", DamageWarning, stacklevel=2)
    return table
