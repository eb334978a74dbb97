"""A generation: where its points come from, what it knows of earlier ones, and what of it need not or may not run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner, TrialHistory, method_start
from arbd.search.plan import INFEASIBLE, RUN, NonAdaptivePlan, PlannedRows
from arbd.search.problem import MetricGoal, StopRules, WarmStart
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace
from arbd.search.trial_history import TrialResults
from tests.search.test_guided import SPACE, spec_of

SMALL = SearchSpace((IntDimension("k", 1, 4), ChoiceDimension("flag", (False, True))))
LINE = SearchSpace((FloatDimension("x", 0.0, 1.0),))


def rows_at(space: SearchSpace, *points: dict[str, Any], origin: list[int] | None = None) -> PlannedRows:
    return PlannedRows(space.encode(list(points)), np.array(origin or [RUN] * len(points), dtype=np.int64))


def learn(
    history: TrialHistory | GenerationPlanner, first: int, rows: PlannedRows, losses: list[float], **more: list[float]
) -> None:
    """Results of `rows` from iteration `first` on; those without a number did not complete."""
    found = np.array(losses)
    n = len(rows)
    metrics = {"loss": found, **{name: np.array(column) for name, column in more.items()}}
    history.learn(TrialResults(np.arange(first, first + n), ~np.isnan(found), rows.origin, rows.columns, metrics))


def random_rows(n: int, first: int = 1) -> PlannedRows:
    return NonAdaptivePlan(spec_of("random", 500, generation_size=0)).rows(first, n)


def begun(known: int, **changed: Any) -> GenerationPlanner:
    """A search of generations of four that knows the results of so many iterations, and whose lag is one."""
    spec = spec_of("tpe", 80, **({"generation_size": 4, "generation_lag": 1} | changed))
    planner = GenerationPlanner(spec, {"lib": "1"})
    rows = random_rows(known)
    learn(planner, 1, rows, list(np.linspace(3.0, 1.0, known)))
    return planner


def test_what_is_not_known_is_missing_up_to_where_a_generation_looks() -> None:
    planner = GenerationPlanner(spec_of("tpe", 80, generation_size=4, generation_lag=2), {})
    assert planner.missing(1) == planner.missing(2) == []
    assert planner.missing(3) == [1, 2, 3, 4]
    rows = random_rows(8)
    learn(planner, 2, rows.select(slice(0, 2)), [1.0, 2.0])
    assert planner.missing(3) == [1, 4]
    assert planner.missing(4) == [1, 4, 5, 6, 7, 8]
    assert planner.trial_history.missing(0) == []
    assert [list(planner.pending(number)) for number in (1, 2, 3)] == [[], [1], [2]]


def test_rows_are_those_that_were_learnt_the_later_instead_of_the_earlier() -> None:
    history = TrialHistory(spec_of("tpe", 20, space=SMALL, generation_size=4))
    learn(history, 1, rows_at(SMALL, {"k": 1, "flag": True}, {"k": 2, "flag": False}), [1.0, 2.0])
    learn(history, 2, rows_at(SMALL, {"k": 3, "flag": True}, {"k": 4, "flag": True}, origin=[RUN, 1]), [5.0, math.nan])
    rows = history.rows(3)
    assert SMALL.rows(rows.columns) == [{"k": 1, "flag": True}, {"k": 3, "flag": True}, {"k": 4, "flag": True}]
    assert (rows.origin.tolist(), rows.budget is not None and rows.budget.tolist()) == ([RUN, RUN, 1], [1.0, 1.0, 1.0])
    assert len(history.rows(2)) == 2


def test_a_loss_is_the_metric_that_is_to_fall_of_what_completed_and_a_duplicates_that_of_its_original() -> None:
    goals = (MetricGoal("loss", "minimize"), MetricGoal("gain", "maximize"))
    history = TrialHistory(spec_of("nsga2", 20, space=SMALL, metrics=goals, generation_size=10))
    points = [{"k": k, "flag": False} for k in (1, 2, 3, 4, 1, 2)]
    rows = rows_at(SMALL, *points, origin=[RUN, RUN, INFEASIBLE, RUN, 1, 2])
    learn(history, 1, rows, [1.0, math.nan, 3.0, math.inf, 9.0, 9.0], gain=[5.0, 6.0, 7.0, 8.0, 9.0, 9.0])
    losses, violation = history.results(6)
    nothing = [math.nan, math.nan]
    assert np.array_equal(
        losses, [[1.0, -5.0], nothing, nothing, [math.inf, -8.0], [1.0, -5.0], nothing], equal_nan=True
    )
    assert violation.tolist() == [0.0] * 6
    assert [part.shape for part in history.results(0)] == [(0, 2), (0,)]


def test_a_violation_is_by_how_much_metrics_break_a_constraint() -> None:
    history = TrialHistory(spec_of("tpe", 20, space=SMALL, constraints=("risk <= k", "k < 4"), generation_size=4))
    assert history.metric_names == ("loss", "risk")
    rows = rows_at(SMALL, *({"k": k, "flag": False} for k in (1, 2, 3)), origin=[RUN, RUN, 1])
    learn(history, 1, rows, [1.0, 2.0, 3.0], risk=[2.0, 2.0, 0.0])
    # The third has the metrics of the first, beside its own parameters.
    assert history.results(3)[1].tolist() == [0.5, 0.0, 0.0]


def test_what_is_known_from_elsewhere_comes_first_and_what_is_pending_is_apart() -> None:
    past = WarmStart("s", ({"x": 0.25}, {"x": 0.5}), ((7.0,), (8.0,)), (0.0, 0.5), (1.0, 0.25))
    spec = spec_of("tpe", 20, space=LINE, past=past, metrics=(MetricGoal("loss", "maximize"),), generation_size=4)
    history = TrialHistory(spec)
    learn(history, 1, rows_at(LINE, {"x": 1.0}), [2.0])
    found = history.history(1, rows_at(LINE, {"x": 0.75}))
    assert found.points[:, 0].tolist() == pytest.approx([0.25, 0.5, 1.0], abs=1e-9)
    assert found.losses[:, 0].tolist() == [-7.0, -8.0, -2.0]
    assert found.violation.tolist() == [0.0, 0.5, 0.0]
    assert found.budget.tolist() == [1.0, 0.25, 1.0]
    assert (found.pending[:, 0].tolist(), found.pending_budget.tolist()) == ([0.75], [1.0])
    alone = history.history(0, None)
    assert (len(alone), len(alone.pending), alone.pending.shape[1]) == (2, 0, 1)
    assert len(history.history(1, rows_at(LINE, {"x": 0.5}).select(slice(0, 0))).pending) == 0


@pytest.mark.parametrize(("known", "stops"), [(3, False), (4, True), (5, True)])
def test_a_search_stops_when_all_that_is_known_reaches_its_target(known: int, stops: bool) -> None:
    history = TrialHistory(spec_of("tpe", 20, space=LINE, stop=StopRules(target=1.0), generation_size=4))
    learn(history, 1, rows_at(LINE, *({"x": x / 10} for x in range(5))), [5.0, 4.0, math.nan, 1.0, 0.5])
    assert bool(history.stop_reason(known)) == stops
    assert history.stop_reason(0) == ""


def test_what_breaks_a_constraint_or_used_less_of_the_data_reaches_no_target() -> None:
    spec = spec_of("tpe", 20, space=LINE, stop=StopRules(target=1.0), constraints=("risk <= 1",), generation_size=4)
    history = TrialHistory(spec)
    learn(history, 1, rows_at(LINE, {"x": 0.1}, {"x": 0.2}), [0.5, 0.5], risk=[2.0, 1.0])
    assert history.stop_reason(1) == ""
    assert history.stop_reason(2) != ""
    halving = TrialHistory(spec_of("successive_halving", 20, space=LINE, stop=StopRules(target=1.0), generation_size=4))
    learn(halving, 1, rows_at(LINE, {"x": 0.1}, {"x": 0.2}), [0.5, 0.5], budget=[0.5, 1.0])
    assert halving.stop_reason(1) == ""
    assert halving.stop_reason(2) != ""


def test_a_generation_that_stops_the_search_has_no_rows_and_the_reason() -> None:
    planner = begun(8, stop=StopRules(target=1.5))
    made = planner.generation(3, [])
    assert (len(made.rows), bool(made.stop), made.first, made.number) == (0, True, 9, 3)
    assert planner.generation(2, []).stop == ""


def test_generations_follow_each_other_and_the_last_is_what_is_left() -> None:
    planner = GenerationPlanner(spec_of("tpe", 14, generation_size=4, generation_lag=1), {})
    learn(planner, 1, random_rows(12), [1.0] * 12)
    made = [planner.generation(number, []) for number in (1, 2, 3, 4)]
    assert [(one.number, one.first, len(one.rows), one.stop) for one in made] == [
        (1, 1, 4, ""), (2, 5, 4, ""), (3, 9, 4, ""), (4, 13, 2, ""),
    ]  # fmt: skip


def test_a_generation_of_a_fixed_plan_is_its_part_of_the_plan() -> None:
    spec = spec_of("random", 30, generation_size=8)
    planner = GenerationPlanner(spec, {})
    learn(planner, 1, random_rows(16), [1.0] * 16)
    made = planner.generation(3, [])
    whole = NonAdaptivePlan(spec).rows(17, 8)
    assert (made.first, SPACE.rows(made.rows.columns)) == (17, SPACE.rows(whole.columns))


@pytest.mark.parametrize(("n", "size", "lag", "first"), [
    (80, 4, 1, 8),  # TPE begins with eight points
    (80, 1, 1, 8),
        (80, 3, 1, 9),  # whole generations
    (80, 4, 5, 20),  # nothing is known before
    (16, 4, 1, 4),  # a quarter of a short search
    (20, 4, 1, 8),
])  # fmt: skip
def test_so_many_iterations_fill_the_space_before_the_method_suggests(n: int, size: int, lag: int, first: int) -> None:
    spec = spec_of("tpe", n, generation_size=size, generation_lag=lag)
    assert method_start(spec) == 8
    planner = GenerationPlanner(spec, {})
    even = planner._space_filling().rows(1, n)
    learn(planner, 1, random_rows(n), list(np.linspace(2.0, 1.0, n)))
    at = [number for number in range(1, spec.generations + 1) if _is_even(planner, number, even)]
    assert at == list(range(1, first // size + 1))


def _is_even(planner: GenerationPlanner, number: int, even: Any) -> bool:
    size = planner.schedule.size
    start = (number - 1) * size
    pending = [
        Generation(other, (other - 1) * size + 1, _part(even, (other - 1) * size, size), "", {}, planner.schedule)
        for other in planner.pending(number)
    ]
    found = planner.generation(number, pending).rows.columns
    return bool(np.array_equal(found["x"], even["x"][start : start + size]))


def _part(columns: Any, start: int, count: int) -> PlannedRows:
    part = {name: column[start : start + count] for name, column in columns.items()}
    return PlannedRows(part, np.zeros(len(part["x"]), dtype=np.int64))


def test_points_of_the_job_stand_first_and_what_they_leave_open_is_filled() -> None:
    queued = ({"x": 0.5, "k": 7, "kind": "b"}, {"x": 1.5}, {"k": 9}, {"x": 1.0, "k": 3, "kind": "c"}, {"kind": "a"})
    planner = begun(0, enqueue=queued)
    first = planner.generation(1, [])
    learn(planner, 1, first.rows, [1.0] * 4)
    second = planner.generation(2, [])
    rows = [*SPACE.rows(first.rows.columns), *SPACE.rows(second.rows.columns)]
    for asked, row in zip(queued, rows, strict=False):
        assert asked.items() <= row.items()
    even = SPACE.rows(planner._space_filling().rows(1, 8))
    assert rows[1] == {**even[1], "x": 1.5}
    assert rows[4]["x"] == even[4]["x"]
    # The rest of the second generation is as if no point had been asked for.
    assert [row["x"] for row in rows[5:]] == [row["x"] for row in even[5:8]]


def test_a_point_that_stood_is_a_duplicate_where_no_other_can_be_found_and_else_another() -> None:
    spec = spec_of("tpe", 40, space=SMALL, generation_size=8, generation_lag=1)
    planner = GenerationPlanner(spec, {})
    every = [{"k": k, "flag": flag} for k in (1, 2, 3, 4) for flag in (False, True)]
    learn(planner, 1, rows_at(SMALL, *every), [1.0] * 8)
    made = planner.generation(2, [])
    points = SMALL.rows(made.rows.columns)
    assert [every[origin - 1] for origin in made.rows.origin.tolist()] == points
    free = GenerationPlanner(spec, {})
    learn(free, 1, rows_at(SMALL, *(every[:4] * 2), origin=[RUN] * 4 + [1, 2, 3, 4]), [1.0] * 8)
    found = free.generation(2, []).rows
    run = [point for point, origin in zip(SMALL.rows(found.columns), found.origin, strict=True) if origin == RUN]
    # The four that never stood are run, each once; the rest have results already.
    assert sorted(map(str, run)) == sorted(map(str, every[4:]))
    assert all(origin in (RUN, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15, 16) for origin in found.origin.tolist())


def test_what_is_pending_stands_too() -> None:
    spec = spec_of("tpe", 40, space=SMALL, generation_size=4, generation_lag=2)
    planner = GenerationPlanner(spec, {})
    every = [{"k": k, "flag": flag} for k in (1, 2, 3, 4) for flag in (False, True)]
    pending = Generation(1, 1, rows_at(SMALL, *every[:4]), "", {}, planner.schedule)
    made = planner.generation(2, [pending]).rows
    assert {str(point) for point in SMALL.rows(made.columns)} == {str(point) for point in every[4:]}
    assert (made.origin == RUN).all()


def test_points_of_the_job_are_run_as_they_are_though_they_stood_or_may_not_run() -> None:
    queued = ({"x": 0.2}, {"x": 0.2}, {"x": 0.9}, {"x": 0.3})
    spec = spec_of("tpe", 40, space=LINE, enqueue=queued, constraints=("x < 0.5",), generation_size=4, generation_lag=1)
    made = GenerationPlanner(spec, {}).generation(1, []).rows
    assert LINE.decode(made.columns)["x"] == pytest.approx([0.2, 0.2, 0.9, 0.3])
    assert made.origin.tolist() == [RUN, 1, INFEASIBLE, RUN]


def test_another_point_takes_the_place_of_one_that_may_not_run() -> None:
    spec = spec_of("tpe", 40, space=LINE, constraints=("x < 0.1",), generation_size=8, generation_lag=1)
    made = GenerationPlanner(spec, {}).generation(1, []).rows
    x = np.asarray(LINE.decode(made.columns)["x"])
    assert (x < 0.1).all()
    assert (len(set(x.tolist())), made.origin.tolist()) == (8, [RUN] * 8)


def test_where_all_that_may_run_stood_one_of_them_takes_the_place_of_one_that_may_not() -> None:
    spec = spec_of("tpe", 40, space=SMALL, constraints=("k <= 2",), generation_size=8, generation_lag=1)
    made = GenerationPlanner(spec, {}).generation(1, []).rows
    points = SMALL.rows(made.columns)
    assert all(point["k"] <= 2 for point in points)
    originals = {str(point) for point, origin in zip(points, made.origin.tolist(), strict=True) if origin == RUN}
    assert originals == {str({"k": k, "flag": flag}) for k in (1, 2) for flag in (False, True)}
    assert sorted(made.origin.tolist())[:4] == [RUN] * 4
    assert all(
        points[origin - 1] == point for point, origin in zip(points, made.origin.tolist(), strict=True) if origin
    )


def test_successive_halving_begins_with_its_smallest_budget() -> None:
    spec = spec_of("successive_halving", 40, space=LINE, generation_size=8, enqueue=({"x": 0.5},))
    made = GenerationPlanner(spec, {}).generation(1, []).rows
    assert made.budget is not None
    assert set(made.budget.tolist()) == {spec.budgets[0]}
    assert spec.budgets[0] < 1.0
    assert begun(0).generation(1, []).rows.budget is None


def test_a_generation_says_with_which_libraries_it_was_computed() -> None:
    made = begun(8).generation(3, [])
    assert (dict(made.versions), made.schedule.size) == ({"lib": "1"}, 4)


def test_suggestions_keep_constraints_between_parameters_and_lie_in_the_space() -> None:
    planner = begun(40, constraints=("x < 0.2",))
    made = planner.generation(11, [])
    x = np.asarray(SPACE.decode(made.rows.columns)["x"])
    assert ((x >= -1.0) & (x < 0.2)).all()
    assert planner._allowed(np.array([[0.1, 0.5, 0.5], [0.9, 0.5, 0.5]])).tolist() == [True, False]
    assert begun(0)._allowed(np.ones((2, 3))).tolist() == [True, True]


def test_results_from_elsewhere_spare_the_even_start() -> None:
    past = WarmStart(
        "s", tuple({"x": i / 40} for i in range(40)), tuple((i / 40,) for i in range(40)), (0.0,) * 40, (1.0,) * 40
    )
    spec = spec_of("tpe", 80, space=LINE, past=past, generation_size=4, generation_lag=1)
    planner = GenerationPlanner(spec, {})
    even = planner._space_filling().rows(1, 4)
    assert not np.array_equal(planner.generation(1, []).rows.columns["x"], even["x"])
    without = GenerationPlanner(spec_of("tpe", 80, space=LINE, generation_size=4, generation_lag=1), {})
    assert np.array_equal(without.generation(1, []).rows.columns["x"], even["x"])


def test_points_that_are_asked_for_are_numbered_as_they_say() -> None:
    planner = begun(20)
    rows = planner.points(21, 3, 20, None)
    assert (len(rows), rows.origin.tolist()) == (3, [RUN] * 3)
    assert len(planner.points(24, 1, 20, rows)) == 1
