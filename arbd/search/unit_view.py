"""The unit cube of a search that learns: the order in which a job lists the values of a choice means nothing to it.

Owns the one order of choices in the cube, which follows from the values themselves. Columns are the job's throughout:
positions in the values as the job lists them. Non-adaptive methods keep the job's order, which their plans follow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from arbd.search.space import ChoiceDimension, Column, Columns, Dimension, SearchSpace, Unit, Value
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class UnitView:
    """Between columns of a job's space and points of the cube. `seen` is the space with its choices in their own order.

    `_places` are, by choice, where each of the job's values stands in that order; `_positions` are the way back.
    """

    seen: SearchSpace
    _space: SearchSpace
    _places: Mapping[str, Column]
    _positions: Mapping[str, Column]

    @classmethod
    def of(cls, space: SearchSpace) -> UnitView:
        """Of a job's space."""
        places: dict[str, Column] = {}
        positions: dict[str, Column] = {}
        dimensions: list[Dimension] = []
        for dimension in space.dimensions:
            if not isinstance(dimension, ChoiceDimension):
                dimensions.append(dimension)
                continue
            keys = [_own_order(value) for value in dimension.values]
            order = sorted(range(dimension.levels), key=keys.__getitem__)
            dimensions.append(ChoiceDimension(dimension.name, tuple(dimension.values[at] for at in order)))
            positions[dimension.name] = np.array(order, dtype=np.int64)
            places[dimension.name] = np.argsort(positions[dimension.name])
        return cls(SearchSpace(tuple(dimensions), space.conditions), space, places, positions)

    def columns(self, seen: Columns) -> Columns:
        """The job's columns for those of the space that is seen."""
        found = {name: self._positions[name][c] if name in self._positions else c for name, c in seen.items()}
        return self._space.settled(found)

    def from_unit(self, points: Unit) -> Columns:
        """Columns for points of shape (n, dimensions) in [0, 1)."""
        return self.columns(self.seen.from_unit(points))

    def to_unit(self, columns: Mapping[str, Column]) -> Unit:
        """Points of shape (n, dimensions) in [0, 1] for columns."""
        return self.seen.to_unit({n: self._places[n][c] if n in self._places else c for n, c in columns.items()})


def _own_order(value: Value) -> tuple[bool, str, float, str]:
    """Null, then numbers, then texts, by what they are: 1, 1.0 and true are three values."""
    if value is None:
        return False, "", 0.0, ""
    if isinstance(value, str):
        return True, "", 0.0, value
    return False, type(value).__name__, float(value), ""
