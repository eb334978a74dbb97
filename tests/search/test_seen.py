"""Points that stood before are found however they became known, and keeping them costs what is new and no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner
from arbd.search.models.evolution import Chain
from arbd.search.plan import RUN, NonAdaptivePlan, PlannedRows
from arbd.search.point_keys import TakenPoints, point_keys
from arbd.search.samplers import built_in
from arbd.search.seen import SeenPoints, keys_of
from arbd.search.trial_history import TrialResults
from tests.search.test_guided import spec_of

FEW = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, -0.0, 0.5]), st.sampled_from([1.0, 1 / 3]), st.integers(-1, 2)),
    min_size=1,
    max_size=30,
)


def rows_of(given_rows: list[tuple[int, float, float, int]]) -> PlannedRows:
    k, x, budget, origin = zip(*given_rows, strict=True)
    return PlannedRows({"k": np.array(k), "x": np.array(x)}, np.array(origin), np.array(budget))


@given(rows=FEW, ups=st.lists(st.integers(0, 30), min_size=1, max_size=6), planned=FEW)
@settings(max_examples=200, deadline=None)
def test_the_first_iteration_at_a_point_is_found_in_whatever_steps_it_became_known(
    rows: list[tuple[int, float, float, int]], ups: list[int], planned: list[tuple[int, float, float, int]]
) -> None:
    every, seen, more = rows_of(rows), SeenPoints(), rows_of(planned)
    keys, more_keys = keys_of(every.columns, every.budget), keys_of(more.columns, more.budget)
    for up in ups:
        up_to = min(up, len(rows))
        seen.begin(every.select(slice(0, up_to)), up_to)
        seen.plan(more, up_to + 1)
        for key in {*keys, *more_keys}:
            known = [i + 1 for i in range(up_to) if keys[i] == key and every.origin[i] == RUN]
            ahead = [up_to + 1 + i for i in range(len(planned)) if more_keys[i] == key and more.origin[i] == RUN]
            assert seen.of(key) == (known or ahead or [0])[0]


@given(points=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=20))
def test_rows_have_the_same_number_when_they_are_the_same_and_else_another(points: list[list[float]]) -> None:
    keys = point_keys(np.array(points)).tolist()
    for one, other in ((i, j) for i in range(len(points)) for j in range(i)):
        assert (keys[one] == keys[other]) == (points[one] == points[other])
    taken = TakenPoints.of(np.array(points[1:]).reshape(-1, 3))
    assert taken.among(np.array(points)).tolist() == [point in points[1:] for point in points]
    taken.add(np.array(points[0]))
    assert taken.among(np.array(points)).all()


def learned(planner: GenerationPlanner, rows: PlannedRows, first: int, shift: float = 0.0) -> None:
    columns = {"loss": rows.columns["k"] * 1.0 + shift}
    if rows.budget is not None:
        columns["budget"] = rows.budget
    n = len(rows)
    planner.trial_history.learn(
        TrialResults(np.arange(first, first + n), np.ones(n, dtype=bool), rows.origin, rows.columns, columns)
    )


def begun(method: str, results: int, size: int) -> tuple[GenerationPlanner, Generation]:
    """A search that knows so many results, and the generation that is pending."""
    spec = spec_of(method, results + 40 * size, generation_size=size, generation_lag=2)
    plan = NonAdaptivePlan(spec_of("random", results + 40 * size, generation_size=0))
    planner = GenerationPlanner(spec, {})
    learned(planner, plan.rows(1, results), 1)
    return planner, Generation(results // size + 1, results + 1, plan.rows(results + 1, size))


@pytest.mark.parametrize("method", built_in(learns=True))
def test_a_further_generation_looks_at_what_is_new_alone(method: str) -> None:
    looked = []
    for results in (400, 4_000):
        planner, before = begun(method, results, 8)
        made = planner.generation(before.number + 1, [before])
        learned(planner, before.rows, before.first)
        count = planner.seen.looked_at
        planner.generation(made.number + 1, [made])
        looked.append(planner.seen.looked_at - count)
    # Those that became known, and those that are pending.
    assert looked == [16, 16]


def test_cmaes_is_told_each_generation_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    tell = Chain.tell

    def noted(self: Chain, draws: Any, rows: Any, *others: Any) -> None:
        told.append(int(rows[0]) // 8)
        tell(self, draws, rows, *others)

    monkeypatch.setattr(Chain, "tell", noted)
    planner, before = begun("cmaes", 400, 8)
    for generations in range(50, 55):
        made = planner.generation(before.number + 1, [before])
        # Two strategies take turns; the one that comes first has not been told the generations of the other.
        assert sorted(told) == (list(range(1, 50, 2)) if generations == 50 else list(range(generations)))
        learned(planner, before.rows, before.first)
        before = made


@pytest.mark.parametrize("method", built_in(learns=True))
def test_what_is_remembered_of_earlier_results_is_forgotten_when_they_change(method: str) -> None:
    """`retry` and repairs give an iteration another result: a process that knew the first one suggests as a new one."""
    size, results = 4, 32
    steady, before = begun(method, results, size)
    fresh, _ = begun(method, results, size)
    made = steady.generation(before.number + 1, [before])
    again = NonAdaptivePlan(spec_of("random", results + 40 * size, generation_size=0)).rows(9, 4)
    for planner in (steady, fresh):
        learned(planner, again, 9, shift=-1_000.0)
        learned(planner, before.rows, before.first)
    assert steady.schedule.known_before(made.number + 1) == results + size
    one, other = (planner.generation(made.number + 1, [made]) for planner in (steady, fresh))
    assert one.encode() == other.encode()
