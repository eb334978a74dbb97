"""What the winner of a search with repeats is worth, without the luck that helped to choose it.

The mean that wins among many is one of those that luck was kind to. How kind is estimated by choosing again among the same
results, each moved by a draw of its own error: on average the one chosen then was moved upwards by so much (the parametric
bootstrap of the bias of a maximum; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 10).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from arbd.analysis.text import format_value
from arbd.job.aggregation import STANDARD_ERROR
from arbd.search.plan import RUN
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.analysis.table import ResultTable

DRAWS = 1_000
# What lies so many errors behind the winner is not chosen.
REACH = 6.0
MAX_RIVALS = 2_000


@dataclass(frozen=True, slots=True)
class ExpectedValue:
    """Of the best iteration: the mean of its `repeats`, the standard error of that, and what is to be expected of it.

    The last is None for the paper engine, whose repeats draw the same for all sets: their errors are no luck of one of them.
    """

    iteration: int
    metric: str
    observed: float
    standard_error: float
    expected: float | None
    repeats: int

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        expected = (
            "expected value not told: sets share their draws"
            if self.expected is None
            else f"expected {format_value(self.expected)}, without the luck that helped to choose it"
        )
        return (
            f"{self.metric} of iteration {self.iteration}: observed {format_value(self.observed)}, the mean of "
            f"{self.repeats} evaluations (standard error {format_value(self.standard_error)}); {expected}"
        )


def expected_value(table: ResultTable) -> ExpectedValue | None:
    """Of the best by the job's metric; None where it has no errors: without repeats, and of several or robust metrics."""
    spec = table.spec
    name = spec.metrics[0].name
    if spec.aggregation.repeats == 1 or spec.aggregation.robust is not None or len(spec.metrics) > 1:
        return None
    values, errors, best = table.column(name), table.column(name + STANDARD_ERROR), table.ranking.best(name)
    if values is None or errors is None or best is None or not np.isfinite([values[best], errors[best]]).all():
        return None
    expected = None if spec.objective.kind == "paper" else float(values[best]) - _luck(table, name, best)
    return ExpectedValue(
        int(table.source.fixed("iteration")[best]),
        name,
        float(values[best]),
        float(errors[best]),
        expected,
        spec.aggregation.repeats,
    )


def _luck(table: ResultTable, name: str, best: int) -> float:
    """By how much the choice of the best raises what is observed of it; the errors of sets are independent."""
    values, errors = table.column(name), table.column(name + STANDARD_ERROR)
    assert values is not None
    assert errors is not None
    sign = -1.0 if table.ranking.ascending(name) else 1.0
    # A duplicate has the very draws of its original.
    origin, rivals = table.source.origin(), table.ranking.comparable(name) & np.isfinite(errors)
    rivals = rivals if origin is None else rivals & (origin == RUN)
    rivals &= sign * values + REACH * errors >= sign * values[best] - REACH * errors[best]
    near = np.flatnonzero(rivals)
    near = near[np.argsort(-sign * values[near], kind="stable")[:MAX_RIVALS]]
    score, error = sign * values[near], errors[near]
    moved = np.random.default_rng(table.spec.seed).standard_normal((DRAWS, len(score))) * error
    chosen = np.argmax(score + moved, axis=1)
    return sign * float(moved[np.arange(DRAWS), chosen].mean())
