"""The trials nearest to a winner: whether it stands on a plateau or is a spike."""

from __future__ import annotations

import numpy as np

from arbd.analysis.table import ResultTable
from arbd.arrays import Array
from arbd.search.space import ChoiceDimension


def nearest(table: ResultTable, position: int, wanted: int) -> tuple[Array, Array]:
    """Positions of at most `wanted` completed rows nearest to the row at `position`, itself left out, and how far they are.

    The distance is the largest difference in any parameter, as a share of that one's range; another choice is no neighbour.
    """
    space = table.spec.space
    rows = np.flatnonzero(table.ranking.completed)
    points = space.to_unit({dimension: table.source.param(dimension)[rows] for dimension in space.names})
    away = np.abs(points - points[int(np.searchsorted(rows, position))])
    for at, dimension in enumerate(space.dimensions):
        if isinstance(dimension, ChoiceDimension):
            away[:, at] = np.where(away[:, at] > 0, np.inf, 0.0)
    distance = away.max(axis=1, initial=0.0)
    others = np.flatnonzero((distance > 0) & np.isfinite(distance))
    if len(others) > wanted:
        # Those that are as far as the last are all kept, so that equal ones come in their order.
        others = others[distance[others] <= np.partition(distance[others], wanted - 1)[wanted - 1]]
    found = others[np.argsort(distance[others], kind="stable")[:wanted]]
    return rows[found], distance[found]
