"""What a adaptive method knows when it suggests: results so far, and what was suggested and is not known yet.

Keeps I5: a history is in canonical order (earlier sessions first, then by iteration), holds nothing that depends
on hosts, slots or time, and a failed iteration stands in it as failed.
"""

from __future__ import annotations

from arbd.arrays import Floats, Ints, np, npt
from arbd.search import ordering
from arbd.search.space import Unit
from arbd.values import dataclass

# How far beyond the finite ones an infinite loss is learnt from, in parts of their range.
BEYOND = 0.1
# Squares of losses up to two to this power, and their sums, are numbers.
LARGEST_EXPONENT = 480


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """n results as points of the unit cube.

    `losses` (n, objectives), lower is better, finite, or NaN where the iteration failed or its metric is undefined.
    `violation` (n,), 0 where every constraint holds. `budget` (n,), the part of the data that was used.
    `margins` (n, constraints on metrics) say how far each is from being broken, above 0 where it is; NaN where that is not
    known; None where there are no such constraints.
    `pending` (p, dimensions) and `pending_budget` are points that were suggested and whose results are not known.
    """

    points: Unit
    losses: Floats
    violation: Floats
    budget: Floats
    pending: Unit
    pending_budget: Floats
    margins: Floats | None = None

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
            None if self.margins is None else self.margins[index],
        )

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which results have every loss."""
        return ~ordering.undefined(self.losses)

    @property
    def feasible(self) -> npt.NDArray[np.bool_]:
        """Which of them keep every constraint too."""
        return np.asarray(ordering.tiers(self.losses, self.violation) == ordering.Tier.FEASIBLE)


def best_first(history: History) -> Ints:
    """Positions from the best to the worst, those that failed last; `arbd.search.ordering` says what is better.

    Budgets are not compared: a sampler that uses several chooses among which results it compares.
    """
    losses = history.losses[:, 0] if history.losses.shape[1] == 1 else history.losses
    return ordering.best_first(losses, history.violation)


def bounded(losses: Floats) -> Floats:
    """Losses with infinite ones put just beyond the finite ones of their column: the methods compute with them.

    Those of columns whose differences might be too large for a number are smaller by a power of two.
    """
    found = losses.copy()
    for column in found.T:
        finite = column[np.isfinite(column)]
        exponent = int(np.frexp(np.abs(finite).max(initial=0.0))[1])
        if exponent > LARGEST_EXPONENT:
            column[:] = np.ldexp(column, LARGEST_EXPONENT - exponent)
            finite = column[np.isfinite(column)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        by = BEYOND * (high - low or max(1.0, abs(low)))
        column[np.isneginf(column)] = low - by
        column[np.isposinf(column)] = high + by
    return found
