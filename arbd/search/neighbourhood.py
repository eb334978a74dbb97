"""The sets around a set of parameters: which of them are neighbours, and one on either side along each number.

Choices are held, bounds kept, and a set that has other parameters, or may not run, is no neighbour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from arbd.arrays import Floats, Ints, Mask, np
from arbd.search.dimensions import BELOW_ONE
from arbd.search.logarithms import log
from arbd.search.space import ChoiceDimension, Column, Columns, Dimension, FloatDimension, IntDimension, SearchSpace

# How far neighbours are away, as a share of a parameter's range (of its logarithm, where that is searched); on a coarse
# grid it is one step.
NEAR = 0.05
# What lies no further apart, as a share of the range, differs by rounding alone.
SAME = 1e-9

# Which of n rows of columns may run.
MayRun = Callable[[Columns, int], Mask]


def near_of(dimension: Dimension) -> float:
    """How far neighbours are away along a dimension, in the unit cube; 0 for a choice, and where there is one value."""
    levels = dimension.levels
    if isinstance(dimension, ChoiceDimension) or levels == 1 or dimension.low == dimension.high:
        return 0.0
    return max(NEAR, 1.0 / levels) if levels else NEAR


def same_parameters(space: SearchSpace, columns: Columns, others: Columns) -> Mask:
    """In which rows two sets have the same parameters, whatever their values; `others` may be one row."""
    same = np.ones(len(next(iter(columns.values()))), dtype=bool)
    exists = space.active(others)
    for name, there in space.active(columns).items():
        same &= there == exists[name]
    return same


def most_neighbours(space: SearchSpace) -> int:
    """How many a set can have."""
    return 2 * sum(near_of(dimension) > 0 for dimension in space.dimensions)


def with_neighbours(space: SearchSpace, columns: Columns, may_run: MayRun) -> tuple[Columns, Ints]:
    """`n` sets and behind them all of their neighbours, and the row of the set that each is of: itself, or a neighbour of."""
    n = len(next(iter(columns.values())))
    found, owners = [columns], [np.arange(n, dtype=np.int64)]
    exists = space.active(columns)
    for dimension in space.dimensions:
        near = near_of(dimension)
        for step in (-near, near) if near else ():
            moved = _moved(space, columns, dimension, step)
            chosen = _differs(dimension, moved[dimension.name], columns[dimension.name])
            chosen &= exists.get(dimension.name, np.ones(n, dtype=bool))
            chosen &= same_parameters(space, moved, columns) & may_run(moved, n)
            rows = np.flatnonzero(chosen)
            found.append({name: column[rows] for name, column in moved.items()})
            owners.append(rows)
    return {name: np.concatenate([part[name] for part in found]) for name in columns}, np.concatenate(owners)


def _moved(space: SearchSpace, columns: Columns, dimension: Dimension, step: float) -> Columns:
    """The sets with one number moved; all others keep their bits."""
    column = columns[dimension.name]
    place = _place(dimension, column) + step
    moved = dimension.from_unit(np.clip(place, 0.0, BELOW_ONE))
    if _is_continuous(dimension):
        # The bounds themselves: what rounding makes of them would be a neighbour of a set that lies on one.
        moved = np.where(place >= 1.0, dimension.high, np.where(place <= 0.0, dimension.low, moved))
    if isinstance(dimension, IntDimension):
        # Where a logarithm is steep, so little of its range leads nowhere.
        by_one = np.clip(column + (dimension.step if step > 0 else -dimension.step), dimension.low, dimension.high)
        moved = np.where((moved == column) & ((by_one - dimension.low) % dimension.step == 0), by_one, moved)
    return space.settled({**columns, dimension.name: moved})


def _is_continuous(dimension: Dimension) -> TypeGuard[FloatDimension]:
    return isinstance(dimension, FloatDimension) and dimension.step is None


def _differs(dimension: Dimension, moved: Column, column: Column) -> Mask:
    """Where a number is another one, and not the same but for rounding."""
    if not _is_continuous(dimension):
        return np.asarray(moved != column)
    return np.asarray((moved != column) & (np.abs(_place(dimension, moved) - _place(dimension, column)) > SAME))


def _place(dimension: Dimension, column: Column) -> Floats:
    """As of `to_unit`, with the same bits on every host and in a row by itself."""
    if isinstance(dimension, ChoiceDimension) or not dimension.log or not len(column):
        return dimension.to_unit(column)
    half = 0.5 if isinstance(dimension, IntDimension) else 0.0
    low, high = log(dimension.low - half), log(dimension.high + half)
    place: Floats = (np.array([log(value) for value in column.tolist()]) - low) / (high - low)
    return place
