"""Grid: every combination of the points of each dimension, the last dimension fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from arbd.search.sampler import PlanMethod, PlanRequest, PlanSize
from arbd.search.space import ChoiceDimension, Column, Columns, Dimension, SearchSpace

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


def _size(space: SearchSpace, grid_points: Mapping[str, int]) -> PlanSize:
    notices: list[str] = []
    for dimension in space.dimensions:
        asked, distinct = grid_points.get(dimension.name, DEFAULT_POINTS), len(dimension_points(dimension, grid_points))
        if distinct < asked and not isinstance(dimension, ChoiceDimension):
            notices.append(
                f"{dimension.name}: {asked} grid points asked for, {distinct} are distinct; duplicates are left out"
            )
    return PlanSize(grid_size(space, grid_points), tuple(notices))


def _make(request: PlanRequest) -> GridSampler:
    """A grid depends on neither seed nor n."""
    points = tuple(dimension_points(dimension, request.grid_points) for dimension in request.space.dimensions)
    return GridSampler(request.space.names, points)


METHOD = PlanMethod(
    summary="Every combination of the points of each dimension.",
    make=_make,
    size=_size,
    distinct=True,
    prefix=True,
    fields=("grid_points",),
)
