"""The numbers behind a report's figures, small enough for a page whatever the session's size.

Totals, distributions, importance, contours and timelines are computed of all rows. What is drawn point by point
is a sample: all of the best hundredth (up to a bound), and others evenly by iteration; how many of how many is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from arbd.analysis.table import ResultTable
from arbd.arrays import Array
from arbd.plain_json import text_of
from arbd.search.space import ChoiceDimension, Dimension

POINTS = 3_000
BEST_POINTS = 1_000
BINS = 40
FAR = 5.0
CONTOUR_CELLS = 14
CONTOUR_PARAMETERS = 6
TIMELINE_BINS = 120
# Of fewer rows nothing is said of how they are spread.
MIN_BEST = 5
# What exists where, of sessions whose parameters exist everywhere.
NOWHERE: Mapping[str, Array] = MappingProxyType({})


def sample(keys: Array) -> Array:
    """Positions to draw, sorted: the best by `keys` (lower is better), and others spread evenly."""
    n = len(keys)
    if n <= POINTS:
        return np.arange(n)
    best = np.argsort(keys, kind="stable")[: min(BEST_POINTS, max(1, n // 100))]
    evenly = np.linspace(0, n - 1, POINTS - len(best)).astype(np.int64)
    return np.unique(np.concatenate([best, evenly]))


def distribution(values: Array) -> dict[str, Any]:
    """A histogram of the finite values, and their quantiles.

    A few values far from all others would press the rest into one bin: beyond `FAR` interquartile ranges from the
    quartiles they are counted as `below` and `above` instead.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"edges": [], "counts": [], "quantiles": {}, "below": 0, "above": 0}
    marks = np.quantile(finite, [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0]).tolist()
    reach = FAR * (marks[4] - marks[2])
    low, high = (marks[2] - reach, marks[4] + reach) if reach > 0 else (marks[0], marks[6])
    inside = finite[(finite >= low) & (finite <= high)]
    counts, edges = np.histogram(inside, bins=BINS)
    names = ("min", "5 %", "25 %", "median", "75 %", "95 %", "max")
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "quantiles": dict(zip(names, marks, strict=True)),
        "below": int((finite < low).sum()),
        "above": int((finite > high).sum()),
    }


def _bins(dimension: Dimension, column: Array, most: int) -> tuple[Array, list[str]]:
    """The bin of each row and the bins' names; every value of a choice is a bin of its own."""
    if isinstance(dimension, ChoiceDimension):
        return column.astype(np.int64), [text_of(value) for value in dimension.values]
    scaled = np.log(column) if dimension.log else column.astype(np.float64)
    low, high = float(scaled.min()), float(scaled.max())
    if high <= low:
        return np.zeros(len(column), dtype=np.int64), [_short(float(column[0]))]
    levels = dimension.levels
    cells = most if levels is None else min(most, levels)
    found = np.minimum(((scaled - low) / (high - low) * cells).astype(np.int64), cells - 1)
    middles = low + (np.arange(cells) + 0.5) * (high - low) / cells
    return found, [_short(float(value)) for value in (np.exp(middles) if dimension.log else middles)]


