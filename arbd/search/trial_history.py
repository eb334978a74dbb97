"""The results of a session that are known, in columns, and what a sampler learns from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.arrays import Floats, Ints
from arbd.search.history import History, bounded
from arbd.search.ordering import comparable
from arbd.search.plan import PRUNED, RUN, Limits, PlannedRows
from arbd.search.problem import SearchProblem
from arbd.search.pruning import Report, ReportedHistory, Thresholds, last_losses, learnt_from
from arbd.search.space import Columns
from arbd.search.unit_view import UnitView
from arbd.values import dataclass

Reports = Mapping[int, Sequence[Report]]


@dataclass(frozen=True, slots=True)
class TrialResults:
    """What became of iterations, whoever ran them: arrays of their number, of shape (n,).

    `origin` is what each was (`plan`), `columns` its point of the search space, `metrics` what it gave, NaN for nothing;
    `budget` among them is the share of the data that it used. `reports` are its intermediate values, by iteration.
    """

    iterations: Ints
    completed: npt.NDArray[np.bool_]
    origin: Ints
    columns: Mapping[str, npt.NDArray[Any]]
    metrics: Mapping[str, Floats]
    reports: Reports = field(default_factory=dict)

    def counted_from(self, first: int, of: npt.NDArray[np.bool_]) -> TrialResults:
        """Some of them, numbered so that iteration `first` is 1; so are the iterations that others repeat."""
        by = 1 - first
        return TrialResults(
            self.iterations[of] + by,
            self.completed[of],
            renumbered(self.origin[of], by),
            {name: column[of] for name, column in self.columns.items()},
            {name: column[of] for name, column in self.metrics.items()},
            {each + by: self.reports[each] for each in self.iterations[of].tolist() if each in self.reports},
        )


def renumbered(origin: Ints, by: int) -> Ints:
    """`origin` with the numbers of the iterations that others repeat counted from elsewhere."""
    return np.where(origin > 0, origin + by, origin)


class TrialHistory:
    """All results of a session that are known, by iteration, in columns; `metrics` are those that suggestions need."""

    def __init__(self, spec: SearchProblem) -> None:
        self._spec = spec
        self.view = UnitView.of(spec.space)
        self.limits = Limits.of(spec)
        names = [goal.name for goal in spec.metrics]
        params = {*spec.space.names, *spec.fixed}
        names += sorted({name for c in self.limits.after for name in c.names if name not in params})
        self.metric_names = tuple(dict.fromkeys(names))
        n = spec.n + 1
        self.known = np.zeros(n, dtype=bool)
        self._completed = np.zeros(n, dtype=bool)
        self._origin = np.zeros(n, dtype=np.int64)
        self._budget = np.ones(n)
        self._columns: Columns = {}
        self._metrics = {name: np.full(n, np.nan) for name in self.metric_names}
        self._sign = spec.metrics[0].sign
        self._last = np.full(n if spec.prune is not None else 0, np.nan)
        self._reported = None if spec.prune is None else ReportedHistory(spec.prune, self._sign)

    def learn(self, results: TrialResults) -> None:
        """Results of iterations; later ones of the same iteration take the place of earlier ones."""
        iterations, completed, origin = results.iterations, results.completed, results.origin
        if not self._columns:
            self._columns = {name: np.zeros(len(self.known), column.dtype) for name, column in results.columns.items()}
        self.known[iterations] = True
        self._completed[iterations] = completed
        self._origin[iterations] = origin
        if self._spec.has_shares:
            self._budget[iterations] = results.metrics.get("budget", 1.0)
        for name, column in results.columns.items():
            self._columns[name][iterations] = column
        for name, column in self._metrics.items():
            column[iterations] = results.metrics.get(name, np.nan)
        if self._reported is not None:
            self._last[iterations] = last_losses(results.reports, iterations.tolist(), self._sign)
            for iteration, was_run in zip(iterations.tolist(), (completed & (origin == RUN)).tolist(), strict=True):
                self._reported.learn(iteration, results.reports.get(iteration, ()) if was_run else None)

    def missing(self, up_to: int) -> list[int]:
        """Iterations of 1 to `up_to` whose results are not known."""
        return (np.flatnonzero(~self.known[1 : up_to + 1]) + 1).tolist()

    def rows(self, up_to: int) -> PlannedRows:
        """What iterations 1 to `up_to` were to do."""
        columns = {name: column[1 : up_to + 1] for name, column in self._columns.items()}
        origin = self._origin[1 : up_to + 1]
        return PlannedRows(columns, np.where(origin == PRUNED, RUN, origin), self._budget[1 : up_to + 1])

    def results(self, up_to: int) -> tuple[Floats, Floats]:
        """Losses and violations of iterations 1 to `up_to`; those of a repeat are those of its source.

        A loss is NaN where there is none; it may be infinite, as the best profit factor is.
        """
        place, source, metrics = self._measured(up_to)
        losses = np.column_stack([goal.sign * metrics[goal.name] for goal in self._spec.metrics]).astype(np.float64)
        losses[~self._completed[source] | (self._origin[place] < RUN)] = np.nan
        columns = {name: column[place] for name, column in self._columns.items()}
        violation = self.limits.violation(columns, metrics, up_to) if up_to else np.zeros(0)
        return losses, violation

    def _measured(self, up_to: int) -> tuple[Ints, Ints, dict[str, Floats]]:
        """Iterations 1 to `up_to`, whose results they have, and these metrics."""
        place = np.arange(1, up_to + 1)
        source = np.where(self._origin[place] > 0, self._origin[place], place)
        return place, source, {name: column[source] for name, column in self._metrics.items()}

    def _margins(self, up_to: int, past: int) -> Floats | None:
        """Of `past` results from elsewhere, of which nobody knows them, and of iterations 1 to `up_to`."""
        if not self.limits.after:
            return None
        place, _, metrics = self._measured(up_to)
        columns = {name: column[place] for name, column in self._columns.items()}
        own = self.limits.margins(columns, metrics, up_to) if up_to else np.empty((0, len(self.limits.after)))
        return np.concatenate([np.full((past, own.shape[1]), np.nan), own])

    def history(self, up_to: int, pending: PlannedRows | None) -> History:
        """What is known of iterations 1 to `up_to`, after what is known from elsewhere; `pending` is not known yet."""
        spec, space, view = self._spec, self._spec.space, self.view
        rows = self.rows(up_to)
        losses, violation = self.results(up_to)
        points = view.to_unit(rows.columns) if up_to else np.empty((0, len(space.dimensions)))
        budget = rows.budget if rows.budget is not None else np.ones(up_to)
        if spec.prune is not None:
            losses = self._with_pruned(losses)
        if spec.past is not None and spec.past.points:
            sign = np.array([goal.sign for goal in spec.metrics])
            earlier = np.array(spec.past.metrics, dtype=np.float64).reshape(-1, len(sign)) * sign
            points = np.concatenate([view.to_unit(space.encode(spec.past.points)), points])
            losses = np.concatenate([earlier, losses])
            violation = np.concatenate([np.array(spec.past.violation, dtype=np.float64), violation])
            budget = np.concatenate([np.array(spec.past.budget, dtype=np.float64), budget])
        losses, margins = bounded(losses), self._margins(up_to, len(losses) - up_to)
        if pending is None or not len(pending):
            nothing = History.empty(len(space.dimensions), len(spec.metrics))
            return History(points, losses, violation, budget, nothing.pending, nothing.pending_budget, margins)
        shares = pending.budget if pending.budget is not None else np.ones(len(pending))
        return History(points, losses, violation, budget, view.to_unit(pending.columns), shares, margins)

    def _with_pruned(self, losses: Floats) -> Floats:
        """As of `learnt_from`, of the first iterations; what repeats a pruned one is as good."""
        place = np.arange(1, len(losses) + 1)
        source = np.where(self._origin[place] > 0, self._origin[place], place)
        reported = np.where(self._origin[source] == PRUNED, self._last[source], np.nan)
        return learnt_from(losses[:, 0], reported)[:, None]

    def thresholds(self, up_to: int) -> Thresholds:
        """What intermediate values are compared with by who knows iterations 1 to `up_to`."""
        return Thresholds.none() if self._reported is None else self._reported.thresholds(up_to)

    def stop_reason(self, up_to: int) -> str:
        """Why the session should end, from iterations 1 to `up_to`; '' when it should go on."""
        from arbd.search.stopping import reason  # noqa: PLC0415 - most sessions have no such rule

        if not self._spec.stop.needs_results or not up_to:
            return ""
        losses, violation = self.results(up_to)
        losses[~comparable(losses, violation)] = np.nan
        # What used less of the data is no match for the rest, and no sign that nothing improves.
        whole = np.flatnonzero(self._budget[1 : up_to + 1] >= 1.0)
        return reason(self._spec, losses[whole], whole + 1)
