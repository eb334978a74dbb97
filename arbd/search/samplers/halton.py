"""Halton: a scrambled low-discrepancy sequence, which fills the space more evenly than random points."""

from __future__ import annotations

import numpy as np

from arbd.search.low_discrepancy import halton_points
from arbd.search.sampler import PlanMethod, PlanRequest
from arbd.search.space import Columns, SearchSpace
from arbd.values import dataclass

BELOW_ONE = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True, slots=True)
class HaltonSampler:
    """The sequence, scrambled by the seed, entered at the iteration asked for."""

    space: SearchSpace
    seed: int

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        points = halton_points(len(self.space.dimensions), self.seed, first - 1, count)
        return self.space.from_unit(np.minimum(points, BELOW_ONE))


def _make(request: PlanRequest) -> HaltonSampler:
    """Depends on the seed alone."""
    return HaltonSampler(request.space, request.seed)


METHOD = PlanMethod(
    summary="A scrambled Halton sequence, which fills the space evenly.",
    make=_make,
    prefix=True,
    libraries=("numpy",),
)
