"""What a parameter can vary over: the kinds of dimensions, and how numbers in [0, 1) become their values.

Keeps I5: every mapping here is elementwise, so a range of iterations alone gives what it gives within the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from arbd.arrays import Array, Floats, np
from arbd.search.logarithms import exp, log
from arbd.values import dataclass

# None is what a job calls null: no limit, nothing of that kind.
Value = float | int | str | bool | None
Column = Array
Unit = Floats
# From here on not every integer is a float, and beyond these not every power of ten.
EXACT = 2.0**53
MOST_DECIMALS = 22
# The largest number in [0, 1).
BELOW_ONE = math.nextafter(1.0, 0.0)


def _decimals(number: float) -> int:
    """How many decimals a number is written with."""
    exponent = Decimal(repr(number)).normalize().as_tuple().exponent
    return max(0, -int(exponent))


@dataclass(frozen=True, slots=True)
class FloatDimension:
    """A real number in [low, high]; uniform, log-uniform, or on the points low, low + step, ... up to high."""

    kind: ClassVar[str] = "float"
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

    def column(self, values: Sequence[Value]) -> Column:
        """Plain values as a column; ValueError for one that the dimension does not have.

        A value that is a step but for the last digits of its float becomes that step.
        """
        numbers = np.array([_member(self.name, value, self.low, self.high) for value in values], dtype=np.float64)
        if self.step is None:
            return numbers
        steps = self.at_level(np.rint((numbers - self.low) / self.step))
        off = np.flatnonzero(np.abs(numbers - steps) > 1e-9 * self.step + 1e-15 * np.abs(numbers))
        if len(off):
            raise ValueError(
                f"{self.name}: {numbers[off[0]]:g} is not one of the steps of {self.step:g} from {self.low:g}; "
                f"the nearest is {steps[off[0]]:g}"
            )
        return steps

    def to_unit(self, values: Column) -> Unit:
        """Where values lie in [0, 1]: the inverse of `from_unit`, the middle of its share for a value on a grid."""
        if self.step is not None:
            return (np.rint((values - self.low) / self.step) + 0.5) / (self.levels or 1)
        if self.high == self.low:
            return np.full(len(values), 0.5)
        if self.log:
            return (np.log(values) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (values - self.low) / (self.high - self.low)

    def at_level(self, level: Column) -> Column:
        """Values at positions on the step grid, as they are written: 0.05 + 7 x 0.01 is 0.12."""
        step = self.step or 0.0
        values = self.low + level.astype(np.float64) * step
        decimals = max(_decimals(step), _decimals(self.low))
        # Those written with more digits than a float has, such as a third, have nothing to be rounded to.
        if decimals <= MOST_DECIMALS and max(abs(self.low), abs(self.high)) * 10.0**decimals < EXACT:
            values = np.round(values, decimals)
        return np.clip(values, self.low, self.high)

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


@dataclass(frozen=True, slots=True)
class IntDimension:
    """An integer in [low, high], both included; uniform, log-uniform, or every `step`-th."""

    kind: ClassVar[str] = "int"
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
        """Values for numbers in [0, 1); with `log`, each integer has the share of its logarithmic width."""
        if self.log:
            low, high = log(self.low - 0.5), log(self.high + 0.5)
            values = np.rint(exp(low + u * (high - low))).astype(np.int64)
            return np.clip(values, self.low, self.high)
        return self.low + self.step * _level(u, self.levels)

    def column(self, values: Sequence[Value]) -> Column:
        """Plain values as a column; ValueError for one that the dimension does not have."""
        numbers = [_member(self.name, value, self.low, self.high) for value in values]
        for number in numbers:
            if number != int(number) or (int(number) - self.low) % self.step:
                raise ValueError(f"{self.name}: {number:g} is not a multiple of the step from {self.low}")
        return np.array(numbers, dtype=np.float64).astype(np.int64)

    def to_unit(self, values: Column) -> Unit:
        """Where values lie in [0, 1]: the middle of each one's share."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return (np.log(values) - low) / (high - low)
        return ((values - self.low) / self.step + 0.5) / self.levels

    def grid(self, points: int) -> Column:
        """Up to `points` values spread evenly (in the logarithm when `log`), both ends included, each once."""
        if not self.log:
            return self.low + self.step * _spread(self.levels, points)
        if points == 1:
            return np.array([round(math.sqrt(self.low * self.high))], dtype=np.int64)
        values = exp(np.linspace(log(self.low), log(self.high), points))
        return np.unique(np.clip(np.rint(values).astype(np.int64), self.low, self.high))


@dataclass(frozen=True, slots=True)
class ChoiceDimension:
    """One of `values`; columns hold positions in that list."""

    kind: ClassVar[str] = "choice"
    name: str
    values: tuple[Value, ...]

    @property
    def levels(self) -> int:
        """How many values there are."""
        return len(self.values)

    def from_unit(self, u: Unit) -> Column:
        """Positions for numbers in [0, 1)."""
        return _level(u, self.levels)

    def column(self, values: Sequence[Value]) -> Column:
        """Positions of plain values; ValueError for one that is no choice."""
        places = {(type(value), value): index for index, value in enumerate(self.values)}
        try:
            return np.array([places[type(value), value] for value in values], dtype=np.int64)
        except KeyError as error:
            named = [_as_in_a_job(value) for value in (error.args[0][1], *self.values)]
            raise ValueError(f"{self.name}: {named[0]} is not one of {', '.join(named[1:])}") from error

    def to_unit(self, values: Column) -> Unit:
        """The middle of each position's share."""
        return (values + 0.5) / self.levels

    def grid(self, points: int) -> Column:
        """All positions: a choice has no order in which some could be left out."""
        del points
        return np.arange(self.levels, dtype=np.int64)


Dimension = FloatDimension | IntDimension | ChoiceDimension


def _member(name: str, value: Value, low: float, high: float) -> float:
    if value is None or isinstance(value, str | bool) or not low <= value <= high:
        raise ValueError(f"{name}: {value!r} is not in [{low:g}, {high:g}]")
    return float(value)


def _level(u: Unit, levels: int) -> Column:
    return np.minimum((u * levels).astype(np.int64), levels - 1)


def _spread(levels: int, points: int) -> Column:
    """`points` of the positions 0 to levels - 1, spread evenly, ends included, each once."""
    if points == 1:
        return np.array([(levels - 1) // 2], dtype=np.int64)
    return np.unique(np.rint(np.linspace(0, levels - 1, points)).astype(np.int64))


def _as_in_a_job(value: Value) -> str:
    return "null" if value is None else repr(value)
