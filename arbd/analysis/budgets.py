"""Do small budgets tell what large ones would? What is to be said of a search that relies on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.analysis.table import ResultTable
from arbd.search.point_keys import point_keys
from arbd.values import dataclass

# Fewer results than this say nothing; a budget at which so many of them are equal tells sets hardly apart.
MIN_RESULTS = 8
MOSTLY_EQUAL = 0.9
# Below this rank correlation, which sets are better on less of the data is little better than a guess.
HARDLY_AGREE = 0.3

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the sets that were evaluated with two budgets compare: Spearman's rank correlation, NaN where one says nothing."""

    budget: float
    next_budget: float
    sets: int
    rank_correlation: float

    def to_plain(self) -> dict[str, float | None]:
        """For JSON."""
        unknown = math.isnan(self.rank_correlation)
        return {**asdict(self), "rank_correlation": None if unknown else self.rank_correlation}

    def __str__(self) -> str:
        told = "not known" if math.isnan(self.rank_correlation) else f"{self.rank_correlation:.2f}"
        return f"{told} between {self.budget:.3g} and {self.next_budget:.3g} ({self.sets:,} sets)"


def agreements(table: ResultTable) -> list[Agreement]:
    """Of each budget with the next larger one, where sets enough have both."""
    budget, values = table.budget, table.column(table.spec.metrics[0].name)
    if budget is None or values is None or len(table.spec.budgets) < 2:
        return []
    space = table.spec.space
    points = np.round(space.to_unit({parameter: table.source.param(parameter) for parameter in space.names}), 9)
    keys = point_keys(points)
    rungs = _rungs(table, values)
    found = []
    for (share, rung), (higher, above) in pairwise(zip(table.spec.budgets, rungs, strict=True)):
        _, low, high = np.intersect1d(keys[rung], keys[above], return_indices=True)
        if len(low) >= MIN_RESULTS:
            correlation = rank_correlation(values[rung[low]], values[above[high]])
            found.append(Agreement(share, higher, len(low), correlation))
    return found


def _rungs(table: ResultTable, values: _Values) -> list[npt.NDArray[Any]]:
    """The rows with a number of each budget."""
    assert table.budget is not None
    known = table.ranking.completed & ~np.isnan(values)
    return [np.flatnonzero(known & np.isclose(table.budget, share)) for share in table.spec.budgets]


def budget_notices(table: ResultTable) -> list[str]:
    """What a search of several budgets should know: budgets whose results are all but equal, or say something else."""
    name = table.spec.metrics[0].name
    values = table.column(name)
    if table.budget is None or values is None or len(table.spec.budgets) < 2:
        return []
    remedy = "raise min_budget"
    if table.spec.options.get("brackets", 0) == 1:
        remedy += ", or have new sets begin on more of the data too (options: {brackets: 2})"
    return [*_equal(table, name, values, remedy), *_disagreeing(table, name, remedy)]


def _equal(table: ResultTable, name: str, values: _Values, remedy: str) -> Iterator[str]:
    for share, rung in zip(table.spec.budgets[:-1], _rungs(table, values), strict=False):
        if len(rung) < MIN_RESULTS:
            continue
        found, counts = np.unique(values[rung], return_counts=True)
        most = int(counts.argmax())
        if counts[most] >= MOSTLY_EQUAL * len(rung):
            yield (
                f"with {share:.3g} of the data, {counts[most]:,} of {len(rung):,} results have the same {name} "
                f"({found[most]:g}): which sets rose from there was hardly chosen; {remedy}"
            )


def _disagreeing(table: ResultTable, name: str, remedy: str) -> Iterator[str]:
    for found in agreements(table):
        if found.rank_correlation < HARDLY_AGREE:
            yield (
                f"of {found.sets:,} sets, the order by {name} with {found.budget:.3g} and with {found.next_budget:.3g} of the "
                f"data hardly agrees (rank correlation {found.rank_correlation:.2f}): {remedy}"
            )


def rank_correlation(one: _Values, other: _Values) -> float:
    """Spearman's, where equals share a rank; NaN where all of one are equal."""
    first, second = _ranks(one), _ranks(other)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: _Values) -> _Values:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], dtype=np.float64)
