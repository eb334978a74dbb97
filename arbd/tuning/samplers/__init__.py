"""Search methods: which parameters an iteration gets. One module per method, imported when it is used.

Keeps I5: `rows` of a range is the slice of the whole, on every host. None of them keeps more than a
constant amount in memory, however many iterations there are.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Protocol

from arbd.tuning.space import Columns, SearchSpace

METHODS = ("grid", "random", "sobol", "halton", "lhs")


class Sampler(Protocol):
    """Parameters by iteration number."""

    def rows(self, first: int, count: int) -> Columns:
        """Columns of iterations `first` to `first + count - 1`, numbered from 1."""
        ...


def make_sampler(method: str, space: SearchSpace, seed: int, n: int, grid_points: Mapping[str, int]) -> Sampler:
    """The sampler of a session of `n` iterations; `grid_points` holds the points per dimension, for grid."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}")
    module = importlib.import_module(f"arbd.tuning.samplers.{method}")
    sampler: Sampler = module.make(space, seed, n, grid_points)
    return sampler
