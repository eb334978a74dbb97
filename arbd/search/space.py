"""The search space: which parameters vary, over what, when they exist, and how points of the unit cube become values.

Values travel in columns (`Columns`): float64 for floats, int64 for ints, int64 indices for choices. Keeps I5:
every mapping here is row by row, so a range of iterations alone gives what it gives within the whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from arbd.arrays import np, npt
from arbd.registry import hint
from arbd.search.conditions import CircleError, Condition, activity, in_order
from arbd.search.dimensions import (
    ChoiceDimension,
    Column,
    Dimension,
    FloatDimension,
    IntDimension,
    Unit,
    Value,
)
from arbd.values import dataclass

__all__ = (
    "ChoiceDimension",
    "Column",
    "Columns",
    "Condition",
    "Dimension",
    "FloatDimension",
    "IntDimension",
    "SearchSpace",
    "Unit",
    "Value",
)

Columns = dict[str, Column]
# Where a number that does not exist lies in the unit cube.
MIDDLE = 0.5


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All dimensions, in the order of the job file, and under which conditions some of them exist.

    Where a dimension does not exist its column has one and the same value, `MIDDLE` or the first choice in the unit cube
    (which no choice has), and plain rows do not have it at all.
    """

    dimensions: tuple[Dimension, ...]
    conditions: tuple[Condition, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def unconditional(self) -> SearchSpace:
        """The space in which every dimension exists everywhere."""
        return SearchSpace(self.dimensions)

    @property
    def conditional(self) -> frozenset[str]:
        """The dimensions that do not exist everywhere."""
        return frozenset(condition.name for condition in self.conditions)

    def active(self, columns: Mapping[str, Column]) -> dict[str, npt.NDArray[np.bool_]]:
        """In which rows each of `conditional` exists, as far as the columns that decide that are given."""
        if not self.conditions:
            return {}
        return activity(self.conditions, {d.name: d for d in self.dimensions}, columns)

    def settled(self, columns: Columns) -> Columns:
        """Columns with the one value in the place of those of dimensions that do not exist."""
        exist = self.active(columns)
        if not exist:
            return columns
        return {
            d.name: np.where(exist[d.name], columns[d.name], _absent(d)) if d.name in exist else columns[d.name]
            for d in self.dimensions
        }

    def from_unit(self, points: Unit) -> Columns:
        """Columns for points of shape (n, dimensions) in [0, 1)."""
        return self.settled({d.name: d.from_unit(points[:, i]) for i, d in enumerate(self.dimensions)})

    def to_unit(self, columns: Mapping[str, Column]) -> Unit:
        """Points of shape (n, dimensions) in [0, 1] for columns."""
        points = [d.to_unit(np.asarray(columns[d.name])) for d in self.dimensions]
        found = np.clip(np.column_stack(points), 0.0, 1.0)
        for name, exists in self.active(columns).items():
            place = self.names.index(name)
            found[~exists, place] = 0.0 if isinstance(self.dimensions[place], ChoiceDimension) else MIDDLE
        return found

    def active_at(self, points: Unit) -> npt.NDArray[np.bool_]:
        """Which dimensions exist at points of the unit cube: (n, dimensions)."""
        found = np.ones(points.shape, dtype=bool)
        if self.conditions:
            inside = np.clip(points, 0.0, np.nextafter(1.0, 0.0))
            for name, exists in self.active(self.unconditional.from_unit(inside)).items():
                found[:, self.names.index(name)] = exists
        return found

    @property
    def size(self) -> int | None:
        """How many different points there are, at most where there are conditions; None where a dimension is a continuum."""
        levels = [d.levels for d in self.dimensions]
        return None if None in levels else math.prod(level or 1 for level in levels)

    def encode(self, rows: Sequence[Mapping[str, Value]]) -> Columns:
        """Columns for rows of plain values; KeyError or ValueError for what is not in the space.

        What a row says of dimensions that do not exist there does not matter.
        """
        if not self.conditions:
            return {d.name: d.column([row[d.name] for row in rows]) for d in self.dimensions}
        by_name = {d.name: d for d in self.dimensions}
        order = [name for name in self.names if name not in self.conditional] + in_order(self.conditions)
        found: Columns = {}
        for name in order:
            found[name] = np.zeros(len(rows), dtype=_absent(by_name[name]).dtype)
            exists = self.active(found).get(name, np.ones(len(rows), dtype=bool)) if name in self.conditional else None
            have = np.arange(len(rows)) if exists is None else np.flatnonzero(exists)
            found[name][:] = _absent(by_name[name])
            found[name][have] = by_name[name].column([rows[at][name] for at in have.tolist()])
        return {name: found[name] for name in self.names}

    def decode(self, columns: Mapping[str, Column]) -> dict[str, Any]:
        """Columns with choices as lists of their values; numbers stay arrays.

        Where a dimension does not exist a choice is None, and a number NaN.
        """
        found: dict[str, Any] = {
            d.name: [d.values[i] for i in columns[d.name].tolist()]
            if isinstance(d, ChoiceDimension)
            else columns[d.name]
            for d in self.dimensions
        }
        for name, exists in self.active(columns).items():
            values = found[name]
            if isinstance(values, list):
                found[name] = [value if there else None for value, there in zip(values, exists.tolist(), strict=True)]
            elif not exists.all():
                found[name] = np.where(exists, values, np.nan)
        return found

    def rows(self, columns: Mapping[str, Column]) -> list[dict[str, Any]]:
        """One mapping per row, in plain Python values, of the dimensions that exist there."""
        names = self.names
        decoded = self.unconditional.decode(columns) if self.conditions else self.decode(columns)
        lists = [v if isinstance(v, list) else v.tolist() for v in decoded.values()]
        # Without a step of Python for each row, as one is made for every iteration.
        rows = list(map(dict, map(zip, itertools.repeat(names), zip(*lists, strict=True))))
        for name, exists in self.active(columns).items():
            for at in np.flatnonzero(~exists).tolist():
                del rows[at][name]
        return rows

    def faults(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the conditions, each with the dimension that is to blame."""
        if not self.conditions:
            return
        dimensions = {d.name: d for d in self.dimensions}
        for condition in self.conditions:
            for fault in _condition_faults(condition, dimensions):
                yield condition.name, fault
        try:
            in_order(self.conditions)
        except CircleError as error:
            yield error.name, str(error)

    def to_plain(self) -> list[dict[str, Any]]:
        """For msgpack. Conditions are left out where there are none, so that such a job reads the same to every worker."""
        when: dict[str, dict[str, list[Value]]] = {}
        for condition in self.conditions:
            when.setdefault(condition.name, {})[condition.parent] = list(condition.values)
        return [_plain(d) | ({"when": when[d.name]} if d.name in when else {}) for d in self.dimensions]


def _plain(dimension: Dimension) -> dict[str, Any]:
    """What a dimension is, and its fields."""
    values = {each.name: getattr(dimension, each.name) for each in fields(dimension)}
    return {"type": dimension.kind} | {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _absent(dimension: Dimension) -> Column:
    """What a column has where its dimension does not exist."""
    return dimension.from_unit(np.array([0.0 if isinstance(dimension, ChoiceDimension) else MIDDLE]))


def _condition_faults(condition: Condition, dimensions: Mapping[str, Dimension]) -> Iterator[str]:
    parent = dimensions.get(condition.parent)
    if parent is None:
        others = [name for name in dimensions if name != condition.name]
        yield f"{condition.parent!r} is not searched; {hint(condition.parent, others)}searched are {', '.join(others)}"
    elif isinstance(parent, FloatDimension):
        yield f"{condition.parent} is a real number: a condition is on a choice, a bool or an int"
    else:
        known = [str(value) for value in parent.values] if isinstance(parent, ChoiceDimension) else []
        for value in condition.values:
            try:
                parent.column([value])
            except ValueError as error:
                near = hint(str(value), known)
                yield f"{error}{'; ' if near else ''}{near.strip()}"
