"""Several objectives: who is dominated, in which front a point lies, how much a front covers.

Everything here takes losses: an array of shape (n, objectives) in which lower is better in every column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ROWS = 512


def pareto_mask(losses: Floats) -> npt.NDArray[np.bool_]:
    """Which points no other point dominates; of equal points all. A point with a NaN is in no front."""
    kept: npt.NDArray[np.bool_] = np.asarray(~np.isnan(losses).any(axis=1))
    index = np.flatnonzero(kept)
    index = index[np.lexsort(losses[index].T[::-1])]
    front = np.empty((0, losses.shape[1]))
    # Sorted by the first loss, a point can only be dominated by one before it; in blocks, that whole fronts compare.
    for start in range(0, len(index), _ROWS):
        block = index[start : start + _ROWS]
        points = losses[block]
        outside = _dominated(points, front) | _dominated(points, points)
        kept[block[outside]] = False
        front = np.concatenate([front, points[~outside]])
    return kept


def _dominated(points: Floats, by: Floats) -> npt.NDArray[np.bool_]:
    dominated = np.zeros(len(points), dtype=bool)
    for start in range(0, len(by), _ROWS):
        others = by[start : start + _ROWS]
        no_worse = (others[:, None, :] <= points[None, :, :]).all(axis=2)
        better = (others[:, None, :] < points[None, :, :]).any(axis=2)
        dominated |= (no_worse & better).any(axis=0)
    return dominated


def front_numbers(losses: Floats, enough: int | None = None) -> npt.NDArray[np.int64]:
    """The front of each point, 0 for those that nobody dominates; sorting ends once `enough` points have one.

    Points without a front, and points with a NaN, have the number n.
    """
    n = len(losses)
    numbers = np.full(n, n, dtype=np.int64)
    left = np.flatnonzero(~np.isnan(losses).any(axis=1))
    number, done = 0, 0
    while len(left) and (enough is None or done < enough):
        front = pareto_mask(losses[left])
        numbers[left[front]] = number
        done += int(front.sum())
        left = left[~front]
        number += 1
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
    """The volume that the points dominate within `reference`, exactly.

    Two objectives by a sweep; more by the recursion of exclusive volumes (While, Bradstreet, Barone 2012, WFG),
    whose cost grows fast with the number of objectives.
    """
    inside = losses[(losses < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    front = np.unique(inside[pareto_mask(inside)], axis=0)
    return _volume(front, reference)


def _volume(front: Floats, reference: Floats) -> float:
    if front.shape[1] == 1:
        return float(reference[0] - front[:, 0].min())
    if front.shape[1] == 2:
        # `front` is sorted by the first loss, so the second falls.
        above = np.concatenate([[reference[1]], front[:-1, 1]])
        return float(((reference[0] - front[:, 0]) * (above - front[:, 1])).sum())
    total = 0.0
    for i in range(len(front)):
        point = front[i]
        box = float(np.prod(reference - point))
        rest = np.maximum(front[i + 1 :], point)
        if len(rest):
            rest = np.unique(rest[pareto_mask(rest)], axis=0)
            box -= _volume(rest, reference)
        total += box
    return total
