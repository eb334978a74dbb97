"""Latin hypercube: in every dimension, each of n equal strata is hit by exactly one of the n iterations.

The strata of a dimension are visited in the order of a keyed pseudo-random permutation of 0 to n - 1 that can
be evaluated at any point: a Feistel network on the next even number of bits with cycle walking (Black and
Rogaway 2002, "Ciphers with arbitrary finite domains"). So no table of n entries is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.search.sampler import PlanMethod, PlanRequest
from arbd.search.samplers.random import uniform_points
from arbd.search.seeds import iteration_seed
from arbd.search.space import Columns, SearchSpace
from arbd.values import dataclass

_ROUNDS = 6
_Words = npt.NDArray[np.uint64]


def permuted(index: npt.NDArray[Any], n: int, key: int) -> npt.NDArray[np.int64]:
    """Where a keyed permutation of 0 to n - 1 sends each entry of `index`."""
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    keys = [np.uint64(iteration_seed(key, round_)) for round_ in range(_ROUNDS)]
    values = index.astype(np.uint64)
    values = _feistel(values, half_bits, keys)
    # Walk on until inside: the network permutes a domain of less than 4 n, so few steps are needed.
    outside = values >= np.uint64(n)
    while outside.any():
        values[outside] = _feistel(values[outside], half_bits, keys)
        outside = values >= np.uint64(n)
    return values.astype(np.int64)


def _feistel(values: _Words, half_bits: int, keys: list[np.uint64]) -> _Words:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right + key) & mask)
    return (left << shift) | right


def _mixed(values: _Words) -> _Words:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class LatinHypercubeSampler:
    """Stratum by permutation, place within the stratum at random."""

    space: SearchSpace
    seed: int
    n: int

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        assert first + count - 1 <= self.n, "a hypercube has its points, and no others"
        index = np.arange(first - 1, first - 1 + count, dtype=np.int64)
        within = uniform_points(self.seed, len(self.space.dimensions), first, count)
        points = np.empty_like(within)
        for i in range(points.shape[1]):
            points[:, i] = (permuted(index, self.n, iteration_seed(self.seed, i)) + within[:, i]) / self.n
        return self.space.from_unit(np.minimum(points, np.nextafter(1.0, 0.0)))


def _make(request: PlanRequest) -> LatinHypercubeSampler:
    """Depends on the seed and on n: another number of iterations is another hypercube."""
    return LatinHypercubeSampler(request.space, request.seed, request.n)


METHOD = PlanMethod(
    summary="A Latin hypercube: in every dimension, each of n strata is hit once.",
    make=_make,
)
