"""What a suggestion costs, in results that are ordered and pairs of points that are compared, grows little with what is known.

Counted, not timed: about the same on every machine. A pair costs a few numbers for each parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner, default_schedule
from arbd.search.models import gaussian_process
from arbd.search.plan import NonAdaptivePlan, PlannedRows
from arbd.search.problem import MetricGoal
from arbd.search.samplers import adaptive, bayesian, built_in, cmaes, nsga2, tpe
from arbd.search.space import FloatDimension, IntDimension, SearchSpace
from arbd.search.trial_history import TrialResults
from tests.search.test_guided import spec_of

SPACE = SearchSpace((*(FloatDimension(f"x{i}", 0.0, 1.0) for i in range(4)), IntDimension("k", 1, 100, log=True)))
# Pairs of points, and results put in order, for one suggestion, whatever is known: half again of what is needed today.
CEILINGS = {"bayesian": 190_000, "tpe": 15_500, "cmaes": 100, "nsga2": 100, "successive_halving": 15_500}
CASES = [
    (method, metrics)
    for method in built_in(learns=True)
    if (declared := adaptive(method)) is not None
    for metrics in range(1, (declared.max_metrics or 3) + 1)
]


def learned(planner: GenerationPlanner, rows: PlannedRows, first: int, metrics: int) -> None:
    x = SPACE.to_unit(rows.columns)
    columns = {f"m{at}": ((x - 0.2 * (at + 1)) ** 2).sum(axis=1) for at in range(metrics)}
    if rows.budget is not None:
        columns["budget"] = rows.budget
    n = len(rows)
    planner.learn(TrialResults(np.arange(first, first + n), np.ones(n, dtype=bool), rows.origin, rows.columns, columns))


def pairs_of_a_suggestion(method: str, metrics: int, results: int, monkeypatch: pytest.MonkeyPatch) -> float:
    size = default_schedule(method, results).size
    goals = tuple(MetricGoal(f"m{at}", "minimize") for at in range(metrics))
    first = (results // size - 1) * size + 1
    n = first + 8 * size
    spec = spec_of(method, n, space=SPACE, metrics=goals, generation_size=size)
    planner = GenerationPlanner(spec, {})
    plan = NonAdaptivePlan(spec_of("random", n, space=SPACE, generation_size=0))
    learned(planner, plan.rows(1, first - 1), 1, metrics)
    before = Generation((first - 1) // size + 1, first, plan.rows(first, size))
    # What a process computes once, when it begins, is not what the next generations cost.
    made = planner.generation(before.number + 1, [before])
    learned(planner, before.rows, before.first, metrics)
    pairs = 0

    def counted(function: Callable[..., Any], a: int, b: Callable[[Any], int]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal pairs
            pairs += len(given[a]) * b(given)
            return function(*given, **named)

        return call

    with monkeypatch.context() as patched:
        real = gaussian_process.squared_differences
        patched.setattr(gaussian_process, "squared_differences", counted(real, 0, lambda given: len(given[1])))
        step = gaussian_process._loss
        patched.setattr(gaussian_process, "_loss", counted(step, 2, lambda given: len(given[2])))
        for sampler in (bayesian, cmaes, nsga2, tpe):
            patched.setattr(sampler, "best_first", counted(sampler.best_first, 0, lambda given: 1))
        density = tpe.Kernels.log_density
        patched.setattr(tpe.Kernels, "log_density", counted(density, 1, lambda given: len(given[0].centres)))
        planner.generation(made.number + 1, [made])
    return pairs / size


@pytest.mark.parametrize(("method", "metrics"), CASES)
def test_a_suggestion_compares_no_more_points_when_ten_times_as_much_is_known(
    method: str, metrics: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [pairs_of_a_suggestion(method, metrics, results, monkeypatch) for results in (1_000, 10_000)]
    assert max(pairs) <= CEILINGS[method]
