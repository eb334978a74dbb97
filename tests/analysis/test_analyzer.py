"""The Python API over results: directions and constraints of their job, and what is asked instead."""

from __future__ import annotations

from typing import Any

import pytest

from arbd.analysis import TuningAnalyzer
from arbd.errors import UsageError
from arbd.results.result import TuningResult


def result(iteration: int, value: float, session: str = "s", **changed: Any) -> TuningResult:
    given = {"metrics": {"loss": value, "other": -value}, "timestamp": "", "directions": {"loss": "minimize"}} | changed
    return TuningResult(session, "w", iteration, {"x": iteration}, **given)


def ranked(analyzer: TuningAnalyzer, metric: str = "loss", **asked: Any) -> list[int]:
    return [found.iteration for found in analyzer.rank_by_metric(metric, **asked)]


def test_ascending_left_out_means_what_the_job_means() -> None:
    analyzer = TuningAnalyzer([result(1, 3.0), result(2, 1.0), result(3, 2.0)])
    assert ranked(analyzer) == ranked(analyzer, ascending=None) == ranked(analyzer, ascending=True) == [2, 3, 1]
    assert ranked(analyzer, ascending=False) == [1, 3, 2]
    assert ranked(analyzer, "other") == ranked(analyzer, "other", ascending=False) == [2, 3, 1]
    assert ranked(analyzer, top_n=1) == [2]
    assert ranked(analyzer, top_n=-1) == []
    assert (analyzer.get_best_params("loss"), analyzer.get_best_params("loss", False)) == ({"x": 2}, {"x": 1})


def test_without_directions_the_highest_is_best() -> None:
    analyzer = TuningAnalyzer([result(1, 3.0, directions={}), result(2, 1.0, directions={})])
    assert ranked(analyzer) == [1, 2]
    with pytest.raises(UsageError, match="no common objectives"):
        analyzer.pareto_front()


def test_without_results_there_is_no_best_and_an_empty_ranking() -> None:
    analyzer = TuningAnalyzer([])
    assert (analyzer.get_best_params("loss"), analyzer.rank_by_metric("loss"), analyzer.pareto_front()) == (
        None,
        [],
        [],
    )
    failed = TuningAnalyzer([result(1, 1.0, status="failed", metrics={})])
    assert failed.get_best_params("loss") is None
    with pytest.raises(UsageError, match="no completed result has a metric 'loss'; metrics are: none"):
        failed.rank_by_metric("loss")


def test_what_breaks_a_constraint_or_is_no_number_is_never_the_best() -> None:
    analyzer = TuningAnalyzer([result(1, 1.0, violation=0.1), result(2, float("nan"))])
    assert ranked(analyzer) == [1, 2]
    assert analyzer.get_best_params("loss") is None
    with pytest.raises(UsageError, match="no completed result has a metric 'nothing'; metrics are: loss, other"):
        analyzer.get_best_params("nothing")


def test_jobs_that_mean_opposite_directions_rank_only_by_what_is_asked() -> None:
    analyzer = TuningAnalyzer([result(1, 3.0), result(2, 1.0, "t", directions={"loss": "maximize"})])
    for asked in (lambda: analyzer.rank_by_metric("loss"), lambda: analyzer.get_best_params("loss")):
        with pytest.raises(UsageError, match="opposite directions of 'loss': say which with ascending"):
            asked()
    assert ranked(analyzer, ascending=True) == [2, 1]
    assert ranked(analyzer, "other") == [2, 1]
    with pytest.raises(UsageError, match="no common objectives"):
        analyzer.pareto_front()


def test_results_of_several_sessions_of_one_kind_rank_together_by_session() -> None:
    analyzer = TuningAnalyzer([result(2, 1.0, "t"), result(9, 1.0, "s"), result(1, 2.0, "s")])
    assert [(r.session_id, r.iteration) for r in analyzer.rank_by_metric("loss")] == [("s", 9), ("t", 2), ("s", 1)]
    assert [goal.name for goal in analyzer.objectives()] == ["loss"]
