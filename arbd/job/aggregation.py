"""What the metrics of an iteration are made of where one evaluation is not enough: repeats, and robust metrics.

A row of a session holds what the objective returned, or its mean, under the objective's own names, and what is made of
it under names of their own. The search and the ranking go by these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from arbd.search.neighbourhood import most_neighbours
from arbd.search.problem import MetricGoal
from arbd.search.space import SearchSpace
from arbd.values import dataclass

BLOCKS, MARKETS, NEIGHBOURHOOD = "blocks", "markets", "neighbourhood"
# What the values that are aggregated are of, as it stands in the name of a robust metric.
UNITS = {BLOCKS: "block", MARKETS: "market", NEIGHBOURHOOD: "neighbour"}
# Which share of the values is worse than the robust metric, or as bad.
SHARES = {"median": 0.5, "worst": 0.0}
QUANTILE = "quantile"
STANDARD_ERROR = "_se"
# By default blocks are joined to so many groups: of more, most of a rare strategy's are without a trade.
DEFAULT_GROUPS = 8
# Percents below this power of ten stand in a name with their exponent.
SMALLEST_SHOWN = -6


@dataclass(frozen=True, slots=True)
class RobustRule:
    """A metric is the quantile of its values `over` something, counted from the worst; `q` of 0.5 is their median.

    `use` is what its author calls it. `groups` is how many groups neighbouring return blocks are joined to.
    """

    over: str
    use: str
    q: float
    groups: int = 0

    @property
    def suffix(self) -> str:
        """What follows the name of a metric in that of its robust one: other rules make other metrics, with other names."""
        share = f"_{_percent(self.q)}" if self.use == QUANTILE else ""
        groups = f"_of_{self.groups}" if self.over == BLOCKS and self.groups != DEFAULT_GROUPS else ""
        return f"_{self.use}{share}_{UNITS[self.over]}{groups}"

    def robust(self, goal: MetricGoal) -> MetricGoal:
        """The goal that takes the place of another one."""
        return replace(goal, name=goal.name + self.suffix)

    def raw(self, goal: MetricGoal) -> MetricGoal:
        """The goal that it took the place of."""
        return replace(goal, name=goal.name.removesuffix(self.suffix))

    def to_plain(self) -> dict[str, Any]:
        """For msgpack and JSON."""
        return {"over": self.over, "use": self.use, "q": self.q, "groups": self.groups}


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How often an iteration evaluates its parameters, and what its metrics are made of; by default nothing of that."""

    repeats: int = 1
    robust: RobustRule | None = None

    @property
    def is_plain(self) -> bool:
        """True where an iteration is one evaluation, and its metrics are what that returned."""
        return self.repeats == 1 and self.robust is None

    @property
    def is_several(self) -> bool:
        """True where an iteration is more than one evaluation."""
        return self.repeats > 1 or self.over in (MARKETS, NEIGHBOURHOOD)

    @property
    def over(self) -> str:
        """Over what metrics are aggregated; '' where they are not."""
        return "" if self.robust is None else self.robust.over

    def raw(self, goals: Sequence[MetricGoal]) -> tuple[MetricGoal, ...]:
        """The metrics that the objective returns, of those that are optimised."""
        return tuple(goals) if self.robust is None else tuple(map(self.robust.raw, goals))

    def added(self, goals: Sequence[MetricGoal]) -> tuple[str, ...]:
        """The names of metrics that stand beside those that the objective returns, of the goals that are optimised."""
        errors = [goal.name + STANDARD_ERROR for goal in self.raw(goals)] if self.repeats > 1 else []
        return (*errors, *(goal.name for goal in goals if self.robust is not None))

    def evaluations(self, space: SearchSpace, markets: int, *, one_pass: bool) -> int:
        """The most evaluations of one iteration.

        `markets` are those of the job; with `one_pass` they are evaluated apart and together at once.
        """
        apart = 1 + markets if self.over == MARKETS and not one_pass else 1
        return self.repeats * apart * (1 + most_neighbours(space) if self.over == NEIGHBOURHOOD else 1)

    def to_plain(self) -> dict[str, Any]:
        """For msgpack and JSON; nothing of what is not used, so that such a job reads the same to every worker."""
        repeats = {"repeats": self.repeats} if self.repeats > 1 else {}
        return repeats | ({"robust": self.robust.to_plain()} if self.robust is not None else {})


def _percent(q: float) -> str:
    """As it stands in a name: 0.25 is 25, 0.125 is 12p5; another one of each number."""
    percent = Decimal(repr(q)).scaleb(2).normalize()
    text = f"{percent:f}" if percent.adjusted() >= SMALLEST_SHOWN else f"{percent:e}"
    return text.replace(".", "p").replace("-", "m")


ONE_EVALUATION = Aggregation()
