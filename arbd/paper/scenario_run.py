"""A scenario run by itself: does what it expects hold?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arbd.paper.objective import PaperObjective
from arbd.paper.scenario import Scenario
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and what came of it."""

    name: str
    expected: float | bool
    actual: float | bool
    holds: bool


@dataclass(frozen=True, slots=True)
class ScenarioReport:
    """A scenario's metrics and checks; `ok` when all hold."""

    name: str
    metrics: Mapping[str, float]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True when every expectation holds."""
        return all(check.holds for check in self.checks)


def run_scenario(scenario: Scenario, overrides: Mapping[str, Any] | None = None) -> ScenarioReport:
    """Run the scenario's markets with its risk profile, `overrides` before it, the engine's defaults behind."""
    objective = PaperObjective(scenario.markets, overrides or {}, [scenario.risk_profile] * len(scenario.markets))
    metrics, _ = objective.evaluate({})
    return ScenarioReport(
        scenario.name, metrics, tuple(_check(name, value, metrics) for name, value in scenario.expected.items())
    )


def _check(name: str, expected: float | bool, metrics: Mapping[str, float]) -> Check:
    if name == "circuit_breaker_triggered":
        tripped = metrics["circuit_breaker_active"] > 0
        return Check(name, expected, tripped, tripped == expected)
    if name == "safety_violations":
        actual = metrics["safety_violations"]
        return Check(name, expected, actual, actual == expected)
    bound, _, metric = name.partition("_")
    actual = metrics[metric]
    return Check(name, expected, actual, actual >= expected if bound == "min" else actual <= expected)
