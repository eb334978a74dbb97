"""Random: independent uniform points from a counter-based generator, which can start at any iteration.

Philox 4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") gives four numbers per counter;
iteration i owns the counters from i x k on, where k counters cover the dimensions.
"""

from __future__ import annotations

from arbd.arrays import np
from arbd.search.sampler import PlanMethod, PlanRequest
from arbd.search.space import Columns, SearchSpace, Unit
from arbd.values import dataclass

_PER_COUNTER = 4


def uniform_points(seed: int, dimensions: int, first: int, count: int) -> Unit:
    """Points of shape (count, dimensions) in [0, 1) for iterations from `first` on."""
    counters = -(-dimensions // _PER_COUNTER)
    generator = np.random.Philox(key=seed, counter=(first - 1) * counters)
    raw = generator.random_raw(count * counters * _PER_COUNTER).reshape(count, counters * _PER_COUNTER)
    # The 53 high bits, as numpy's own doubles are made.
    return (raw[:, :dimensions] >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True, slots=True)
class RandomSampler:
    """Uniform over the space."""

    space: SearchSpace
    seed: int

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        return self.space.from_unit(uniform_points(self.seed, len(self.space.dimensions), first, count))


def _make(request: PlanRequest) -> RandomSampler:
    """Depends on the seed alone."""
    return RandomSampler(request.space, request.seed)


METHOD = PlanMethod(
    summary="Independent uniform points.",
    make=_make,
    prefix=True,
)
