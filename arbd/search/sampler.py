"""What a search method is: two kinds of samplers, and the declaration in which a method says what it needs.

A method is one file with one declaration, `METHOD`; whatever else of arbd has to know of it is a field of that.
Non-adaptive methods: the parameters of an iteration follow from its number and the seed. Adaptive ones suggest a
generation of iterations at once, from the results of earlier ones.

Keeps I5: `rows` of a range is the slice of the whole, on every host, and takes a constant amount of memory;
`suggest` is a function of its arguments, whoever calls it, however often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Protocol

from arbd.arrays import Floats, Mask
from arbd.search.history import History
from arbd.search.options import Option
from arbd.search.problem import SearchProblem
from arbd.search.schedule import GenerationSizes
from arbd.search.space import Columns, SearchSpace, Unit, Value
from arbd.values import dataclass

BY_THE_SEARCH = GenerationSizes()
# Where a rule looks at the results of a fixed plan. It learns nothing, so small ones would only be more files.
OF_A_PLAN = GenerationSizes(usual=4)
# A model of all results is worth more than its time while they are few; later they outweigh what it adds.
MOST_MODELLED = 2_000
Allowed = Callable[[Unit], Mask]


class Sampler(Protocol):
    """Parameters by iteration number."""

    def rows(self, first: int, count: int) -> Columns:
        """Columns of iterations `first` to `first + count - 1`, numbered from 1."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Points of the unit cube, one per row, and the budget of each (None: all of the data)."""

    points: Unit
    budget: Floats | None = None


class AdaptiveSampler(Protocol):
    """Points by generation. An instance may remember what it computed, but never what it was asked before."""

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """`count` points; `allowed` says of points whether they may be proposed, and the best effort is made."""
        ...


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a non-adaptive sampler is made from: the space, the seed, how many iterations are its own, and options."""

    space: SearchSpace
    seed: int
    n: int
    grid_points: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanSize:
    """How many points a plan has that ends by itself, and what is worth a notice about them."""

    points: int
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    """What both kinds declare.

    `summary`: one line for people. `libraries`: distributions whose versions decide what is suggested, to the bit.
    `fields`: fields of `tuning` that it reads and other methods do not. `options`: what it reads of `tuning.options`.
    `max_iterations`: where it ends.
    """

    summary: str
    libraries: tuple[str, ...] = ("numpy",)
    fields: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    generation: GenerationSizes = BY_THE_SEARCH
    max_iterations: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMethod(_Method):
    """A non-adaptive method. `size`: of a plan that ends by itself, from the space and the points per dimension.

    `distinct`: no point of the plan stands twice. `prefix`: the points of a shorter session are the first of a longer one's,
    so that a session can be extended.
    """

    make: Callable[[PlanRequest], Sampler]
    generation: GenerationSizes = OF_A_PLAN
    size: Callable[[SearchSpace, Mapping[str, int]], PlanSize] | None = None
    distinct: bool = False
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Suits:
    """The searches that `method: auto` gives to a method: of so many iterations, ends included; of any number of metrics."""

    fewest: int = 1
    most: int | None = None

    def has(self, iterations: int) -> bool:
        """Whether a search of so many is one of them."""
        return self.fewest <= iterations and (self.most is None or iterations <= self.most)

    def __str__(self) -> str:
        """For people."""
        if self.most is not None:
            return f"at most {self.most:,} iterations"
        return f"more than {self.fewest - 1:,} iterations"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveMethod(_Method):
    """A method that learns. `make` also imports what computes: linear algebra that is loaded by then gets one thread.

    Several threads add up in another order than one. `max_metrics`: how many it optimises at most (None: any number).

    `start`: iterations that fill the space evenly before it suggests any, where the search is long enough; None for a
    method that has points of its own to start with. `budgets`: for one that gives iterations different budgets, these
    from the smallest to 1, given `min_budget`. `revision` grows when the same results lead to other suggestions than
    before; it is recorded with each session. `suits`: for which searches `auto` is this one; None for none.
    """

    make: Callable[[SearchProblem], AdaptiveSampler]
    max_metrics: int | None = None
    start: int | None = 0
    budgets: Callable[[float], Floats] | None = None
    revision: int = 1
    suits: Suits | None = None
