"""Search methods: which parameters an iteration gets. One module per method, imported when it is used.

Two kinds. Of a fixed plan (grid, random, sobol, halton, lhs) the parameters of an iteration follow from its number
and the seed. A guided method suggests a generation of iterations at once, from the results of earlier ones.

Keeps I5: `rows` of a range is the slice of the whole, on every host, and takes a constant amount of memory;
`suggest` is a function of its arguments, whoever calls it, however often.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from arbd.search.space import Columns, SearchSpace, Unit

if TYPE_CHECKING:
    from arbd.search.history import Floats, History
    from arbd.search.problem import SearchProblem

METHODS = ("grid", "random", "sobol", "halton", "lhs")
GUIDED = ("bayesian", "tpe", "cmaes", "nsga2", "successive_halving")


class Sampler(Protocol):
    """Parameters by iteration number."""

    def rows(self, first: int, count: int) -> Columns:
        """Columns of iterations `first` to `first + count - 1`, numbered from 1."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Points of the unit cube, one per row, and the share of the data that each is to use (None: all of it)."""

    points: Unit
    budget: Floats | None = None


class GuidedSampler(Protocol):
    """Points by generation. An instance may remember what it computed, but never what it was asked before."""

    def suggest(
        self, generation: int, count: int, history: History, allowed: Callable[[Unit], npt.NDArray[np.bool_]]
    ) -> Proposal:
        """`count` points; `allowed` says of points whether they may be proposed, and the best effort is made."""
        ...


def make_sampler(method: str, space: SearchSpace, seed: int, n: int, grid_points: Mapping[str, int]) -> Sampler:
    """The sampler of a session of `n` iterations; `grid_points` holds the points per dimension, for grid."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}")
    module = importlib.import_module(f"arbd.search.samplers.{method}")
    sampler: Sampler = module.make(space, seed, n, grid_points)
    return sampler


def make_guided(spec: SearchProblem) -> GuidedSampler:
    """The guided sampler of a session."""
    if spec.method not in GUIDED:
        raise ValueError(f"{spec.method!r} is no guided method")
    module = importlib.import_module(f"arbd.search.samplers.{spec.method}")
    sampler: GuidedSampler = module.make(spec)
    return sampler
