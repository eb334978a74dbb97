"""The distributions that an evolution strategy draws points from: those of the library `cmaes`, behind one face.

Of real numbers it is a normal one (Hansen and Ostermeier 2001). With parameters of few values it is one with a margin: a
value keeps a share for those beside it, so that none ever stands still, and choices have shares of their own (CatCMA with
margin, Hamano et al. 2025).
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt
from cmaes import CMA, CatCMAwM

from arbd.arrays import Floats
from arbd.search.dimensions import Dimension
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace, Unit
from arbd.values import dataclass

# Chosen on the problems of benchmarks/search_problems.py that are not held back.
FIRST_WIDTH = 0.18
# Of more values than that neighbours are too alike for a margin.
MOST_LEVELS = 100
BELOW_ONE = 1.0 - 1e-12

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a run begins: mean, width and covariance (None: the same in every direction) in the unit cube."""

    mean: Unit
    width: float = FIRST_WIDTH
    covariance: Floats | None = None


class Distribution(Protocol):
    """What points are drawn from. A draw is a vector that says more than its point: where in the share of a value it lies."""

    def reseed(self, seed: int) -> None:
        """Begin the random numbers anew."""
        ...

    def draw(self) -> tuple[Unit, Floats]:
        """A point of the cube, and the draw."""
        ...

    def draws_of(self, points: Unit) -> Floats:
        """Draws for points that came from elsewhere."""
        ...

    def nearer(self, draws: Floats) -> Floats:
        """Those of them that the distribution would hardly draw, as far away as it does draw any."""
        ...

    def parts(self, exist: Mask) -> Mask:
        """Which numbers of draws are of parameters that exist, given those that exist at their points."""
        ...

    def neutral(self) -> Floats:
        """The draw that says nothing of a direction."""
        ...

    def tell(self, draws: Floats) -> None:
        """A population, the best first."""
        ...

    def ended(self) -> bool:
        """Whether it has shrunk to a point."""
        ...


class Numbers:
    """Of real numbers. The library has none of one dimension: a second is added that nothing depends on."""

    def __init__(self, space: SearchSpace, begin: Beginning, population: int) -> None:
        self._width = len(space.dimensions)
        size = max(2, self._width)
        covariance = begin.covariance
        if covariance is not None and size > self._width:
            covariance = np.diag([covariance[0, 0], covariance[0, 0]])
        self._strategy = CMA(
            mean=self.draws_of(begin.mean[None, :])[0], sigma=begin.width, cov=covariance,
            bounds=np.array([[0.0, 1.0]] * size), population_size=population, seed=0,
        )  # fmt: skip

    def reseed(self, seed: int) -> None:
        """See `Distribution`, here and below."""
        self._strategy.reseed_rng(seed)

    def draw(self) -> tuple[Unit, Floats]:
        """As above."""
        found = np.clip(self._strategy.ask(), 0.0, BELOW_ONE)
        return found[: self._width], found

    def draws_of(self, points: Unit) -> Floats:
        """As above."""
        return np.pad(points, ((0, 0), (0, max(2, self._width) - self._width)), constant_values=0.5)

    def nearer(self, draws: Floats) -> Floats:
        """As above."""
        strategy = self._strategy
        return _nearer(draws, strategy._mean, np.full(draws.shape[1], strategy._sigma), strategy._C)

    def parts(self, exist: Mask) -> Mask:
        """As above."""
        return np.pad(exist, ((0, 0), (0, max(2, self._width) - self._width)), constant_values=True)

    def neutral(self) -> Floats:
        """As above."""
        return np.array(self._strategy.mean)

    def tell(self, draws: Floats) -> None:
        """As above."""
        self._strategy.tell([(draw.copy(), float(place)) for place, draw in enumerate(draws)])

    def ended(self) -> bool:
        """As above."""
        return bool(self._strategy.should_stop())


