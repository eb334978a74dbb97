"""Sobol: a scrambled low-discrepancy sequence, which fills the space more evenly than random points."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from arbd.search.sampler import PlanMethod, PlanRequest
from arbd.search.space import Columns, SearchSpace

# SciPy's default; the sequence has 2^30 points.
BITS = 30
BELOW_ONE = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True, slots=True)
class SobolSampler:
    """SciPy's sequence, scrambled by the seed, entered at the iteration asked for."""

    space: SearchSpace
    seed: int

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        from scipy.stats import qmc  # noqa: PLC0415 - it takes seconds to import, and a declaration none

        engine = qmc.Sobol(len(self.space.dimensions), scramble=True, bits=BITS, rng=np.random.default_rng(self.seed))
        if first > 1:
            engine.fast_forward(first - 1)
        with warnings.catch_warnings():
            # SciPy warns that a count that is no power of two is less balanced; a session's range is what it is.
            warnings.simplefilter("ignore", UserWarning)
            points = engine.random(count)
        return self.space.from_unit(np.minimum(points, BELOW_ONE))


def _make(request: PlanRequest) -> SobolSampler:
    """Depends on the seed alone."""
    return SobolSampler(request.space, request.seed)


METHOD = PlanMethod(
    summary="A scrambled Sobol sequence, which fills the space evenly.",
    make=_make,
    libraries=("numpy", "scipy"),
    max_iterations=2**BITS,
)
