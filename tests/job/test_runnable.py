"""A fixed plan of which nothing may run is refused, and any other runs something."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import JobError
from arbd.job import runnable
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.search.plan import RUN, NonAdaptivePlan
from arbd.search.samplers import built_in, planned

PLANS = built_in(learns=False)


def resolved(method: str, constraint: str, n: int = 4, more: str = "") -> JobSpec:
    count = f"  max_iterations: {n}\n" if planned(method).size is None else f"  grid_points: {n}\n"
    text = (
        f"objective: {{python: 'm:f'}}\nmetric: value\ntuning:\n  method: {method}\n{count}"
        f"  constraints: ['{constraint}']\n{more}"
        "  search_space: {x: {type: float, bounds: [0, 1]}, y: {type: float, bounds: [0, 1]}}\n"
    )
    return resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path("/nowhere")])


def test_a_grid_that_has_no_point_where_random_points_may_run_is_refused() -> None:
    with pytest.raises(JobError, match="none of the 9 points of the grid keeps the constraints .* loosen them"):
        resolved("grid", "x > 0.6 and x < 0.7", 3)


def test_a_point_that_the_job_names_is_enough() -> None:
    assert resolved("grid", "x > 0.6 and x < 0.7", 3, "  enqueue: [{x: 0.65, y: 0.5}]\n").n == 10


def test_where_not_all_points_were_looked_at_it_is_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runnable, "MOST_LOOKED_AT", 5)
    notice = "none of the first 5 of the 9 points of the grid keeps the constraints between parameters"
    assert notice in resolved("grid", "x > 0.6", 3).notices


@pytest.mark.parametrize("method", PLANS)
@given(low=st.floats(0.0, 1.1), width=st.sampled_from([0.001, 0.05, 0.5]), n=st.integers(1, 6))
@settings(max_examples=12, deadline=None)
def test_a_job_is_refused_or_something_of_it_runs(method: str, low: float, width: float, n: int) -> None:
    constraint = f"x > {low} and x < {low + width}"
    try:
        spec = resolved(method, constraint, n)
    except JobError as error:
        assert "keeps the constraints between parameters" in str(error)
        return
    assert (NonAdaptivePlan(spec).rows(1, spec.n).origin == RUN).any()
