"""What each iteration is to do: its parameters, its share of the data, and whether it need be run at all.

For a non-adaptive search, everything here follows from the job and the iteration's number: points to try first
come first, then those of the method; a point that breaks a constraint between parameters is not run, and one that
stood before is not run again. For a adaptive search, generations hold the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from arbd.arrays import Floats, Ints, np, npt
from arbd.search.conditions import ancestors
from arbd.search.constraints import Constraint, as_values, parse_constraint, total_violation
from arbd.search.problem import SearchProblem
from arbd.search.pruning import Thresholds
from arbd.search.refill import refilled
from arbd.search.sampler import Sampler
from arbd.search.samplers import make_sampler, planned
from arbd.search.space import ChoiceDimension, Column, Columns, FloatDimension, SearchSpace
from arbd.values import dataclass

# `origin` of an iteration: it is run, or it is not, or (a positive number) its result is that of another. No plan says
# `PRUNED`: it stands in the row of an iteration that was ended by its intermediate values.
RUN, INFEASIBLE, SKIPPED, PRUNED = 0, -1, -2, -3
# What has no result of the objective, and is no failure.
NOT_RUN_NAMES = {INFEASIBLE: "infeasible", SKIPPED: "skipped", PRUNED: "pruned"}
NOT_RUN_ERRORS = {
    INFEASIBLE: "not run: its parameters break a constraint",
    SKIPPED: "not run: its search had ended, or there was nothing more to judge",
}
# Repeated points are looked for among so many iterations, or in spaces of so many points.
MOST_REMEMBERED = 1 << 20
_BLOCK = 1 << 16

# How far from being broken a constraint is that does not concern a set, in units of the sides of one.
HOLDS = -1.0


@dataclass(frozen=True, slots=True, eq=False)
class PlannedRows:
    """Consecutive iterations. `origin` as of `RUN`, `INFEASIBLE` and `SKIPPED`; `budget` is None where all use all data."""

    columns: Columns
    origin: Ints
    budget: Floats | None = None

    def __len__(self) -> int:
        return len(self.origin)

    def select(self, index: Any) -> PlannedRows:
        """Some of the rows."""
        columns = {name: column[index] for name, column in self.columns.items()}
        return PlannedRows(columns, self.origin[index], None if self.budget is None else self.budget[index])


class Plan(Protocol):
    """What the iterations of a session are to do."""

    def rows(self, first: int, count: int) -> PlannedRows:
        """Iterations `first` to `first + count - 1`, numbered from 1."""
        ...

    def thresholds(self, iteration: int) -> Thresholds:
        """What the intermediate values of an iteration are compared with, where the job prunes."""
        ...


def join(parts: Sequence[PlannedRows]) -> PlannedRows:
    """Rows one after the other."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    budgets = [part.budget for part in parts if part.budget is not None]
    return PlannedRows(
        columns,
        np.concatenate([part.origin for part in parts]),
        np.concatenate(budgets) if len(budgets) == len(parts) else None,
    )


@dataclass(frozen=True)
class Limits:
    """A job's constraints, by when they can be looked at."""

    space: SearchSpace
    fixed: Mapping[str, Any]
    constraints: tuple[Constraint, ...]

    @classmethod
    def of(cls, spec: SearchProblem) -> Limits:
        """Those of a job."""
        return cls(spec.space, spec.fixed, tuple(parse_constraint(text) for text in spec.constraints))

    @cached_property
    def before(self) -> tuple[Constraint, ...]:
        """Those between parameters: what breaks them is not run."""
        known = {*self.space.names, *self.fixed}
        return tuple(constraint for constraint in self.constraints if constraint.names <= known)

    @cached_property
    def after(self) -> tuple[Constraint, ...]:
        """Those that speak of metrics."""
        return tuple(constraint for constraint in self.constraints if constraint not in self.before)

    @cached_property
    def names_after(self) -> frozenset[str]:
        """The parameters and metrics of `after`, and what decides whether these parameters exist."""
        names = frozenset[str]().union(*(constraint.names for constraint in self.after))
        return ancestors(self.space.conditions, names)

    def _values(self, columns: Mapping[str, Column]) -> dict[str, Any]:
        given = SearchSpace(tuple(d for d in self.space.dimensions if d.name in columns))
        return {**self.fixed, **as_values(given.decode(columns))}

    def may_run(self, columns: Mapping[str, Column], n: int) -> npt.NDArray[np.bool_]:
        """Which of n rows keep all constraints between parameters."""
        if not self.before:
            return np.ones(n, dtype=bool)
        return self._broken(self.before, columns, {}, n) <= 0

    def violation(self, columns: Mapping[str, Column], metrics: Mapping[str, Floats], n: int) -> Floats:
        """By how much each of n results breaks the constraints that speak of metrics.

        Of `columns` and `metrics` only those of `names_after` are needed.
        """
        if not self.after:
            return np.zeros(n)
        return self._broken(self.after, columns, metrics, n)

    def margins(self, columns: Mapping[str, Column], metrics: Mapping[str, Floats], n: int) -> Floats:
        """How far each of n results is from breaking each of `after`, (n, constraints): above 0 where it does; NaN unknown."""
        values, exist = {**self._values(columns), **metrics}, self.space.active(columns)
        found = np.empty((n, len(self.after)))
        for place, constraint in enumerate(self.after):
            found[:, place] = constraint.margin(values, n)
            for name in constraint.names & exist.keys():
                found[~exist[name], place] = HOLDS
        return found

    def total(self, columns: Mapping[str, Column], metrics: Mapping[str, Floats], n: int) -> Floats:
        """By how much each of n results breaks all of them."""
        return self._broken(self.constraints, columns, metrics, n)

    def _broken(
        self, constraints: tuple[Constraint, ...], columns: Mapping[str, Column], metrics: Mapping[str, Floats], n: int
    ) -> Floats:
        """The sum over constraints. One that names a parameter holds wherever that does not exist."""
        values, exist = {**self._values(columns), **metrics}, self.space.active(columns)
        if not exist:
            return total_violation(constraints, values, n)
        total = np.zeros(n)
        for constraint in constraints:
            by = constraint.violation(values, n)
            for name in constraint.names & exist.keys():
                by = np.where(exist[name], by, 0.0)
            total = total + by
        return total


