"""An evolution strategy as a chain of runs: a distribution that follows what is better, begun anew when it has ended.

Runs follow one another as in BIPOP (Hansen 2009): one with a population twice as large, or small ones with a narrower
start, whichever has had fewer results. Looks at the order of results alone, so that a loss in another unit leads to the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field

import numpy as np
from cmaes import get_warm_start_mgd

from arbd.arrays import Floats, Ints
from arbd.search.models.distributions import FIRST_WIDTH, Beginning, Distribution, Mask, Mixed, Numbers, has_shares
from arbd.search.seeds import generator, iteration_seed
from arbd.search.space import SearchSpace, Unit
from arbd.values import dataclass

# The library's warm start looks at the best tenth; of fewer results it is begun around the best.
FEWEST_PAST = 10
# Populations without a better result, and so many more for each parameter over each result of one, end a run.
STALE, STALE_BY_SIZE = 10, 30
SEED_SPACE = 2**32


@dataclass(slots=True)
class Chain:
    """The runs of one strategy, `key` among those that take turns; `size` results are told together."""

    space: SearchSpace
    seed: int
    key: int
    size: int
    beginning: Beginning
    run: Distribution = field(init=False)
    _parts: int = 1
    _draws: list[Floats] = field(default_factory=list)
    _rows: list[Ints] = field(default_factory=list)
    _best: int = -1
    _stale: int = 0
    _runs: int = 0
    # Results that went into large runs and into small ones, and the size of the last large one, in parts.
    _spent: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    _large: bool = True
    _largest: int = 1

    def __post_init__(self) -> None:
        self.run = self._begun(self.beginning)

    def reseed(self, number: int) -> None:
        """Draw what follows from the seed of a generation."""
        self.run.reseed(iteration_seed(self.seed, number) % SEED_SPACE)

    def tell(self, draws: Floats, rows: Ints, worked: Mask, places: Floats) -> None:
        """`size` more results, the iterations `rows`, of which some may not have worked; `places` are those of all."""
        # What failed may have failed for any reason, anywhere: it is worst, and says nothing of a direction.
        self._draws.append(np.where(worked[:, None], draws, np.nan))
        self._rows.append(rows)
        if len(self._draws) < self._parts:
            return
        drawn, rows = np.concatenate(self._draws), np.concatenate(self._rows)
        self._draws, self._rows = [], []
        failed: Mask = np.asarray(np.isnan(drawn).any(axis=1))
        order = rows.argsort() if failed.all() else np.argsort(places[rows])
        if not failed.all():
            self.run.tell(np.asarray(np.where(failed[:, None], self.run.neutral(), drawn))[order])
        best = int(rows[order[0]])
        better = not failed.all() and (self._best < 0 or places[best] < places[self._best])
        self._best, self._stale = (best, 0) if better else (self._best, self._stale + 1)
        self._spent[self._large] += len(rows) if self._runs else 0
        patience = STALE + math.ceil(STALE_BY_SIZE * len(self.space.dimensions) / len(rows))
        if self._stale >= patience or self.run.ended():
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Anywhere: with twice the population, or small and narrower, whichever has had fewer results."""
        self._runs += 1
        rng = generator(self.seed, -(1 << 41) - (self._runs << 10) - self.key)
        mean, width = rng.random(len(self.space.dimensions)), FIRST_WIDTH
        self._large = self._spent[True] <= self._spent[False]
        if self._large:
            self._largest *= 2
            self._parts = self._largest
        else:
            self._parts = max(1, int((self._largest / 2) ** (rng.random() ** 2)))
            width *= 10.0 ** (-2.0 * rng.random())
        self._best, self._stale = -1, 0
        self.run = self._begun(Beginning(mean, width))

    def _begun(self, beginning: Beginning) -> Distribution:
        kind = Mixed if has_shares(self.space) else Numbers
        return kind(self.space, beginning, self._parts * self.size)


def beginning(dimensions: int, points: Unit, places: Sequence[float] | Floats) -> Beginning:
    """In the middle, or around results from elsewhere that worked: points, and their places among all results."""
    if not len(points):
        return Beginning(np.full(dimensions, 0.5))
    if len(points) < FEWEST_PAST:
        return Beginning(points[int(np.argmin(places))])
    mean, width, covariance = get_warm_start_mgd(list(zip(points, map(float, places), strict=True)))
    return Beginning(np.clip(mean, 0.0, 1.0), float(width), covariance)
