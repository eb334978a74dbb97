"""What is comparable, feasible, best and in the front, for whatever shows, exports or answers: the one place.

The rule on plain arrays is `arbd.search.ordering`, which the search follows too; this adds what results have: metrics
with names and directions, and rows that did not complete. `docs/ranking.md` says all of it in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from arbd.results.result import TuningResult
from arbd.search import ordering
from arbd.search.problem import MetricGoal
from arbd.values import dataclass

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class RankedColumns(Protocol):
    """n results, column by column; each is asked for only when a ranking needs it."""

    def __len__(self) -> int:
        """How many there are."""

    @property
    def completed(self) -> Mask:
        """Which are results of the objective."""

    @property
    def ranked(self) -> Mask | None:
        """Which are of the session's own search; None where all are."""

    @property
    def violation(self) -> Floats | None:
        """By how much each breaks the constraints of its job; None where there are none."""

    @property
    def budget(self) -> Floats | None:
        """The part of the data that each used; None where all used the same."""

    def column(self, metric: str) -> Floats | None:
        """A metric, NaN where a result has none; None when none has it."""


@dataclass(frozen=True, slots=True)
class Front:
    """A Pareto front: positions of its results by the first objective, and the volume that they dominate.

    `reference` is the corner that the volume is measured from: the worst finite value of every objective among all
    comparable results. `left_out` says why the volume is NaN, where it is.
    """

    positions: tuple[int, ...]
    hypervolume: float
    reference: Mapping[str, float]
    left_out: str = ""


@dataclass(frozen=True)
class Ranking:
    """Results in their order. `goals` are the objectives of their job, the first one first."""

    goals: tuple[MetricGoal, ...]
    columns: RankedColumns

    def ascending(self, metric: str, asked: bool | None = None) -> bool:
        """Whether the lowest is best: as asked, else as the job means it; of a metric that it does not name, highest."""
        if asked is not None:
            return asked
        return any(goal.name == metric and goal.minimized for goal in self.goals)

    @cached_property
    def completed(self) -> Mask:
        """Completed results of the session's own search: what judges its winner competes with none of them."""
        completed, ranked = self.columns.completed, self.columns.ranked
        return completed if ranked is None else np.asarray(completed & ranked)

    @cached_property
    def feasible(self) -> Mask:
        """Which results keep every constraint of their job; none that did not complete, or that are not ranked."""
        completed, violation = self.completed, self.columns.violation
        return completed if violation is None else np.asarray(completed & (violation <= 0))

    def loss(self, metric: str, ascending: bool | None = None) -> Floats:
        """The metric as a loss, of which lower is better; NaN for what did not complete, or is not ranked."""
        values = self.columns.column(metric)
        if values is None:
            return np.full(len(self.columns), np.nan)
        losses = values if self.ascending(metric, ascending) else -values
        completed = self.completed
        return losses if completed.all() else np.where(completed, losses, np.nan)

    def order(self, metric: str, top_n: int | None = None, ascending: bool | None = None) -> list[int]:
        """Positions of completed results by a metric, best first: see `arbd.search.ordering.best_first`."""
        ranked = np.flatnonzero(self.completed)
        loss = self.loss(metric, ascending)[ranked]
        violation, budget = self.columns.violation, self.columns.budget
        found = ordering.best_first(
            loss,
            None if violation is None else violation[ranked],
            None if budget is None else budget[ranked],
            top_n,
        )
        return [int(position) for position in ranked[found]]

    def comparable(self, metric: str, ascending: bool | None = None) -> Mask:
        """Which results can be the best by a metric."""
        return ordering.comparable(self.loss(metric, ascending), self.columns.violation, self.columns.budget)

    def best(self, metric: str, ascending: bool | None = None) -> int | None:
        """The position of the best result; None when none has a number and keeps every constraint."""
        first = self.order(metric, 1, ascending)
        return first[0] if first and self.comparable(metric, ascending)[first[0]] else None

    @cached_property
    def _losses(self) -> Floats:
        return np.column_stack([self.loss(goal.name) for goal in self.goals])

    @property
    def comparable_in_all(self) -> Mask:
        """Which results can be in the Pareto front: those that have every objective, keep every constraint, and the budget."""
        return ordering.comparable(self._losses, self.columns.violation, self.columns.budget)

    @cached_property
    def in_front(self) -> Mask:
        """Which results are in the Pareto front of all objectives; of equal ones all are."""
        return ordering.front(self._losses, self.columns.violation, self.columns.budget)

    def front_order(self) -> list[int]:
        """Positions of the front, by the first objective, equals in their order."""
        positions = np.flatnonzero(self.in_front)
        return [int(p) for p in positions[ordering.best_first(self._losses[positions, 0])]]

    def front(self) -> Front:
        """The Pareto front with its volume."""
        from arbd.search.pareto import hypervolume  # noqa: PLC0415 - of all that rank, few want it

        losses = self._losses
        known = losses[self.comparable_in_all]
        positions = self.front_order()
        if not len(known):
            return Front((), float("nan"), {})
        worst = known.max(axis=0, initial=-np.inf, where=np.isfinite(known))
        reference = {goal.name: float(goal.sign * w) for goal, w in zip(self.goals, worst, strict=True)}
        points = losses[positions]
        volume, why = hypervolume(points, worst), ""
        if np.isnan(volume):
            infinite = np.isinf(points).any() or np.isinf(worst).any()
            why = (
                "a result is infinite"
                if infinite
                else f"{len(points):,} points of {points.shape[1]} objectives are too many for an exact one"
            )
        return Front(tuple(positions), volume, reference, why)


@dataclass(frozen=True, slots=True, eq=False)
class PlainColumns:
    """Arrays as `RankedColumns`."""

    completed: Mask
    violation: Floats | None
    budget: Floats | None
    metrics: Mapping[str, Floats]
    ranked: Mask | None = None

    def __len__(self) -> int:
        return len(self.completed)

    def column(self, metric: str) -> Floats | None:
        """See `RankedColumns`."""
        return self.metrics.get(metric)


class ResultColumns:
    """Results as values, as `RankedColumns`; they stand by session and iteration, as equals do in a ranking."""

    def __init__(self, results: Sequence[TuningResult]) -> None:
        self.results = sorted(results, key=lambda result: (result.session_id, result.iteration))
        violation = np.array([result.violation for result in self.results])
        budget = np.array([result.budget for result in self.results])
        self.completed: Mask = np.array([result.status == "completed" for result in self.results], dtype=bool)
        ranked = np.array([result.is_ranked for result in self.results], dtype=bool)
        self.ranked: Mask | None = None if ranked.all() else ranked
        self.violation: Floats | None = violation if violation.any() else None
        self.budget: Floats | None = budget if (budget != 1.0).any() else None

    def __len__(self) -> int:
        return len(self.results)

    def column(self, metric: str) -> Floats | None:
        """See `RankedColumns`."""
        found = [result.metrics.get(metric) for result in self.results]
        if all(value is None for value in found):
            return None
        return np.array([np.nan if value is None else value for value in found], dtype=np.float64)
