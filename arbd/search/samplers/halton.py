"""Halton: a scrambled low-discrepancy sequence, which fills the space more evenly than random points."""

from __future__ import annotations

from arbd.search.low_discrepancy import SequenceSampler, halton_points
from arbd.search.sampler import PlanMethod, PlanRequest


def _make(request: PlanRequest) -> SequenceSampler:
    """Depends on the seed alone."""
    return SequenceSampler(request.space, request.seed, halton_points)


METHOD = PlanMethod(
    summary="A scrambled Halton sequence, which fills the space evenly.",
    make=_make,
    prefix=True,
    libraries=("numpy",),
)
