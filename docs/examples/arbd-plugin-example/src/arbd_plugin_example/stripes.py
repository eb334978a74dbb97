"""Stripes: a plan that follows from the number of an iteration alone, all parameters at the same height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arbd.plugins.sampler import Columns, PlanMethod, PlanRequest, SearchSpace


@dataclass(frozen=True, slots=True)
class StripesSampler:
    """Iteration i of n is at height (i - 1/2) / n of every dimension."""

    space: SearchSpace
    n: int

    def rows(self, first: int, count: int) -> Columns:
        """Columns of `count` iterations from number `first` on: the slice of the whole, whoever asks for it."""
        height = (np.arange(first, first + count) - 0.5) / self.n
        return self.space.from_unit(np.repeat(height[:, None], len(self.space.dimensions), axis=1))


def _make(request: PlanRequest) -> StripesSampler:
    return StripesSampler(request.space, request.n)


METHOD = PlanMethod(summary="All parameters go from their lowest to their highest value together.", make=_make)