class NonAdaptivePlan:
    """See the module. Repeats are known among `MOST_REMEMBERED` iterations, or in as small a space."""

    def __init__(self, spec: SearchProblem) -> None:
        self._space = spec.space
        self._n = spec.n
        self._seed, self._refill = spec.seed, spec.refill
        self._first_points = spec.enqueue
        self._distinct = planned(spec.method).distinct and not spec.enqueue
        own = max(1, spec.n - len(spec.enqueue))
        self._sampler: Sampler = make_sampler(spec.method, spec.space, spec.seed, own, spec.grid_points, spec.options)
        # What fills in what a job leaves open must have a value for whatever may exist beside it.
        self._filler = self._sampler
        if len(spec.enqueue) > own or (spec.space.conditions and spec.enqueue):
            n = max(own, len(spec.enqueue))
            self._filler = make_sampler(
                spec.method, spec.space.unconditional, spec.seed, n, spec.grid_points, spec.options
            )
        self._limits = Limits.of(spec)
        self._seen = 0
        self._table: Ints | None = None
        self._sources: Ints | None = None

    def rows(self, first: int, count: int) -> PlannedRows:
        """See `Plan`."""
        assert first + count - 1 <= self._n, f"iterations to {first + count - 1} of a plan of {self._n}"
        columns = self.columns(first, count)
        origin = self._repeats(columns, first, count)
        if self._limits.before:
            # A repeated point that may not run is not run either, whatever stands under its first number.
            origin = np.where(self._limits.may_run(columns, count), origin, INFEASIBLE)
        return PlannedRows(columns, origin)

    def thresholds(self, iteration: int) -> Thresholds:
        """See `Plan`: where iterations are compared with others, the plan is published."""
        del iteration
        return Thresholds.none()

    def columns(self, first: int, count: int) -> Columns:
        """The points alone, those to try first before those of the method."""
        k = len(self._first_points)
        if first > k:
            return self._refilled(self._space.settled(self._sampler.rows(first - k, count)), first)
        queued = self._first_points[first - 1 : first - 1 + count]
        early = enqueued_rows(self._space, queued, self._filler, first)
        rest = count - min(count, k - first + 1)
        if not rest:
            return early
        late = self._space.settled(self._sampler.rows(1, rest))
        late = self._refilled(late, k + 1)
        return {name: np.concatenate([early[name], late[name]]) for name in early}

    def _refilled(self, columns: Columns, first: int) -> Columns:
        if not self._refill or not self._limits.before:
            return columns
        return refilled(self._space, self._seed, columns, first, self._limits.may_run)

    def _repeats(self, columns: Columns, first: int, count: int) -> Ints:
        none = np.full(count, RUN, dtype=np.int64)
        size = self._space.size
        if size is None or self._distinct:
            return none
        if size <= MOST_REMEMBERED:
            table = self._first_seen(size, first + count - 1)
            sources = table[_cells(self._space, columns)]
        elif self._n <= MOST_REMEMBERED and size < 2**62:
            if self._sources is None:
                _, starts, inverse = np.unique(
                    _cells(self._space, self.columns(1, self._n)), return_index=True, return_inverse=True
                )
                self._sources = starts[inverse].astype(np.int64) + 1
            sources = self._sources[first - 1 : first - 1 + count]
        else:
            return none
        return np.where(sources < np.arange(first, first + count), sources, none)

    def _first_seen(self, size: int, up_to: int) -> Ints:
        """The first iteration at each point of the space, as far as iterations `up_to` tell."""
        if self._table is None:
            self._table = np.full(size, np.iinfo(np.int64).max)
        while self._seen < up_to:
            if int(self._table.max()) <= self._seen:
                self._seen = up_to
                break
            count = min(_BLOCK, self._n - self._seen)
            cells = _cells(self._space, self.columns(self._seen + 1, count))
            np.minimum.at(self._table, cells, np.arange(self._seen + 1, self._seen + 1 + count))
            self._seen += count
        return self._table


def enqueued_rows(space: SearchSpace, points: Sequence[Mapping[str, Any]], filler: Sampler, first: int) -> Columns:
    """Points to try first, numbered from `first`; what one leaves open comes from the row of `filler` with its number."""
    fill = space.unconditional.rows(filler.rows(first, len(points)))
    return space.encode([{**row, **point} for row, point in zip(fill, points, strict=True)])


def _cells(space: SearchSpace, columns: Columns) -> Ints:
    """Which point of a finite space each row is, as one number."""
    cell = np.zeros(len(next(iter(columns.values()))), dtype=np.int64)
    for dimension in space.dimensions:
        values = columns[dimension.name]
        if isinstance(dimension, ChoiceDimension):
            level = values
        elif isinstance(dimension, FloatDimension):
            level = np.rint((values - dimension.low) / (dimension.step or 1.0)).astype(np.int64)
        else:
            level = (values - dimension.low) // dimension.step
        cell = cell * (dimension.levels or 1) + level
    return cell
