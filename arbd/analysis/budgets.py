"""Do small budgets tell what large ones would? What is to be said of a search that relies on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.analysis.table import ResultTable
from arbd.search.point_keys import point_keys

# Fewer results than this say nothing; a budget at which so many of them are equal tells sets hardly apart.
MIN_RESULTS = 8
MOSTLY_EQUAL = 0.9
# Below this rank correlation, which sets are better on less of the data is little better than a guess.
HARDLY_AGREE = 0.3

_Values = npt.NDArray[np.float64]


def budget_notices(table: ResultTable) -> list[str]:
    """What a search of several budgets should know: budgets whose results are all but equal, or say something else."""
    budget, name = table.budget, table.spec.metrics[0].name
    values = table.column(name)
    if budget is None or values is None or len(table.spec.budgets) < 2:
        return []
    known = table.ranking.completed & ~np.isnan(values)
    rungs = [np.flatnonzero(known & np.isclose(budget, share)) for share in table.spec.budgets]
    return [*_equal(table, name, values, rungs), *_disagreeing(table, name, values, rungs)]


def _equal(table: ResultTable, name: str, values: _Values, rungs: list[npt.NDArray[Any]]) -> Iterator[str]:
    for share, rung in zip(table.spec.budgets[:-1], rungs, strict=False):
        if len(rung) < MIN_RESULTS:
            continue
        found, counts = np.unique(values[rung], return_counts=True)
        most = int(counts.argmax())
        if counts[most] >= MOSTLY_EQUAL * len(rung):
            yield (
                f"with {share:.3g} of the data, {counts[most]:,} of {len(rung):,} results have the same {name} "
                f"({found[most]:g}): which sets rose from there was hardly chosen; raise min_budget"
            )


def _disagreeing(table: ResultTable, name: str, values: _Values, rungs: list[npt.NDArray[Any]]) -> Iterator[str]:
    space = table.spec.space
    points = np.round(space.to_unit({parameter: table.source.param(parameter) for parameter in space.names}), 9)
    keys = point_keys(points)
    for (share, rung), (higher, above) in pairwise(zip(table.spec.budgets, rungs, strict=True)):
        _, low, high = np.intersect1d(keys[rung], keys[above], return_indices=True)
        if len(low) < MIN_RESULTS:
            continue
        agreement = rank_correlation(values[rung[low]], values[above[high]])
        if agreement < HARDLY_AGREE:
            yield (
                f"of {len(low):,} sets, the order by {name} with {share:.3g} and with {higher:.3g} of the data hardly agrees "
                f"(rank correlation {agreement:.2f}): raise min_budget"
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
