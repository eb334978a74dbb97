"""Points that know nothing: what a search begins with, and what fills in what a job leaves open."""

from __future__ import annotations

import numpy as np

from arbd.search.sampler import Sampler
from arbd.search.samplers.lhs import LatinHypercubeSampler
from arbd.search.samplers.random import RandomSampler
from arbd.search.space import Columns, SearchSpace
from arbd.search.unit_view import UnitView
from arbd.values import dataclass


class Viewed:
    """A sampler over the space as it is seen, in the job's columns."""

    def __init__(self, sampler: Sampler, view: UnitView) -> None:
        self._sampler, self._view = sampler, view

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        return self._view.columns(self._sampler.rows(first, count))


@dataclass(frozen=True, slots=True)
class EvenSampler:
    """A Latin hypercube of n points. Whoever asks for more before there is a result gets random ones."""

    space: SearchSpace
    seed: int
    n: int

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        even = max(0, min(count, self.n - first + 1))
        parts = []
        if even:
            parts.append(LatinHypercubeSampler(self.space, self.seed, self.n).rows(first, even))
        if even < count:
            parts.append(RandomSampler(self.space, self.seed).rows(first + even, count - even))
        return {name: np.concatenate([part[name] for part in parts]) for name in self.space.names}
