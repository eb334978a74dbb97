"""Grid: every combination of the points of each dimension, the last dimension fastest.

With conditions: for every combination of those that others depend on, every combination of what exists there, each once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from arbd.errors import UsageError
from arbd.search.sampler import PlanMethod, PlanRequest, PlanSize, Sampler
from arbd.search.space import ChoiceDimension, Column, Columns, Dimension, SearchSpace
from arbd.values import dataclass

DEFAULT_POINTS = 3
# Combinations of the dimensions that conditions name.
MAX_DECIDING = 1 << 16


def dimension_points(dimension: Dimension, grid_points: Mapping[str, int]) -> Column:
    """The values of one dimension; a float with a step and an int have no more points than values."""
    return dimension.grid(grid_points.get(dimension.name, DEFAULT_POINTS))


def grid_size(space: SearchSpace, grid_points: Mapping[str, int]) -> int:
    """How many combinations there are. UsageError when conditions depend on more of them than are looked at."""
    if space.conditions:
        return ConditionalGrid.of(space, grid_points).size
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


@dataclass(frozen=True, slots=True, eq=False)
class ConditionalGrid:
    """`parents` are the distinct combinations, by row, of the dimensions that others depend on.

    `counts` says how many points each other dimension has beside each of them: (parents, others), 1 where it does not exist.
    """

    space: SearchSpace
    parents: Columns
    others: tuple[str, ...]
    points: tuple[Column, ...]
    counts: Column

    @classmethod
    def of(cls, space: SearchSpace, grid_points: Mapping[str, int]) -> ConditionalGrid:
        """UsageError when the combinations that decide what exists are too many to look at."""
        points = {d.name: dimension_points(d, grid_points) for d in space.dimensions}
        deciding = {condition.parent for condition in space.conditions}
        names = [name for name in space.names if name in deciding]
        total = math.prod(len(points[name]) for name in names)
        if total > MAX_DECIDING:
            raise UsageError(
                f"{total:,} combinations of {', '.join(names)} decide what else exists; a grid takes {MAX_DECIDING:,}: "
                "fewer grid_points of these, or another method"
            )
        every = GridSampler(tuple(names), tuple(points[name] for name in names)).rows(1, total)
        # What decides may itself not exist.
        whole = space.settled({name: every.get(name, np.repeat(column[:1], total)) for name, column in points.items()})
        exist = space.active(whole)
        _, first = np.unique(np.column_stack([whole[name] for name in names]), axis=0, return_index=True)
        kept = np.sort(first)
        others = tuple(name for name in space.names if name not in deciding)
        counts = np.ones((len(kept), len(others)), dtype=np.int64)
        for place, name in enumerate(others):
            here = exist[name][kept] if name in exist else np.ones(len(kept), dtype=bool)
            counts[here, place] = len(points[name])
        parents = {name: whole[name][kept] for name in names}
        return cls(space, parents, others, tuple(points[name] for name in others), counts)

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return sum(math.prod(row) for row in self.counts.tolist())

    def rows(self, first: int, count: int) -> Columns:
        """See `Sampler`."""
        before = np.concatenate([[0], np.cumsum(self.counts.prod(axis=1))])
        index = np.arange(first - 1, first - 1 + count, dtype=np.int64) % before[-1]
        block = np.searchsorted(before, index, side="right") - 1
        within = index - before[block]
        columns = {name: column[block] for name, column in self.parents.items()}
        for place in reversed(range(len(self.others))):
            within, digit = np.divmod(within, self.counts[block, place])
            columns[self.others[place]] = self.points[place][digit]
        return self.space.settled({name: columns[name] for name in self.space.names})


def _size(space: SearchSpace, grid_points: Mapping[str, int]) -> PlanSize:
    notices: list[str] = []
    for dimension in space.dimensions:
        asked, distinct = grid_points.get(dimension.name, DEFAULT_POINTS), len(dimension_points(dimension, grid_points))
        if distinct < asked and not isinstance(dimension, ChoiceDimension):
            notices.append(
                f"{dimension.name}: {asked} grid points asked for, {distinct} are distinct; duplicates are left out"
            )
    return PlanSize(grid_size(space, grid_points), tuple(notices))


def _make(request: PlanRequest) -> Sampler:
    """A grid depends on neither seed nor n."""
    if request.space.conditions:
        return ConditionalGrid.of(request.space, request.grid_points)
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
