"""Options that a search method declares for itself: `tuning.options` of a job, checked against them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from arbd.registry import hint
from arbd.search.space import Value
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One option. The type of `default` is its type; numbers lie in [low, high], `values` are all that a text may be."""

    name: str
    default: Value
    summary: str
    low: float = -math.inf
    high: float = math.inf
    values: tuple[str, ...] = ()

    def check(self, value: object) -> Value:
        """`value` as the option's type; ValueError that says what it can be."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or not isinstance(value, bool | int | float | str):
            raise ValueError(f"is {value!r}; it is {self.kind}")
        if isinstance(value, str) and self.values and value not in self.values:
            raise ValueError(f"is {value!r}; {hint(value, self.values)}it can be {', '.join(self.values)}")
        if isinstance(value, int | float) and not (math.isfinite(value) and self.low <= value <= self.high):
            raise ValueError(f"is {value!r}; it can be {self.low:g} to {self.high:g}")
        return value

    @property
    def kind(self) -> str:
        """What its values are, for people."""
        names = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
        return names[type(self.default)]


def resolve_options(
    declared: Sequence[Option], given: Mapping[str, object], method: str
) -> tuple[dict[str, Value], list[tuple[str, str]]]:
    """All options, in the order declared, with defaults for those left out; and faults, each with the option's name."""
    known = {option.name: option for option in declared}
    faults = list(_unknown(known, given, method))
    resolved: dict[str, Value] = {}
    for name, option in known.items():
        try:
            resolved[name] = option.check(given.get(name, option.default))
        except ValueError as error:
            faults.append((name, str(error)))
    return resolved, faults


def _unknown(known: Mapping[str, Option], given: Mapping[str, object], method: str) -> Iterator[tuple[str, str]]:
    for name in given:
        if name in known:
            continue
        which = f"its options are {', '.join(known)}" if known else "it has none"
        yield name, f"is no option of method {method}; {hint(name, known)}{which}"
