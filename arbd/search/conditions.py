"""Parameters that exist only where others have certain values: which of them a point has.

A column has a number in every row all the same, the same one wherever its parameter does not exist, so that two points
that differ in nothing that exists are equal. What exists follows from the columns alone, and is stored nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from arbd.arrays import Mask, np, npt
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.search.dimensions import Value


class CircleError(ValueError):
    """Parameters that exist only where they exist themselves; `name` is one of them."""

    def __init__(self, circle: Sequence[str]) -> None:
        super().__init__(f"conditions go round in a circle: {' needs '.join(circle)}")
        self.name = circle[0]


@dataclass(frozen=True, slots=True)
class Condition:
    """`name` exists only where `parent` exists and has one of `values`."""

    name: str
    parent: str
    values: tuple[Value, ...]


class HasValues(Protocol):
    """A dimension that others depend on."""

    def column(self, values: Sequence[Value]) -> npt.NDArray[Any]:
        """Plain values as a column has them."""
        ...


def activity(
    conditions: Sequence[Condition], dimensions: Mapping[str, HasValues], columns: Mapping[str, npt.NDArray[Any]]
) -> dict[str, Mask]:
    """In which rows each parameter with conditions exists, of those whose parents' columns are given."""
    by_name: dict[str, list[Condition]] = {}
    for condition in conditions:
        by_name.setdefault(condition.name, []).append(condition)
    found: dict[str, Mask] = {}
    for name in in_order(conditions):
        mask: Mask | None = None
        for condition in by_name[name]:
            if condition.parent not in columns or (condition.parent in by_name and condition.parent not in found):
                break
            held = np.isin(columns[condition.parent], dimensions[condition.parent].column(condition.values))
            held = held & found[condition.parent] if condition.parent in found else held
            mask = held if mask is None else mask & held
        else:
            assert mask is not None
            found[name] = mask
    return found


def in_order(conditions: Sequence[Condition]) -> list[str]:
    """Parameters with conditions, each behind those that it depends on. CircleError when there is no such order."""
    parents: dict[str, list[str]] = {}
    for condition in conditions:
        parents.setdefault(condition.name, []).append(condition.parent)
    done: dict[str, bool] = {}
    order: list[str] = []
    for start in parents:
        path = [start]
        while path:
            name = path[-1]
            done.setdefault(name, False)
            waits = next((p for p in parents[name] if p in parents and not done.get(p, False)), None)
            if waits is None:
                path.pop()
                if not done[name]:
                    done[name] = True
                    order.append(name)
            elif waits in path:
                raise CircleError([*path[path.index(waits) :], waits])
            else:
                path.append(waits)
    return order


def ancestors(conditions: Sequence[Condition], names: frozenset[str]) -> frozenset[str]:
    """`names`, and all that decide whether these exist."""
    found = set(names)
    while more := {c.parent for c in conditions if c.name in found} - found:
        found |= more
    return frozenset(found)
