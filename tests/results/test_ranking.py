"""Rankings of results: what docs/ranking.md says, over columns and over results as values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arbd.results.ranking import Front, PlainColumns, Ranking, ResultColumns
from arbd.results.result import TuningResult
from arbd.search.problem import MetricGoal

GAIN, RISK = MetricGoal("gain", "maximize"), MetricGoal("risk", "minimize")
NAN, INF = math.nan, math.inf


def columns(**given: Any) -> PlainColumns:
    metrics = {name: np.array(values, dtype=np.float64) for name, values in given["metrics"].items()}
    n = len(next(iter(metrics.values())))
    return PlainColumns(
        np.array(given.get("completed", [True] * n)),
        *(None if given.get(name) is None else np.array(given[name]) for name in ("violation", "budget")),
        metrics,
    )


def test_the_job_says_which_end_is_best_and_whoever_asks_may_say_otherwise() -> None:
    ranking = Ranking((GAIN, RISK), columns(metrics={"gain": [1, 3, 2], "risk": [1, 3, 2], "other": [1, 3, 2]}))
    assert ranking.order("gain") == [1, 2, 0]
    assert ranking.order("risk") == [0, 2, 1]
    assert ranking.order("other") == [1, 2, 0]
    assert ranking.order("gain", ascending=True) == ranking.order("other", ascending=True) == [0, 2, 1]
    assert ranking.order("risk", ascending=False) == [1, 2, 0]
    assert [ranking.best(name) for name in ("gain", "risk", "other")] == [1, 0, 1]
    assert ranking.best("risk", ascending=False) == 1
    assert [ranking.ascending(name) for name in ("gain", "risk", "other")] == [False, True, False]
    assert (ranking.ascending("gain", asked=True), ranking.ascending("risk", asked=False)) == (True, False)


def test_what_did_not_complete_is_in_no_ranking_whatever_its_columns_hold() -> None:
    ranking = Ranking((GAIN, RISK), columns(metrics={"gain": [1, 9, 2], "risk": [1, 0, 0]}, completed=[1, 0, 1]))
    both = replace(ranking, columns=replace(ranking.columns, completed=np.array([True, False, True])))
    assert both.order("gain") == [2, 0]
    assert both.best("gain") == 2
    assert both.feasible.tolist() == [True, False, True]
    assert both.comparable("gain").tolist() == [True, False, True]
    assert both.front().positions == (2,)
    assert np.isnan(both.loss("gain")[1])
    none = replace(ranking, columns=replace(ranking.columns, completed=np.zeros(3, dtype=bool)))
    assert (none.order("gain"), none.best("gain"), none.front_order()) == ([], None, [])


def test_only_the_first_few_are_given_where_few_are_wanted() -> None:
    ranking = Ranking((GAIN,), columns(metrics={"gain": [1, 3, 2]}))
    assert [ranking.order("gain", wanted) for wanted in (0, 1, 2, 9)] == [[], [1], [1, 2], [1, 2, 0]]


def test_constraints_undefined_values_and_budgets_come_before_values() -> None:
    found = columns(
        metrics={"gain": [9, 8, NAN, 7, 6, 5, INF]},
        violation=[2.0, 1.0, 0.0, 0.0, 0.0, 0.0, INF],
        budget=[1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0],
    )
    ranking = Ranking((GAIN,), found)
    assert ranking.order("gain") == [4, 5, 3, 1, 0, 6, 2]
    assert ranking.feasible.tolist() == [False, False, True, True, True, True, False]
    assert ranking.comparable("gain").tolist() == [False, False, False, False, True, True, False]
    assert ranking.best("gain") == 4


@pytest.mark.parametrize(
    ("gain", "violation", "best"),
    [
        ([1, 2], None, 1),
        ([1, 2], [0, 1], 0),
        ([1, 2], [1, 1], None),
        ([NAN, NAN], None, None),
        ([NAN, 1], [0, 1], None),
    ],
)
def test_nothing_is_the_best_where_nothing_is_feasible_and_a_number(
    gain: list[float], violation: list[float] | None, best: int | None
) -> None:
    assert Ranking((GAIN,), columns(metrics={"gain": gain}, violation=violation)).best("gain") == best


def test_a_metric_that_nobody_has_ranks_nothing_first() -> None:
    ranking = Ranking((GAIN,), columns(metrics={"other": [1.0, 2.0]}))
    assert (ranking.order("gain"), ranking.best("gain")) == ([0, 1], None)
    assert (ranking.front_order(), ranking.front().reference) == ([], {})


def test_a_front_has_all_equal_points_by_the_first_objective_and_a_volume() -> None:
    found = columns(
        metrics={"gain": [1, 3, 3, 2, 5, 9, 2], "risk": [1, 4, 4, 2, 5, 0, 3]},
        violation=[0, 0, 0, 0, 0, 1, 0],
    )
    front = Ranking((GAIN, RISK), found).front()
    assert front.positions == (4, 1, 2, 3, 0)
    assert front.reference == {"gain": 1.0, "risk": 5.0}
    # Boxes from the corner (gain 1, risk 5): 1 x 3 of (2, 2), and 1 x 1 beyond it of (3, 4).
    assert (front.hypervolume, front.left_out) == (4.0, "")


def test_what_had_a_smaller_budget_or_lacks_an_objective_is_in_no_front() -> None:
    found = columns(metrics={"gain": [9, 1, 2], "risk": [0, 1, NAN]}, budget=[0.5, 1.0, 1.0])
    ranking = Ranking((GAIN, RISK), found)
    assert ranking.in_front.tolist() == [False, True, False]
    assert ranking.front() == Front((1,), 0.0, {"gain": 1.0, "risk": 1.0})


def test_a_volume_that_cannot_be_told_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = Ranking((GAIN, RISK), columns(metrics={"gain": [1, 2, INF], "risk": [1, 3, 2]})).front()
    assert (infinite.positions, infinite.left_out) == ((2, 0), "a result is infinite")
    # Nothing finite to measure from.
    nowhere = Ranking((GAIN, RISK), columns(metrics={"gain": [-INF], "risk": [1]})).front()
    assert nowhere.reference == {"gain": INF, "risk": 1.0}
    monkeypatch.setattr("arbd.search.pareto.MOST_POINTS", {4: 1})
    goals = (*(MetricGoal(name, "minimize") for name in "abcd"),)
    points = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [3, 3, 3, 3]], dtype=np.float64)
    many = Ranking(goals, columns(metrics={g.name: points[:, i] for i, g in enumerate(goals)})).front()
    assert many.left_out == "2 points of 4 objectives are too many for an exact one"
    assert math.isnan(many.hypervolume)


def result(iteration: int, session: str = "s", **changed: Any) -> TuningResult:
    given = {"metrics": {"gain": float(iteration)}, "timestamp": ""} | changed
    return TuningResult(session, "w", iteration, {"x": iteration}, **given)


def test_results_as_values_stand_by_session_and_iteration_in_whatever_order_they_come() -> None:
    found = ResultColumns(
        [
            result(10),
            result(9, metrics={}),
            result(2, status="failed"),
            result(3, "a"),
            result(1, metrics={"gain": 10.0}),
        ]
    )
    assert [(r.session_id, r.iteration) for r in found.results] == [("a", 3), ("s", 1), ("s", 2), ("s", 9), ("s", 10)]
    assert len(found) == 5
    assert (found.violation, found.budget) == (None, None)
    assert found.completed.tolist() == [True, True, False, True, True]
    values = found.column("gain")
    assert values is not None
    assert np.array_equal(values, [3.0, 10.0, 2.0, NAN, 10.0], equal_nan=True)
    assert found.column("nothing") is None
    assert Ranking((GAIN,), found).order("gain") == [1, 4, 0, 3]


def test_results_of_what_judges_the_winner_compete_with_none_of_the_search() -> None:
    ranking = Ranking((GAIN,), ResultColumns([result(1), result(2, phase="test"), result(3), result(9, fold=1)]))
    assert (ranking.order("gain"), ranking.best("gain")) == ([2, 0], 2)
    assert ranking.feasible.tolist() == [True, False, True, False]


def test_violations_and_budgets_of_results_count_where_any_has_one() -> None:
    found = ResultColumns([result(1, violation=0.5), result(2, budget=0.25), result(3)])
    assert found.violation is not None
    assert found.budget is not None
    assert (found.violation.tolist(), found.budget.tolist()) == ([0.5, 0.0, 0.0], [1.0, 0.25, 1.0])
    assert Ranking((GAIN,), found).order("gain") == [2, 1, 0]


def test_a_result_tells_both_names_of_what_was_renamed() -> None:
    one = result(3, duplicate_of=2, budget=0.5, violation=1.5, directions={"gain": "maximize"})
    assert (one.same_as, one.data_share, one.feasible) == (2, 0.5, False)
    assert result(1).feasible
    assert not result(1, status="failed").feasible
    plain = one.to_plain()
    assert (plain["same_as"], plain["duplicate_of"], plain["data_share"], plain["budget"]) == (2, 2, 0.5, 0.5)
    assert (plain["feasible"], plain["violation"], plain["directions"]) == (False, 1.5, {"gain": "maximize"})