def _short(value: float) -> str:
    """As it fits below an axis."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.4g}"


def importance(
    dimensions: tuple[Dimension, ...], columns: dict[str, Array], values: Array, exist: Mapping[str, Array] = NOWHERE
) -> list[dict[str, Any]]:
    """The share of the metric's variance that each parameter explains by itself (first-order, by bins), largest first.

    The variance of the means of bins, less what bins of that size would show by chance. `exist` says in which rows
    parameters with conditions exist: of such a one it is the share of the variance among these.
    """
    finite = np.isfinite(values)
    found = []
    for dimension in dimensions:
        share = 0.0
        good = finite & exist[dimension.name] if dimension.name in exist else finite
        y = values[good]
        total = float(y.var()) if len(y) > 1 else 0.0
        if total > 0:
            index, names = _bins(dimension, columns[dimension.name][good], BINS // 2)
            counts = np.bincount(index, minlength=len(names))
            filled = counts > 0
            means = np.bincount(index, y, len(names))[filled] / counts[filled]
            between = float((counts[filled] * (means - y.mean()) ** 2).sum()) / len(y)
            spare = max(1, len(y) - int(filled.sum()))
            within = max(0.0, total - between) * len(y) / spare
            share = max(0.0, between - (int(filled.sum()) - 1) * within / len(y)) / total
        found.append({"name": dimension.name, "share": min(1.0, share)})
    return sorted(found, key=lambda one: -float(one["share"]))


def better_half_importance(
    dimensions: tuple[Dimension, ...], columns: dict[str, Array], losses: Array, exist: Mapping[str, Array] = NOWHERE
) -> dict[str, float | None]:
    """How much each parameter sets the best tenth apart from the better half: PED-ANOVA, as shares that sum to 1.

    After Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces"
    (2023): the Pearson divergence of the two distributions over bins, here less what a tenth chosen by chance would show.
    `losses` is NaN for what is not comparable. None for every parameter where fewer than `MIN_BEST` rows are a tenth. A
    parameter with conditions is looked at among the rows that have it (`exist`).
    """
    known = np.flatnonzero(~np.isnan(losses))
    in_order = known[np.argsort(losses[known], kind="stable")]
    if len(in_order) // 10 < MIN_BEST:
        return dict.fromkeys(columns)
    found = {}
    for dimension in dimensions:
        ranked = in_order[exist[dimension.name][in_order]] if dimension.name in exist else in_order
        best, half = len(ranked) // 10, len(ranked) // 2
        if best < MIN_BEST:
            found[dimension.name] = 0.0
            continue
        index, names = _bins(
            dimension, columns[dimension.name][ranked[:half]], max(2, min(BINS // 2, best // MIN_BEST))
        )
        of_half, of_best = np.bincount(index, minlength=len(names)), np.bincount(index[:best], minlength=len(names))
        filled = of_half > 0
        expected = of_half[filled] * (best / half)
        divergence = float(((of_best[filled] - expected) ** 2 / expected).sum()) / best
        by_chance = (int(filled.sum()) - 1) * (1 - best / half) / best
        found[dimension.name] = max(0.0, divergence - by_chance)
    total = sum(found.values())
    return {name: value / total if total > 0 else 0.0 for name, value in found.items()}


def contours(
    dimensions: tuple[Dimension, ...],
    columns: dict[str, Array],
    values: Array,
    names: list[str],
    best: int | None = None,
    exist: Mapping[str, Array] = NOWHERE,
) -> list[dict[str, Any]]:
    """For each pair of `names`, the mean of the metric over a grid of cells; None where no row fell.

    `best` is the row of the best, which falls into a cell of each pair whose parameters it has (`exist`).
    """
    finite = np.isfinite(values)
    by_name = {dimension.name: dimension for dimension in dimensions}
    found = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            good = finite & exist.get(a, finite) & exist.get(b, finite)
            y = values[good]
            if not len(y):
                continue
            (x_index, x_names), (y_index, y_names) = (
                _bins(by_name[name], columns[name][good], CONTOUR_CELLS) for name in (a, b)
            )
            cell = y_index * len(x_names) + x_index
            counts = np.bincount(cell, minlength=len(x_names) * len(y_names))
            sums = np.bincount(cell, y, len(counts))
            means = [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]
            place = None if best is None or not good[best] else int(good[:best].sum())
            marked = None if place is None else [int(x_index[place]), int(y_index[place])]
            found.append({"x": a, "y": b, "x_names": x_names, "y_names": y_names, "means": means, "best": marked})
    return found


def timelines(table: ResultTable) -> dict[str, Any]:
    """Iterations ended by each worker over time, by the workers' own clocks."""
    ended = table.source.fixed("ended_ns").astype(np.float64)
    if not len(ended):
        return {"start_ns": 0, "end_ns": 0, "workers": []}
    start, end = float(ended.min()), float(ended.max())
    index = np.minimum(((ended - start) / max(1.0, end - start) * TIMELINE_BINS).astype(np.int64), TIMELINE_BINS - 1)
    worker, completed = table.worker, table.completed
    lines = []
    for number, name in enumerate(table.workers):
        own = worker == number
        lines.append(
            {
                "name": name,
                "total": int(own.sum()),
                "counts": np.bincount(index[own], minlength=TIMELINE_BINS).tolist(),
                "bad": np.bincount(index[own & ~completed], minlength=TIMELINE_BINS).tolist(),
            }
        )
    return {"start_ns": int(start), "end_ns": int(end), "workers": lines}
