"""Several objectives: who is dominated, in which front a point lies, how much a front covers.

Everything here takes losses: an array of shape (n, objectives) in which lower is better in every column. The
algorithms are those of moocore (Fonseca, Lopez-Ibanez and others), which is compiled and imported when it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# The points of which an exact volume takes about a second, by the number of objectives; of fewer objectives any number.
MOST_POINTS: Mapping[int, int] = {4: 50_000, 5: 10_000, 6: 1_000, 7: 300, 8: 120, 9: 80, 10: 50}
MOST_POINTS_BEYOND = 20


def pareto_mask(losses: Floats) -> npt.NDArray[np.bool_]:
    """Which points no other point dominates; of equal points all. A point with a NaN is in no front."""
    import moocore  # noqa: PLC0415 - see the module

    kept: npt.NDArray[np.bool_] = np.asarray(~np.isnan(losses).any(axis=1))
    if kept.any():
        kept[kept] = moocore.is_nondominated(_finite(losses[kept]), keep_weakly=True)
    return kept


def _finite(losses: Floats) -> Floats:
    """Points that dominate each other as those of `losses` do: moocore's memory is not safe from infinite numbers."""
    if np.isfinite(losses).all():
        return losses
    places = [np.unique(column, return_inverse=True)[1] for column in losses.T]
    return np.column_stack(places).astype(np.float64)


def front_numbers(losses: Floats) -> npt.NDArray[np.int64]:
    """The front of each point, 0 for those that nobody dominates; a point with a NaN has the number n."""
    import moocore  # noqa: PLC0415 - see the module

    numbers = np.full(len(losses), len(losses), dtype=np.int64)
    known = ~np.isnan(losses).any(axis=1)
    if known.any():
        ranks = moocore.pareto_rank(_finite(losses[known]))
        # Whether the first front is 0 or 1 has differed between versions.
        numbers[known] = ranks - ranks.min()
    return numbers


def crowding(losses: Floats) -> Floats:
    """Crowding distance of the points of one front (Deb et al. 2002): how far apart a point's neighbours are."""
    n, objectives = losses.shape
    distance = np.zeros(n)
    for column in range(objectives):
        order = np.argsort(losses[:, column], kind="stable")
        values = losses[order, column]
        span = values[-1] - values[0]
        distance[order[[0, -1]]] = np.inf
        if span > 0 and n > 2:
            distance[order[1:-1]] += (values[2:] - values[:-2]) / span
    return distance


def hypervolume(losses: Floats, reference: Floats) -> float:
    """The volume that the points dominate within `reference`, exactly; NaN where that is infinite or too much work."""
    import moocore  # noqa: PLC0415 - see the module

    inside = losses[(losses < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if not (np.isfinite(inside).all() and np.isfinite(reference).all()):
        return math.nan
    points = np.unique(inside[pareto_mask(inside)], axis=0)
    objectives = points.shape[1]
    if objectives > 3 and len(points) > MOST_POINTS.get(objectives, MOST_POINTS_BEYOND):
        return math.nan
    return float(moocore.hypervolume(points, ref=reference))
