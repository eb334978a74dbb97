"""Earlier results that a search starts from: which of them fit it, and which of those are taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from arbd.plain_json import text_of
from arbd.search import ordering
from arbd.search.constraints import parse_constraint
from arbd.search.plan import Limits
from arbd.search.problem import EarlierResult, MetricGoal, WarmStart
from arbd.search.space import ChoiceDimension, SearchSpace, Value
from arbd.values import dataclass

MOST_PAST = 5_000
MOST_TOLD, MOST_CHARS = 5, 40


@dataclass(frozen=True, slots=True)
class EarlierResults:
    """What a search makes of results of others; `budgets` are those of a method that has its own.

    `conditions` are what parameters are that this search holds, where that is known: those of `fixed`, and defaults.
    """

    space: SearchSpace
    fixed: Mapping[str, Value]
    conditions: Mapping[str, Value]
    metrics: tuple[MetricGoal, ...]
    constraints: tuple[str, ...]
    budgets: tuple[float, ...]

    def chosen(self, source: str, found: Sequence[EarlierResult]) -> tuple[WarmStart | None, str]:
        """The best of what `source` has, and what is to be said of it; None, and why, where nothing fits."""
        told = [result for result in map(self._as_chosen_there, found) if result is not None]
        fitting = [result for result in told if self._fits(result)]
        if not fitting:
            return None, (
                f"none of the {len(found)} results of {source} has all of {', '.join(self.space.names)} inside of the "
                f"search space, and {', '.join(goal.name for goal in self.metrics)}"
            )
        violation, budgets = self._violation(fitting), [result.budget for result in fitting]
        usable = np.array(self._of_largest_budget(fitting), dtype=np.int64)
        first = self._losses(fitting)[usable]
        order = ordering.best_first(first, np.array(violation)[usable], np.array(budgets)[usable], MOST_PAST)
        chosen = np.sort(usable[order]).tolist()
        breaking = sum(1 for i in chosen if violation[i] > 0 and fitting[i].metrics)
        said = (
            f"starts from {len(chosen):,} results of {source}"
            + (f", {breaking:,} of which break the constraints" if breaking else "")
            + self._made_elsewhere([fitting[i] for i in chosen])
            + _left_out(len(found) - len(told), "have a choice that the table does not tell from another and")
            + _left_out(len(told) - len(fitting), "do not fit and")
            + _left_out(len(fitting) - len(usable), "had a smaller budget and")
            + _left_out(len(usable) - len(chosen), f"beyond the best {MOST_PAST:,}")
        )
        return WarmStart(
            source,
            tuple(
                {name: p[name] for name in self.space.names if name in p} for p in (fitting[i].params for i in chosen)
            ),
            tuple(tuple(fitting[i].metrics.get(goal.name, math.nan) for goal in self.metrics) for i in chosen),
            tuple(violation[i] for i in chosen),
            tuple(budgets[i] for i in chosen),
        ), said

    def _made_elsewhere(self, results: Sequence[EarlierResult]) -> str:
        """Under which other conditions results were made. They are learnt from all the same, so it has to be told."""
        told = []
        for name, here in self.conditions.items():
            if name in self.space.names:
                continue
            there = [result.params[name] for result in results if name in result.params]
            if any(value != here for value in there):
                told.append(f"{name} {_extent(there)} (here {_short(here)})")
        more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
        return f", made with {', '.join(told[:MOST_TOLD])}{more}" if told else ""

    def _of_largest_budget(self, results: Sequence[EarlierResult]) -> list[int]:
        """Which results can be learnt from together: only a method with budgets of its own can tell them apart."""
        if self.budgets:
            return list(range(len(results)))
        budgets = np.array([result.budget for result in results])
        largest = ordering.largest_budget(budgets, np.array([bool(result.metrics) for result in results]))
        return [i for i, budget in enumerate(budgets.tolist()) if budget == largest]

    def _violation(self, results: Sequence[EarlierResult]) -> list[float]:
        """By how much each result breaks the constraints, those between parameters too; inf where it cannot be told."""
        constraints = tuple(parse_constraint(text) for text in self.constraints)
        if not constraints:
            return [0.0] * len(results)
        columns = self.space.encode([result.params for result in results])
        names = {name for constraint in constraints for name in constraint.names} - {*columns, *self.fixed}
        metrics = {name: np.array([result.metrics.get(name, math.nan) for result in results]) for name in names}
        limits = Limits(self.space, self.fixed, constraints)
        found: list[float] = limits.total(columns, metrics, len(results)).tolist()
        return found

    def _as_chosen_there(self, result: EarlierResult) -> EarlierResult | None:
        """A table's result with the choices that it wrote, which may be texts that read as numbers; None for either."""
        params = dict(result.params)
        for d in self.space.dimensions:
            if not isinstance(d, ChoiceDimension) or d.name not in result.written:
                continue
            same = [choice for choice in d.values if text_of(choice) == result.written[d.name]]
            if len(same) > 1:
                return None
            if same:
                params[d.name] = same[0]
        return replace(result, params=params)

    def _fits(self, result: EarlierResult) -> bool:
        if result.metrics and not all(goal.name in result.metrics for goal in self.metrics):
            return False
        try:
            self.space.encode([result.params])
        except (KeyError, ValueError):
            return False
        return True

    def _losses(self, results: Sequence[EarlierResult]) -> npt.NDArray[np.float64]:
        """Of the first metric, NaN where a result has none."""
        goal = self.metrics[0]
        return goal.sign * np.array([result.metrics.get(goal.name, math.nan) for result in results], dtype=np.float64)


def _extent(values: Sequence[Value]) -> str:
    """The one value that all are, from where to where numbers go, or some of the others."""
    distinct = list(dict.fromkeys(values))
    numbers = [value for value in distinct if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(distinct) > 1 and len(numbers) == len(distinct):
        return f"{min(numbers):g} to {max(numbers):g}"
    return " or ".join(map(_short, distinct[:3])) + (" or others" if len(distinct) > 3 else "")


def _short(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else text_of(value)[:MOST_CHARS]


def _left_out(count: int, why: str) -> str:
    return f"; {count:,} {why} are left out" if count else ""
