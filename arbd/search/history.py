"""What a guided method knows when it suggests: results so far, and what was suggested and is not known yet.

Keeps I5: a history is in canonical order (earlier sessions first, then by iteration), holds nothing that depends
on hosts, slots or time, and a failed iteration stands in it as failed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arbd.search.space import Unit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# How far beyond the finite ones an infinite loss is learnt from, in parts of their range.
BEYOND = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """n results as points of the unit cube.

    `losses` (n, objectives), lower is better, finite, or NaN where the iteration failed or its metric is undefined.
    `violation` (n,), 0 where every constraint holds. `budget` (n,), the share of the data that was used.
    `pending` (p, dimensions) and `pending_budget` are points that were suggested and whose results are not known.
    """

    points: Unit
    losses: Floats
    violation: Floats
    budget: Floats
    pending: Unit
    pending_budget: Floats

    @classmethod
    def empty(cls, dimensions: int, objectives: int) -> History:
        """Nothing is known yet."""
        none = np.empty(0)
        points = np.empty((0, dimensions))
        return cls(points, np.empty((0, objectives)), none, none, points, none)

    def __len__(self) -> int:
        return len(self.points)

    def select(self, index: Ints | npt.NDArray[np.bool_]) -> History:
        """Some of the results, with everything that is pending."""
        return History(
            self.points[index],
            self.losses[index],
            self.violation[index],
            self.budget[index],
            self.pending,
            self.pending_budget,
        )

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which results have every loss."""
        return np.asarray(~np.isnan(self.losses).any(axis=1))

    @property
    def feasible(self) -> npt.NDArray[np.bool_]:
        """Which of them keep every constraint too."""
        return self.known & (self.violation <= 0)


def best_first(history: History) -> Ints:
    """Positions from the best to the worst.

    First those that keep the constraints, by loss (by front and crowding where there are several), then those that
    break them, by how much, then those that failed; equals in order of iteration.
    """
    from arbd.search.pareto import crowding, front_numbers  # noqa: PLC0415 - only for several objectives

    n = len(history)
    feasible, known = history.feasible, history.known
    group = np.where(feasible, 0, np.where(known, 1, 2))
    key = np.where(known & ~feasible, history.violation, 0.0)
    spread = np.zeros(n)
    good = np.flatnonzero(feasible)
    if history.losses.shape[1] == 1:
        key[good] = history.losses[good, 0]
    elif len(good):
        fronts = front_numbers(history.losses[good])
        key[good] = fronts
        for front in np.unique(fronts):
            members = good[fronts == front]
            spread[members] = -crowding(history.losses[members])
    return np.lexsort((np.arange(n), spread, key, group))


def bounded(losses: Floats) -> Floats:
    """Losses with infinite ones put just beyond the finite ones of their column: the methods compute with them."""
    found = losses.copy()
    for column in found.T:
        finite = column[np.isfinite(column)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        by = BEYOND * (high - low or max(1.0, abs(low)))
        column[np.isneginf(column)] = low - by
        column[np.isposinf(column)] = high + by
    return found
