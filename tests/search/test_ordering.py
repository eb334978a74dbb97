"""The order of results is that of its definition, whatever is undefined, infinite, equal, broken or cheap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.arrays import Floats
from arbd.search import ordering
from arbd.search.ordering import Tier

NUMBERS = [-math.inf, -1.0, -0.0, 0.0, 0.5, 1.0, math.inf, math.nan]


@dataclass(frozen=True)
class Given:
    losses: Floats
    violation: Floats | None
    budget: Floats | None


@st.composite
def results(draw: st.DrawFn, objectives: int = 1) -> Given:
    n = draw(st.integers(0, 14))

    def column(values: list[float]) -> Floats:
        return np.array(draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)), dtype=np.float64)

    losses = np.array([column(NUMBERS) for _ in range(objectives)]).T.reshape(n, objectives)
    return Given(
        losses[:, 0] if objectives == 1 else losses,
        column([0.0, 0.0, 0.5, 2.0, math.inf]) if draw(st.booleans()) else None,
        column([1 / 9, 1 / 3, 1.0]) if draw(st.booleans()) else None,
    )


def expected_order(given_: Given) -> list[int]:
    def key(i: int) -> tuple[float, ...]:
        loss = float(given_.losses[i])
        violation = 0.0 if given_.violation is None else float(given_.violation[i])
        budget = 1.0 if given_.budget is None else float(given_.budget[i])
        if math.isnan(loss):
            return (2, -budget, 0.0, 0.0, i)
        return (1, -budget, violation, loss, i) if violation > 0 else (0, -budget, 0.0, loss, i)

    return sorted(range(len(given_.losses)), key=key)


@given(results(), st.integers(-1, 16))
@settings(max_examples=400, deadline=None)
def test_results_come_by_tier_budget_violation_loss_and_place(found: Given, top_n: int) -> None:
    expected = expected_order(found)
    assert ordering.best_first(found.losses, found.violation, found.budget).tolist() == expected
    some = ordering.best_first(found.losses, found.violation, found.budget, top_n)
    assert some.tolist() == expected[: max(0, top_n)]


@given(results())
@settings(max_examples=200, deadline=None)
def test_the_first_is_comparable_and_so_are_those_that_may_equal_it(found: Given) -> None:
    order = ordering.best_first(found.losses, found.violation, found.budget).tolist()
    mask = ordering.comparable(found.losses, found.violation, found.budget)
    count = int(mask.sum())
    assert sorted(order[:count]) == np.flatnonzero(mask).tolist()
    if count:
        assert (ordering.tiers(found.losses, found.violation)[order[:count]] == Tier.FEASIBLE).all()


@given(results(objectives=2))
@settings(max_examples=200, deadline=None)
def test_a_front_is_of_what_is_comparable_and_first_in_the_order(found: Given) -> None:
    front = np.flatnonzero(ordering.front(found.losses, found.violation, found.budget)).tolist()
    able = np.flatnonzero(ordering.comparable(found.losses, found.violation, found.budget)).tolist()
    points = found.losses
    assert front == [
        i for i in able if not any((points[j] <= points[i]).all() and (points[j] < points[i]).any() for j in able)
    ]


@given(results(objectives=2))
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_several_objectives_come_by_front_before_what_breaks_and_what_is_undefined(found: Given) -> None:
    finite = Given(np.where(np.isinf(found.losses), 3.0, found.losses), found.violation, None)
    order = ordering.best_first(finite.losses, finite.violation)
    tier = ordering.tiers(finite.losses, finite.violation)[order]
    assert (np.diff(tier) >= 0).all()
    fronts = int(ordering.front(finite.losses, finite.violation).sum())
    assert ordering.front(finite.losses, finite.violation)[order[:fronts]].all()


def test_within_a_front_the_least_crowded_come_first() -> None:
    losses = np.array([[0.0, 10.0], [4.9, 5.1], [4.95, 5.05], [7.0, 3.0], [10.0, 0.0], [9.0, 9.0]])
    assert ordering.best_first(losses).tolist() == [0, 4, 3, 1, 2, 5]


@pytest.mark.parametrize("wanted", [0, 1, 5, 100, 3000])
def test_the_best_few_of_many_are_those_of_sorting_all(wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "SAMPLE_ROWS", 50)
    rng = np.random.default_rng(wanted)
    losses = np.round(rng.normal(size=2_000), 1)
    losses[rng.random(2_000) < 0.3] = np.nan
    assert ordering.best_first(losses, top_n=wanted).tolist() == np.argsort(losses, kind="stable")[:wanted].tolist()


@given(results())
@settings(deadline=None)
def test_improvements_are_the_strictly_better_ones(found: Given) -> None:
    best, expected = math.inf, []
    for i, loss in enumerate(found.losses.tolist()):
        if not math.isnan(loss) and (loss < best or not expected):
            best = loss
            expected.append(i)
    assert ordering.improvements(found.losses).tolist() == expected
    assert ordering.improvements(found.losses[:, None]).tolist() == expected


@given(results(objectives=3))
@settings(max_examples=100, deadline=None)
def test_with_several_objectives_an_equal_or_dominated_point_improves_nothing(found: Given) -> None:
    expected: list[int] = []
    for i, point in enumerate(found.losses):
        if not np.isnan(point).any() and not any((found.losses[j] <= point).all() for j in expected):
            expected.append(i)
    assert ordering.improvements(found.losses).tolist() == expected


def test_where_nothing_counts_the_largest_budget_is_that_of_all() -> None:
    budget = np.array([0.1, math.nan, 0.5])
    assert ordering.largest_budget(budget, np.array([True, False, False])) == 0.1
    assert ordering.largest_budget(budget, np.zeros(3, dtype=bool)) == 0.5
    assert ordering.largest_budget(np.empty(0), np.zeros(0, dtype=bool)) == -math.inf


@given(st.lists(st.floats(-5, 5) | st.just(float("nan")), max_size=30), st.floats(0.01, 3))
def test_an_improvement_of_more_than_min_delta_is_one_over_the_last_that_counted(
    losses: list[float], min_delta: float
) -> None:
    expected, last = [], np.inf
    for position, loss in enumerate(losses):
        if loss < last - min_delta:
            expected.append(position)
            last = loss
    assert ordering.improvements(np.array(losses), min_delta).tolist() == expected
