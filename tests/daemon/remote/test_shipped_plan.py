"""A plan that travels is the plan: the same rows for every set of spans."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.slots.shipped_plan import ShippedPlan
from arbd.search.plan import NonAdaptivePlan
from arbd.search.pruning import Thresholds
from arbd.spool.spans import Span
from tests.spool.sessions import spec_of

N = 60
PLAN_SPEC = spec_of(N, constraints=("x < 0.7",))
PLAN = NonAdaptivePlan(PLAN_SPEC)


@given(st.sets(st.integers(1, N), min_size=1))
def test_what_came_with_a_task_is_what_the_plan_says_of_its_iterations(numbers: set[int]) -> None:
    spans = [Span(number, 1) for number in numbers]
    shipped = ShippedPlan.decode(ShippedPlan.of(PLAN, spans).encode())
    for number in range(1, N + 1):
        if number not in numbers:
            with pytest.raises(KeyError):
                shipped.rows(number, 1)
            continue
        there, here = shipped.rows(number, 1), PLAN.rows(number, 1)
        assert there.origin.tolist() == here.origin.tolist()
        assert {name: (c.dtype, c.tolist()) for name, c in there.columns.items()} == {
            name: (c.dtype, c.tolist()) for name, c in here.columns.items()
        }


class Compared(NonAdaptivePlan):
    """A plan in generations of 7, each compared with its own thresholds."""

    def thresholds(self, iteration: int) -> Thresholds:
        """Of the iteration's generation."""
        return OF_GENERATION[(iteration - 1) // 7]


OF_GENERATION = [Thresholds(np.arange(number), np.full(number, float(number))) for number in range(N)]


@given(st.sets(st.integers(1, N), min_size=1))
def test_what_iterations_are_compared_with_comes_with_them(numbers: set[int]) -> None:
    plan, spans = Compared(PLAN_SPEC), [Span(number, 1) for number in numbers]
    shipped = ShippedPlan.decode(ShippedPlan.of(plan, spans, prunes=True).encode())
    for number in numbers:
        assert shipped.thresholds(number).to_plain() == plan.thresholds(number).to_plain()
    assert not len(ShippedPlan.decode(ShippedPlan.of(plan, spans).encode()).thresholds(min(numbers)).steps)


def test_an_objective_that_writes_into_its_columns_changes_nothing_for_the_next_look() -> None:
    shipped = ShippedPlan.decode(ShippedPlan.of(PLAN, [Span(1, 10)]).encode())
    before = shipped.rows(1, 10).columns["x"].copy()
    shipped.rows(1, 10).columns["x"][:] = 9.0
    assert np.array_equal(shipped.rows(1, 10).columns["x"], before)


def test_stretches_with_a_gap_between_them_are_not_one() -> None:
    shipped = ShippedPlan.of(PLAN, [Span(1, 3), Span(7, 3)])
    assert len(shipped.rows(7, 3)) == 3
    with pytest.raises(KeyError, match="iterations 2 to 4"):
        shipped.rows(2, 3)
