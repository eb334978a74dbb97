"""Several objectives: who is dominated, in which front a point lies, how much a front covers.

Everything here takes losses: an array of shape (n, objectives) in which lower is better in every column.
"""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ROWS = 512
# What a volume may cost, in comparisons of two numbers: some seconds. A call costs as much as so many of them.
MOST_COMPARISONS = 1e9
CALL = 100_000


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
    """The volume that the points dominate within `reference`, exactly; NaN where that is infinite or too much work.

    Two and three objectives by a sweep; more by the recursion of exclusive volumes (While, Bradstreet, Barone 2012,
    WFG), whose cost grows fast with the number of objectives: it ends after `MOST_COMPARISONS`.
    """
    inside = losses[(losses < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if not (np.isfinite(inside).all() and np.isfinite(reference).all()):
        return math.nan
    # The sweep of three passes over dominated points by itself, which is less work than to find them.
    front = np.unique(inside if inside.shape[1] == 3 else inside[pareto_mask(inside)], axis=0)
    try:
        return _volume(front, reference, _Work(MOST_COMPARISONS))
    except _TooMuchError:
        return math.nan


class _TooMuchError(Exception):
    """More comparisons than the caller has time for."""


class _Work:
    """Counts comparisons, which are the same on every machine, as seconds are not."""

    def __init__(self, most: float) -> None:
        self._left = most

    def add(self, comparisons: float) -> None:
        self._left -= comparisons
        if self._left < 0:
            raise _TooMuchError


def _volume(front: Floats, reference: Floats, work: _Work) -> float:
    if front.shape[1] == 1:
        return float(reference[0] - front[:, 0].min())
    if front.shape[1] == 2:
        # `front` is sorted by the first loss, so the second falls.
        above = np.concatenate([[reference[1]], front[:-1, 1]])
        return float(((reference[0] - front[:, 0]) * (above - front[:, 1])).sum())
    if front.shape[1] == 3:
        work.add(len(front) * 100)
        return _swept(front, reference)
    total = 0.0
    for i in range(len(front)):
        point = front[i]
        box = float(np.prod(reference - point))
        rest = np.maximum(front[i + 1 :], point)
        if len(rest):
            work.add(CALL + rest.size * len(rest))
            rest = np.unique(rest[pareto_mask(rest)], axis=0)
            box -= _volume(rest, reference, work)
        total += box
    return total


def _swept(front: Floats, reference: Floats) -> float:
    """Three objectives: slices along the first, each as thick as it is far to the next point.

    The area of a slice is that of a staircase in the other two, to which a point adds what it alone dominates.
    """
    depth, right, top = (float(value) for value in reference)
    # Steps from left to right, each lower than the one before, between two that no point can remove.
    xs, ys = [-math.inf, right], [top, -math.inf]
    area, volume, before = 0.0, 0.0, 0.0
    for z, x, y in front.tolist():
        volume += area * (z - before)
        before = z
        at = bisect_right(xs, x)
        if ys[at - 1] <= y:
            continue
        end, from_x, height = at, x, ys[at - 1]
        while ys[end] >= y:
            area += (xs[end] - from_x) * (height - y)
            from_x, height = xs[end], ys[end]
            end += 1
        area += (xs[end] - from_x) * (height - y)
        start = at - 1 if xs[at - 1] == x else at
        xs[start:end], ys[start:end] = [x], [y]
    return volume + area * (depth - before)
