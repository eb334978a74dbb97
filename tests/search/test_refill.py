"""A fixed plan runs another point in the place of one that may not run; the same one, whoever asks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.search.plan import INFEASIBLE, NonAdaptivePlan
from arbd.search.refill import TRIES
from tests.search.test_guided import spec_of

REFILLED = ("random", "sobol", "halton", "lhs")
TIGHT = ("x * 10 < k", "x > 0", "kind == 'b'")


@pytest.mark.parametrize("method", REFILLED)
def test_every_iteration_runs_and_keeps_the_constraints(method: str) -> None:
    spec = spec_of(method, 200, generation_size=0, constraints=TIGHT, refill=True)
    rows = NonAdaptivePlan(spec).rows(1, 200)
    assert (rows.origin != INFEASIBLE).all()
    assert all(0 < 10 * r["x"] < 10 * r["k"] and r["kind"] == "b" for r in spec.space.rows(rows.columns))
    before = NonAdaptivePlan(spec_of(method, 200, generation_size=0, constraints=TIGHT)).rows(1, 200)
    kept = before.origin != INFEASIBLE
    # What may run is what it was.
    assert kept.any()
    assert np.array_equal(rows.columns["x"][kept], before.columns["x"][kept])


@given(st.sampled_from(REFILLED), st.integers(1, 90), st.integers(1, 11), st.booleans())
def test_a_range_is_the_slice_of_the_whole(method: str, first: int, count: int, enqueued: bool) -> None:
    enqueue = ({"x": -0.5, "k": 7, "kind": "c"}, {"x": 1.5, "k": 90, "kind": "b"}) if enqueued else ()
    spec = spec_of(method, 100, generation_size=0, constraints=TIGHT, refill=True, enqueue=enqueue)
    whole, part = NonAdaptivePlan(spec).rows(1, 100), NonAdaptivePlan(spec).rows(first, count)
    for name, column in part.columns.items():
        assert np.array_equal(column, whole.columns[name][first - 1 : first - 1 + count])
    assert np.array_equal(part.origin, whole.origin[first - 1 : first - 1 + count])
    # Points that the job names are the job's to mean.
    assert (whole.origin[0] == INFEASIBLE) == enqueued


def test_where_no_point_may_run_none_does() -> None:
    spec = spec_of("random", 3, generation_size=0, constraints=("x > 5",), refill=True)
    assert (NonAdaptivePlan(spec).rows(1, 3).origin == INFEASIBLE).all()
    assert TRIES >= 1_000
