"""What a search is asked to solve: the part of a resolved job that samplers, plans and generations look at.

A `JobSpec` is one (structurally); so is whatever else carries these fields. Nothing here knows of files, hosts or money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Protocol

from arbd.search.pruning import PruneRules
from arbd.search.space import SearchSpace, Value
from arbd.values import dataclass

DEFAULT_MIN_BUDGET = 1 / 9


@dataclass(frozen=True, slots=True)
class MetricGoal:
    """A metric and whether it is to be `maximize`d or `minimize`d."""

    name: str
    direction: str

    @property
    def minimized(self) -> bool:
        """True when lower is better."""
        return self.direction == "minimize"

    @property
    def sign(self) -> float:
        """What makes a loss, of which lower is better, of the metric, and the metric of its loss."""
        return 1.0 if self.minimized else -1.0


@dataclass(frozen=True, slots=True)
class StopRules:
    """When a session ends before its last iteration.

    `max_time_s` of work; `no_improvement` iterations without a result that is better, by more than `min_delta`; the first
    metric reaches `target`.
    """

    max_time_s: float | None = None
    no_improvement: int | None = None
    target: float | None = None
    min_delta: float = 0.0

    @property
    def needs_results(self) -> bool:
        """True when a rule looks at results, which is done between generations."""
        return self.no_improvement is not None or self.target is not None

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        rules = {"max_time_s": self.max_time_s, "no_improvement": self.no_improvement, "target": self.target}
        # Left out where it is not used, so that such a job reads the same to workers that do not know of it.
        return {**rules, **({"min_delta": self.min_delta} if self.min_delta else {})}


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Results from elsewhere that a search starts from: rows of the space, values by metric (NaN: failed).

    `violation` is by how much each breaks the job's constraints, `budget` the share of the data that it used;
    in jobs of earlier versions, which did not keep them, all results keep all constraints and used everything.
    """

    source: str
    points: tuple[Mapping[str, Value], ...]
    metrics: tuple[tuple[float, ...], ...]
    violation: tuple[float, ...] = ()
    budget: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.points)
        object.__setattr__(self, "violation", self.violation or (0.0,) * n)
        object.__setattr__(self, "budget", self.budget or (1.0,) * n)
        if not len(self.metrics) == len(self.violation) == len(self.budget) == n:
            raise ValueError("earlier results of different lengths")

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        return {
            "source": self.source,
            "points": [dict(point) for point in self.points],
            "metrics": [list(row) for row in self.metrics],
            "violation": list(self.violation),
            "budget": list(self.budget),
        }


@dataclass(frozen=True, slots=True)
class EarlierResult:
    """A result that another search gave; `metrics` is empty where it failed. `budget` is its share of the data.

    `written` has the parameters as a table wrote them, where it is one: it does not tell the text "1" from the number.
    """

    params: Mapping[str, Value]
    metrics: Mapping[str, float]
    budget: float = 1.0
    written: Mapping[str, str] = field(default_factory=dict)


class SearchProblem(Protocol):
    """The fields of a job that decide which parameters its iterations get (I5: these, and recorded results, alone)."""

    @property
    def method(self) -> str:
        """The name of the sampler."""

    @property
    def space(self) -> SearchSpace:
        """The parameters that are searched."""

    @property
    def n(self) -> int:
        """The number of iterations."""

    @property
    def seed(self) -> int:
        """Where all random numbers come from."""

    @property
    def metrics(self) -> tuple[MetricGoal, ...]:
        """What is optimised, the first one first."""

    @property
    def fixed(self) -> Mapping[str, Value]:
        """Parameters that are held constant; constraints may name them."""

    @property
    def grid_points(self) -> Mapping[str, int]:
        """Points per dimension, for grid."""

    @property
    def acquisition_fn(self) -> str | None:
        """The acquisition function, for methods that have one."""

    @property
    def generation_size(self) -> int:
        """Iterations that are suggested at once; 0 for a non-adaptive search."""

    @property
    def refill(self) -> bool:
        """True when a fixed plan runs another point in the place of one that breaks a constraint between parameters."""

    @property
    def generation_lag(self) -> int:
        """Generation g depends on the results of generations up to g - lag."""

    @property
    def generations(self) -> int:
        """How many generations there are at most."""

    @property
    def constraints(self) -> tuple[str, ...]:
        """Conditions on parameters and metrics."""

    @property
    def enqueue(self) -> tuple[Mapping[str, Value], ...]:
        """Points that are tried first."""

    @property
    def past(self) -> WarmStart | None:
        """Results that the search starts from."""

    @property
    def stop(self) -> StopRules:
        """When it ends early."""

    @property
    def prune(self) -> PruneRules | None:
        """When an iteration ends early; None for never."""

    @property
    def min_budget(self) -> float:
        """The smallest share of the data that an iteration may use."""

    @property
    def budgets(self) -> tuple[float, ...]:
        """The budgets that iterations may have, from the smallest to 1; none where all use all of the data."""

    @property
    def options(self) -> Mapping[str, Value]:
        """Options that the method declares, all of them."""

    @property
    def has_shares(self) -> bool:
        """True when iterations use different shares of the data."""
