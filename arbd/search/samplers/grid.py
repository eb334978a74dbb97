"""Grid: every combination of the points of each dimension, the last dimension fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from arbd.search.space import Column, Columns, Dimension, SearchSpace

DEFAULT_POINTS = 3


def dimension_points(dimension: Dimension, grid_points: Mapping[str, int]) -> Column:
    """The values of one dimension; a float with a step and an int have no more points than values."""
    return dimension.grid(grid_points.get(dimension.name, DEFAULT_POINTS))


def grid_size(space: SearchSpace, grid_points: Mapping[str, int]) -> int:
    """How many combinations there are."""
    return math.prod(len(dimension_points(d, grid_points)) for d in space.dimensions)


@dataclass(frozen=True, slots=True, eq=False)
class GridSampler:
    """Decodes an iteration's number as a mixed-radix number whose digits are positions in the points."""

    names: tuple[str, ...]
    points: tuple[Column, ...]

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        index = np.arange(first - 1, first - 1 + count, dtype=np.int64)
        columns: Columns = {}
        for name, points in zip(reversed(self.names), reversed(self.points), strict=True):
            index, digit = np.divmod(index, len(points))
            columns[name] = points[digit]
        return {name: columns[name] for name in self.names}


def make(space: SearchSpace, seed: int, n: int, grid_points: Mapping[str, int]) -> GridSampler:
    """A grid depends on neither seed nor n."""
    del seed, n
    return GridSampler(space.names, tuple(dimension_points(d, grid_points) for d in space.dimensions))
