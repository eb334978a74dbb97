"""Halton: a scrambled low-discrepancy sequence, which fills the space more evenly than random points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arbd.search.sampler import PlanMethod, PlanRequest
from arbd.search.space import Columns, SearchSpace

BELOW_ONE = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True, slots=True)
class HaltonSampler:
    """SciPy's sequence, scrambled by the seed, entered at the iteration asked for."""

    space: SearchSpace
    seed: int

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        from scipy.stats import qmc  # noqa: PLC0415 - it takes seconds to import, and a declaration none

        engine = qmc.Halton(len(self.space.dimensions), scramble=True, rng=np.random.default_rng(self.seed))
        # The same as fast_forward(first - 1), which would compute every point before the first.
        engine.num_generated = first - 1
        return self.space.from_unit(np.minimum(engine.random(count), BELOW_ONE))


def _make(request: PlanRequest) -> HaltonSampler:
    """Depends on the seed alone."""
    return HaltonSampler(request.space, request.seed)


METHOD = PlanMethod(
    summary="A scrambled Halton sequence, which fills the space evenly.",
    make=_make,
    libraries=("numpy", "scipy"),
)
