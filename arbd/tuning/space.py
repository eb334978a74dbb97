"""The search space: which parameters vary, over what, and how points of the unit cube become their values.

Values travel in columns (`Columns`): float64 for floats, int64 for ints, int64 indices for choices. Keeps I5:
every mapping here is elementwise, so a range of iterations alone gives what it gives within the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.tuning.logarithms import exp, log

Value = float | int | str | bool
Column = npt.NDArray[Any]
Columns = dict[str, Column]
Unit = npt.NDArray[np.float64]


def _decimals(step: float) -> int:
    """Decimals that a multiple of `step` needs, so that 0.05 + 7 x 0.01 reads 0.12."""
    text = f"{step:.12f}".rstrip("0")
    return len(text.partition(".")[2])


@dataclass(frozen=True, slots=True)
class FloatDimension:
    """A real number in [low, high]; uniform, log-uniform, or on the points low, low + step, ... up to high."""

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def levels(self) -> int | None:
        """How many values there are; None for a continuum."""
        return None if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def from_unit(self, u: Unit) -> Column:
        """Values for numbers in [0, 1)."""
        if self.step is not None:
            return self.at_level(_level(u, self.levels or 1))
        low, high = (log(self.low), log(self.high)) if self.log else (self.low, self.high)
        values = low + u * (high - low)
        return np.clip(exp(values) if self.log else values, self.low, self.high)

    def at_level(self, level: Column) -> Column:
        """Values at positions on the step grid."""
        step = self.step or 0.0
        decimals = max(_decimals(step), _decimals(self.low))
        return np.round(self.low + level.astype(np.float64) * step, decimals)

    def grid(self, points: int) -> Column:
        """Up to `points` values spread evenly (in the logarithm when `log`), both ends included."""
        if self.step is not None:
            return self.at_level(_spread(self.levels or 1, points))
        if points == 1:
            return np.array([math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2])
        low, high = (log(self.low), log(self.high)) if self.log else (self.low, self.high)
        values = np.linspace(low, high, points)
        values = exp(values) if self.log else values
        values[0], values[-1] = self.low, self.high
        return values

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        return {
            "type": "float",
            "name": self.name,
            "low": self.low,
            "high": self.high,
            "log": self.log,
            "step": self.step,
        }


@dataclass(frozen=True, slots=True)
class IntDimension:
    """A whole number in [low, high], both included; uniform, log-uniform, or every `step`-th."""

    name: str
    low: int
    high: int
    log: bool = False
    step: int = 1

    @property
    def levels(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def from_unit(self, u: Unit) -> Column:
        """Values for numbers in [0, 1); with `log`, each whole number has the share of its logarithmic width."""
        if self.log:
            low, high = log(self.low - 0.5), log(self.high + 0.5)
            values = np.rint(exp(low + u * (high - low))).astype(np.int64)
            return np.clip(values, self.low, self.high)
        return self.low + self.step * _level(u, self.levels)

    def grid(self, points: int) -> Column:
        """Up to `points` values spread evenly (in the logarithm when `log`), both ends included, each once."""
        if not self.log:
            return self.low + self.step * _spread(self.levels, points)
        if points == 1:
            return np.array([round(math.sqrt(self.low * self.high))], dtype=np.int64)
        values = exp(np.linspace(log(self.low), log(self.high), points))
        return np.unique(np.clip(np.rint(values).astype(np.int64), self.low, self.high))

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        return {
            "type": "int",
            "name": self.name,
            "low": self.low,
            "high": self.high,
            "log": self.log,
            "step": self.step,
        }


@dataclass(frozen=True, slots=True)
class ChoiceDimension:
    """One of `values`; columns hold positions in that list."""

    name: str
    values: tuple[Value, ...]

    @property
    def levels(self) -> int:
        """How many values there are."""
        return len(self.values)

    def from_unit(self, u: Unit) -> Column:
        """Positions for numbers in [0, 1)."""
        return _level(u, self.levels)

    def grid(self, points: int) -> Column:
        """All positions: a choice has no order in which some could be left out."""
        del points
        return np.arange(self.levels, dtype=np.int64)

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        return {"type": "choice", "name": self.name, "values": list(self.values)}


Dimension = FloatDimension | IntDimension | ChoiceDimension


def _level(u: Unit, levels: int) -> Column:
    return np.minimum((u * levels).astype(np.int64), levels - 1)


def _spread(levels: int, points: int) -> Column:
    """`points` of the positions 0 to levels - 1, spread evenly, ends included, each once."""
    if points == 1:
        return np.array([(levels - 1) // 2], dtype=np.int64)
    return np.unique(np.rint(np.linspace(0, levels - 1, points)).astype(np.int64))


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All dimensions, in the order of the job file."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names."""
        return tuple(dimension.name for dimension in self.dimensions)

    def from_unit(self, points: Unit) -> Columns:
        """Columns for points of shape (n, dimensions) in [0, 1)."""
        return {d.name: d.from_unit(points[:, i]) for i, d in enumerate(self.dimensions)}

    def decode(self, columns: Mapping[str, Column]) -> dict[str, Any]:
        """Columns with choices as lists of their values; numbers stay arrays."""
        return {
            d.name: [d.values[i] for i in columns[d.name].tolist()]
            if isinstance(d, ChoiceDimension)
            else columns[d.name]
            for d in self.dimensions
        }

    def rows(self, columns: Mapping[str, Column]) -> list[dict[str, Any]]:
        """One mapping per row, in plain Python values."""
        names = self.names
        decoded = self.decode(columns)
        lists = [v if isinstance(v, list) else v.tolist() for v in decoded.values()]
        return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]

    def to_plain(self) -> list[dict[str, Any]]:
        """For msgpack."""
        return [dimension.to_plain() for dimension in self.dimensions]

    @classmethod
    def from_plain(cls, plain: Sequence[Mapping[str, Any]]) -> SearchSpace:
        """From `to_plain`; KeyError or ValueError when it is not of that form."""
        return cls(tuple(_dimension(item) for item in plain))


def _dimension(plain: Mapping[str, Any]) -> Dimension:
    kind, name = plain["type"], plain["name"]
    if kind == "float":
        return FloatDimension(name, plain["low"], plain["high"], plain["log"], plain["step"])
    if kind == "int":
        return IntDimension(name, plain["low"], plain["high"], plain["log"], plain["step"])
    if kind == "choice":
        return ChoiceDimension(name, tuple(plain["values"]))
    raise ValueError(f"unknown type of dimension {kind!r}")
