"""Sobol: a scrambled low-discrepancy sequence, which fills the space more evenly than random points."""

from __future__ import annotations

from arbd.search.low_discrepancy import BITS, SequenceSampler, sobol_points
from arbd.search.sampler import PlanMethod, PlanRequest


def _make(request: PlanRequest) -> SequenceSampler:
    """Depends on the seed alone."""
    return SequenceSampler(request.space, request.seed, sobol_points)


METHOD = PlanMethod(
    summary="A scrambled Sobol sequence, which fills the space evenly.",
    make=_make,
    prefix=True,
    libraries=("numpy", "scipy"),
    max_iterations=2**BITS,
)
