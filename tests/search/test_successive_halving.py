"""Brackets of successive halving: where new sets begin, and with which others they compete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.search.in_process import Search
from arbd.search.plan import RUN
from arbd.search.problem import MetricGoal
from arbd.search.samplers.successive_halving import bracket_odds, rungs
from arbd.search.space import FloatDimension, SearchSpace

SHARES = rungs(1 / 9)
Objective = Callable[[float, float], float]


def spec_of(brackets: int | None, n: int = 160, **changed: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "objective": ObjectiveSpec("python", ("m:f",)),
        "space": SearchSpace((FloatDimension("x", 0.0, 1.0), FloatDimension("y", 0.0, 1.0))),
        "seed": 3,
        "metrics": (MetricGoal("loss", "minimize"),),
        "generation_size": 4,
        "options": {} if brackets is None else {"brackets": brackets},
    }
    return JobSpec(method="successive_halving", n=n, **(fields | changed))


def truth(x: float, budget: float) -> float:
    return (x - 0.3) ** 2 + 0.01 * (1 - budget)


def misleading(x: float, budget: float) -> float:
    """With the least of the data the worst sets look best."""
    return truth(x, budget) if budget > 0.2 else -truth(x, budget)


def played(spec: JobSpec, objective: Objective = truth) -> list[tuple[tuple[float, ...], float, float]]:
    """Point, budget and loss of each iteration that was run."""
    search, found = Search(spec), []
    for iteration in range(1, spec.n + 1):
        row = search.row(iteration)
        assert row is not None
        params = spec.space.rows(row.columns)[0]
        assert row.budget is not None
        budget = float(row.budget[0])
        loss = objective(float(params["x"]), budget)
        search.tell(iteration, {"loss": loss})
        if int(row.origin[0]) == RUN:
            found.append((tuple(params.values()), budget, loss))
    return found


def began(rows: list[tuple[tuple[float, ...], float, float]]) -> dict[tuple[float, ...], float]:
    """The budget that each set was first evaluated with."""
    first: dict[tuple[float, ...], float] = {}
    for point, budget, _ in rows:
        first.setdefault(tuple(np.round(point, 9)), budget)
    return first


@pytest.mark.parametrize("brackets", [1, 2, 3, 9])
def test_each_bracket_costs_about_as_much_of_the_data(brackets: int) -> None:
    odds = bracket_odds(len(SHARES), brackets)
    assert len(odds) == min(brackets, len(SHARES))
    assert odds.sum() == pytest.approx(1)
    # Each rung of a bracket sees as much as the one on which it begins.
    cost = [share * odd * (len(SHARES) - rung) for rung, (share, odd) in enumerate(zip(SHARES, odds, strict=False))]
    assert cost == pytest.approx([cost[0]] * len(odds))


@pytest.mark.parametrize("brackets", [1, 2, 3])
def test_new_sets_begin_on_as_many_rungs_as_there_are_brackets(brackets: int) -> None:
    rows = played(spec_of(brackets))
    counts = Counter(np.searchsorted(SHARES, budget - 1e-9) for budget in began(rows).values())
    assert sorted(counts) == list(range(brackets))
    share = {rung: count / sum(counts.values()) for rung, count in counts.items()}
    assert [share[rung] for rung in range(brackets)] == pytest.approx(bracket_odds(len(SHARES), brackets), abs=0.12)
    assert any(budget == 1.0 for _, budget, _ in rows)
    assert rows == played(spec_of(brackets)), "nothing but the job and the results decides"


def test_one_bracket_is_what_a_job_without_brackets_has() -> None:
    assert played(spec_of(1)) == played(spec_of(None))


def test_a_set_competes_with_those_alone_that_began_where_it_did() -> None:
    rows = played(spec_of(2), misleading)
    first = began(rows)
    rose = {tuple(np.round(point, 9)) for point, budget, _ in rows if budget == 1.0}
    of_lowest = [point for point in rose if first[point] == SHARES[0]]
    of_next = [point for point in rose if first[point] == SHARES[1]]
    assert len(of_next) >= 4
    # Who began on the lowest share was chosen by what misleads; who began above it was not.
    distance = {
        name: np.median([abs(p[0] - 0.3) for p in points]) for name, points in (("low", of_lowest), ("next", of_next))
    }
    assert distance["next"] < distance["low"]


def test_brackets_find_what_the_smallest_share_hides() -> None:
    best = {b: min(loss for _, budget, loss in played(spec_of(b), misleading) if budget == 1.0) for b in (1, 2)}
    assert best[2] <= best[1]


def test_new_sets_of_every_bracket_keep_the_constraints_between_parameters() -> None:
    spec = spec_of(3, 80, constraints=("x + y < 0.7",))
    assert all(point[0] + point[1] < 0.7 for point, _, _ in played(spec))
    search = Search(spec)
    first = [search.row(iteration) for iteration in range(1, 5)]
    assert all(row is not None and int(row.origin[0]) == RUN for row in first)
