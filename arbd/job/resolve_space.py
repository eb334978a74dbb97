"""Which parameters a job searches, over which values, and which it holds fixed.

With the paper objective these are the engine's own parameters, under the engine's names.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from arbd.errors import UsageError
from arbd.job.model import BoolParameter, ChoiceParameter, FloatParameter, IntParameter, Job
from arbd.paper import params
from arbd.search.space import (
    ChoiceDimension,
    Condition,
    Dimension,
    FloatDimension,
    IntDimension,
    SearchSpace,
    Value,
)
from arbd.values import dataclass


class Wrong(Protocol):
    """What takes notes of what is wrong."""

    def __call__(self, message: str, *path: str | int) -> None:
        """`path` is the way to the field that is to blame."""


def resolve_space(job: Job, *, paper: bool, wrong: Wrong) -> tuple[SearchSpace, dict[str, Value]]:
    """The search space, and the fixed values by name. What is wrong is left out, and told."""
    resolver = _Resolver(job, paper, wrong)
    space = resolver.searched()
    return space, resolver.held(space)


def changed_meanings(job: Job) -> list[str]:
    """What to say of settings that meant something else by the first rules of the paper engine."""
    given = {*job.fixed, *job.tuning.search_space}
    decided = {"max_quote_age_s"} if given & {"gap", "carry_over_gaps"} else set()
    return [f"{name}: {text}" for name, text in params.CHANGED.items() if name in given - decided]


def lowest(dimension: Dimension) -> float:
    """The lowest number that a dimension has."""
    if isinstance(dimension, ChoiceDimension):
        return min(float(value) for value in dimension.values if value is not None)
    return float(dimension.low)


@dataclass(frozen=True, slots=True)
class _Resolver:
    job: Job
    paper: bool
    wrong: Wrong

    def searched(self) -> SearchSpace:
        dimensions: dict[str, Dimension] = {}
        for name, given in self.job.tuning.search_space.items():
            path = ("tuning", "search_space", name)
            known = not self.paper or self._is_known(name, path)
            dimension = self._dimension(name, given, path)
            if dimension is None or not known:
                continue
            if self.paper:
                checked = self._engine_dimension(dimension, path)
                if checked is None:
                    continue
                dimension = checked
            if dimension.name in dimensions:
                self.wrong(f"{dimension.name} is searched twice, once under another name", *path)
            dimensions[dimension.name] = dimension
        return self._with_conditions(SearchSpace(tuple(dimensions.values())))

    def _with_conditions(self, space: SearchSpace) -> SearchSpace:
        """The space with what the job says of when its parameters exist; without it where something of it is wrong."""
        searched = {self._name(name): name for name in self.job.tuning.search_space}
        conditions: list[Condition] = []
        for name, given in self.job.tuning.search_space.items():
            for parent, values in given.when.items():
                found = self._condition(name, parent, list(values))
                # What is said of a parameter that is itself wrong is looked at when that is mended.
                if found is not None and (found.parent in space.names or found.parent not in searched):
                    conditions.append(found)
        whole = SearchSpace(space.dimensions, tuple(c for c in conditions if c.name in space.names))
        faults = list(whole.faults())
        for name, fault in faults:
            self.wrong(fault, "tuning", "search_space", searched[name], "when")
        return space if faults else whole

    def _condition(self, name: str, parent: str, values: list[Value]) -> Condition | None:
        """None for one that always holds, and for one that never does, which is told."""
        path, own = ("tuning", "search_space", name, "when", parent), self._name(parent)
        if self.paper:
            try:
                values = [params.check(parent, value) for value in values]
            except UsageError as error:
                self.wrong(str(error), *path)
                return None
        held = {self._name(fixed): value for fixed, value in self.job.fixed.items()}
        if own not in held:
            return Condition(self._name(name), own, tuple(values))
        if held[own] not in values:
            self.wrong(f"{own} is fixed to {held[own]!r}: {name} would never exist, leave it out", *path)
        return None

    def _name(self, given: str) -> str:
        return params.ALIASES.get(given, given) if self.paper else given

    def _is_known(self, name: str, path: tuple[str, ...]) -> bool:
        try:
            params.canonical(name)
        except UsageError as error:
            self.wrong(str(error), *path)
            return False
        return True

    def _dimension(self, name: str, given: Any, path: tuple[str, ...]) -> Dimension | None:
        if isinstance(given, BoolParameter):
            return ChoiceDimension(name, (False, True))
        if isinstance(given, ChoiceParameter):
            if any(value != value for value in given.values):  # noqa: PLR0124 - NaN
                self.wrong("nan is no value that a choice can have; null is", *path, "values")
                return None
            distinct = list(dict.fromkeys((type(v), v) for v in given.values))
            if len(distinct) < len(given.values):
                self.wrong("a value stands twice", *path, "values")
                return None
            return ChoiceDimension(name, tuple(given.values))
        assert isinstance(given, FloatParameter | IntParameter)
        low, high = given.bounds
        fault = _range_fault(given)
        if fault is not None:
            self.wrong(fault[0], *path, fault[1])
            return None
        if isinstance(given, IntParameter):
            return IntDimension(name, int(low), int(high), given.log, given.step)
        return FloatDimension(name, float(low), float(high), given.log, given.step)

    def _engine_dimension(self, dimension: Dimension, path: tuple[str, ...]) -> Dimension | None:
        """The dimension under the engine's name for it, if its values are ones that the engine takes."""
        try:
            name = params.canonical(dimension.name)
            if isinstance(dimension, ChoiceDimension):
                # By the name that was given: the values of an earlier one may have been called otherwise.
                values = tuple(params.check(dimension.name, value) for value in dimension.values)
                return ChoiceDimension(name, values)
            for bound in (dimension.low, dimension.high):
                params.check(name, bound)
        except UsageError as error:
            self.wrong(str(error), *path)
            return None
        if params.PARAMETERS[name].kind == "choice":
            self.wrong(f"{name} is a choice of {', '.join(params.PARAMETERS[name].values)}", *path, "type")
            return None
        if isinstance(dimension, IntDimension):
            return IntDimension(name, dimension.low, dimension.high, dimension.log, dimension.step)
        if params.PARAMETERS[name].kind == "int":
            self.wrong(f"{name} is an integer: type int", *path, "type")
            return None
        return FloatDimension(name, dimension.low, dimension.high, dimension.log, dimension.step)

    def held(self, space: SearchSpace) -> dict[str, Value]:
        fixed: dict[str, Value] = {}
        for name, value in self.job.fixed.items():
            try:
                key = params.canonical(name) if self.paper else name
                checked = params.check(name, value) if self.paper else value
            except UsageError as error:
                self.wrong(str(error), "fixed", name)
                continue
            if checked != checked:  # noqa: PLR0124 - NaN, which JSON does not have
                self.wrong("nan is no value that a parameter can have; null is", "fixed", name)
                continue
            if key in space.names:
                self.wrong(f"{key} is both fixed and searched: keep one", "fixed", name)
            elif key in fixed:
                self.wrong(f"{key} is fixed twice, once under another name", "fixed", name)
            fixed[key] = checked
        return fixed | self.given_up({*space.names, *fixed})

    def given_up(self, named: set[str]) -> dict[str, Value]:
        """The limits of `execution.give_up`, which the engine has as parameters."""
        limits = self.job.execution.give_up
        if limits is None:
            return {}
        if not self.paper:
            self.wrong("only runs of the paper objective can be given up", "execution", "give_up")
            return {}
        found: dict[str, Value] = {}
        for name, value in limits.model_dump(exclude_none=True).items():
            key = f"give_up_{name}"
            if key in named:
                self.wrong(f"{key} is fixed or searched as well: keep one", "execution", "give_up", name)
            found[key] = params.check(key, value)
        return found


def _range_fault(given: FloatParameter | IntParameter) -> tuple[str, str] | None:
    """What is wrong with bounds, log and step together, and which field to blame."""
    low, high = given.bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"bounds {list(given.bounds)} must be finite", "bounds"
    if low > high:
        return f"bounds are reversed: the lowest comes first, [{high}, {low}]", "bounds"
    if given.log and low <= 0:
        return f"log needs positive bounds, the lowest is {low}", "bounds"
    if given.log and given.step is not None and (given.step != 1 or isinstance(given, FloatParameter)):
        return "log and step exclude each other", "step"
    if isinstance(given, FloatParameter) and given.step is not None and given.step > high - low:
        return f"step {given.step} is larger than the range {low} to {high}", "step"
    return None