class Mixed:
    """Of numbers, of numbers with few values, and of choices. A draw has the first two in turn, then each choice's shares."""

    def __init__(self, space: SearchSpace, begin: Beginning, population: int) -> None:
        dimensions = space.dimensions
        self._choices = [at for at, d in enumerate(dimensions) if _is_choice(d)]
        self._coarse = [
            at for at, d in enumerate(dimensions) if not _is_choice(d) and 2 < (d.levels or 0) <= MOST_LEVELS
        ]
        self._real = [at for at in range(len(dimensions)) if at not in {*self._choices, *self._coarse}]
        self._numbers = [*self._real, *self._coarse]
        self._levels = [dimensions[at].levels or 0 for at in self._choices]
        self._most = max(self._levels, default=0)
        count = len(self._numbers)
        covariance = (
            np.eye(count) if begin.covariance is None else begin.covariance[np.ix_(self._numbers, self._numbers)]
        )
        self._strategy = CatCMAwM(
            x_space=[[0.0, 1.0]] * len(self._real) or None,
            z_space=[_shares(dimensions[at]).tolist() for at in self._coarse] or None,
            c_space=self._levels or None,
            population_size=population, mean=begin.mean[self._numbers].copy(), sigma=begin.width, cov=covariance, seed=0,
        )  # fmt: skip

    def reseed(self, seed: int) -> None:
        """See `Distribution`, here and below."""
        self._strategy.reseed_rng(seed)

    def draw(self) -> tuple[Unit, Floats]:
        """As above."""
        found = self._strategy.ask()
        point = np.empty(len(self._numbers) + len(self._choices))
        for places, values in ((self._real, found.x), (self._coarse, found.z)):
            if places:
                point[places] = values
        parts = [found._v_raw] if self._numbers else []
        if self._choices:
            point[self._choices] = (found.c.argmax(axis=1) + 0.5) / self._levels
            parts.append(found.c.astype(np.float64).ravel())
        return np.clip(point, 0.0, BELOW_ONE), np.concatenate(parts)

    def draws_of(self, points: Unit) -> Floats:
        """As above."""
        shares = np.zeros((len(points), len(self._choices), self._most))
        for column, (at, levels) in enumerate(zip(self._choices, self._levels, strict=True)):
            value = np.minimum((points[:, at] * levels).astype(np.int64), levels - 1)
            shares[np.arange(len(points)), column, value] = 1.0
        return np.concatenate([points[:, self._numbers], shares.reshape(len(points), -1)], axis=1)

    def nearer(self, draws: Floats) -> Floats:
        """As above."""
        strategy, count = self._strategy, len(self._numbers)
        if not count:
            return draws
        numbers = _nearer(draws[:, :count], strategy._mean, strategy._sigma * strategy._A, strategy._C)
        return np.concatenate([numbers, draws[:, count:]], axis=1)

    def parts(self, exist: Mask) -> Mask:
        """As above."""
        return np.concatenate([exist[:, self._numbers], np.repeat(exist[:, self._choices], self._most, axis=1)], axis=1)

    def neutral(self) -> Floats:
        """As above."""
        parts = [self._strategy._mean] if self._numbers else []
        return np.concatenate([*parts, self._strategy._q.ravel()] if self._choices else parts).copy()

    def tell(self, draws: Floats) -> None:
        """As above."""
        count = len(self._numbers)
        shares = draws[:, count:].reshape(len(draws), len(self._choices), self._most)
        self._strategy.tell(
            [
                (
                    CatCMAwM.Solution(
                        None, None, shares[place] if self._choices else None, draws[place, :count] if count else None
                    ),
                    float(place),
                )
                for place in range(len(draws))
            ]
        )

    def ended(self) -> bool:
        """As above."""
        return bool(self._numbers) and bool(self._strategy.should_stop())


def has_shares(space: SearchSpace) -> bool:
    """Whether some values have shares of the cube, so that a point says less than what was drawn for it."""
    return any(_is_choice(d) or (d.levels or MOST_LEVELS + 1) <= MOST_LEVELS for d in space.dimensions)


def _nearer(draws: Floats, mean: Floats, widths: Floats, covariance: Floats) -> Floats:
    """Draws that are further away than most, at the distance that Hansen (2011) lets points from elsewhere have."""
    n = draws.shape[1]
    scaled = np.linalg.solve(np.linalg.cholesky(covariance + 1e-12 * np.eye(n)), ((draws - mean) / widths).T)
    share = np.minimum(1.0, (math.sqrt(n) + 2.0 * n / (n + 2.0)) / np.maximum(np.linalg.norm(scaled, axis=0), 1e-12))
    return np.where(share[:, None] < 1.0, mean + share[:, None] * (draws - mean), draws)


def _is_choice(dimension: Dimension) -> bool:
    """Of two values of a number none is between the others either. What has one value may be anything."""
    return dimension.levels == 2 or (isinstance(dimension, ChoiceDimension) and dimension.levels > 2)


def _shares(dimension: Dimension) -> Unit:
    """Where the values of a number lie in the cube."""
    assert isinstance(dimension, FloatDimension | IntDimension) and dimension.levels is not None
    levels = np.arange(dimension.levels)
    values = (
        dimension.low + levels * dimension.step if isinstance(dimension, IntDimension) else dimension.at_level(levels)
    )
    return dimension.to_unit(values)
