"""Does the winner stand on a plateau or on a spike? What its neighbours in the search space score.

There is no published formula; the idea is Pardo's ("The Evaluation and Optimization of Trading Strategies", 2008). Ours:
shares of the winner's score, and the point whose whole neighbourhood scores best.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError, UsageError
from arbd.validation.quantiles import quantile
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Plateau:
    """`ratio` is the median score of the neighbours, `floor` their 10th percentile, as shares of the winner's score.

    `kept` is the share of neighbours that score at least 80 % (`keep`) of it.
    """

    ratio: float
    floor: float
    kept: float
    neighbours: int


def plateau(best: float, neighbours: npt.ArrayLike, keep: float = 0.8) -> Plateau:
    """How the neighbours' scores (n,) compare with the winner's, `best`; higher is better, so negate losses' gains.

    A neighbour that failed is given as NaN and counts as the worst. NotComputableError where the winner's score is not
    above 0, since shares of it mean nothing, or where there is no neighbour.
    """
    scores = np.asarray(neighbours, dtype=np.float64)
    if scores.ndim != 1:
        raise UsageError(f"neighbours of shape {scores.shape}; expected (n,)")
    if not len(scores):
        raise NotComputableError("the winner has no neighbour that was evaluated")
    if not (np.isfinite(best) and best > 0):
        kind = "not above 0" if best <= 0 else "no finite number"
        raise NotComputableError(f"the winner's score is {best + 0.0:g}: shares of a score that is {kind} mean nothing")
    failed = np.isnan(scores)
    worst = float(scores[~failed].min(initial=0.0))
    shares = np.where(failed, worst, scores) / best
    return Plateau(
        ratio=quantile(shares, 0.5),
        floor=quantile(shares, 0.1),
        kept=float((shares >= keep * (1 - 1e-12)).mean()),
        neighbours=len(shares),
    )


def plateau_optimum(points: npt.ArrayLike, scores: npt.ArrayLike, radius: float = 0.05, min_neighbours: int = 3) -> int:
    """Number of the point whose neighbourhood has the best median score: what to trade rather than the single best.

    `points` (n, d) are in the unit cube (each axis as a share of its range), `scores` (n,) are higher for better, NaN
    for failed. The neighbourhood of a point, itself included, is all points within `radius` on every axis; points with
    fewer than `min_neighbours` others are passed over. Of equal medians the point that scores better itself is taken.
    NotComputableError where no point has as many neighbours.
    """
    at, values = np.asarray(points, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if at.ndim != 2 or values.shape != at.shape[:1]:
        raise UsageError(f"points of shape {at.shape} and scores of {values.shape}; expected (n, d) and (n,)")
    values = np.where(np.isnan(values), -np.inf, values)
    best: tuple[float, float, int] | None = None
    for number, point in enumerate(at):
        near = values[(np.abs(at - point) <= radius * (1 + 1e-9)).all(axis=1)]
        if len(near) <= min_neighbours or values[number] == -np.inf:
            continue
        found = (float(np.quantile(near, 0.5, method="lower")), float(values[number]), -number)
        best = found if best is None else max(best, found)
    if best is None:
        raise NotComputableError(
            f"no point has {min_neighbours} others within {radius:.0%} of the range on each of {at.shape[1]} axes"
        )
    return -best[2]
