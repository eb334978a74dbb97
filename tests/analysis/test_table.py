"""A session as a table: only the columns that a question is about are read, and constraints, budgets and repeats count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arbd.analysis.comparison import compare_sessions
from arbd.analysis.report.page import write_report
from arbd.analysis.table import LoadedRows, ResultTable, load_table
from arbd.errors import DamageWarning
from arbd.results.columns import RowBatch, RowRules
from arbd.results.compaction import compact
from arbd.results.store_format import read_segments
from arbd.search.problem import MetricGoal
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import FAILED
from tests.conftest import Arbctl
from tests.spool.hostile_results import put, read_index
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

FILES = Files()
GOALS = (MetricGoal("value", "maximize"), MetricGoal("risk", "minimize"))


def finish(paths: SessionPaths, n: int, *batches: RowBatch, counts: tuple[int, int, int, int] | None = None) -> None:
    write_rows(paths, "a", *batches)
    exhaust(paths, n, counts or (n, 0, 0, 0))
    compact(FILES, paths)


def damage(paths: SessionPaths, *names: str) -> None:
    """Change a byte in a column of the first group."""
    data = bytearray(paths.results.read_bytes())
    for name in names:
        data[read_index(bytes(data))[0]["groups"][0]["at"][name][1] + 12] ^= 1
    put(paths.results, bytes(data))


def searched(layout: SpoolLayout, name: str = "s") -> SessionPaths:
    """Ten rows with everything that a adaptive search can leave in them."""
    paths = make_session(
        layout, 10, name, metrics=GOALS, constraints=("risk <= 0.8", "kind != 'up' or x > 0"), fixed={},
        method="successive_halving",
    )  # fmt: skip
    good = rows_of(1, 8)
    good = replace(
        good,
        metrics={
            "value": np.array([5.0, 9.0, 7.0, np.nan, np.nan, 3.0, 8.0, 6.0]),
            "risk": np.array([0.5, 0.9, 0.7, 0.1, np.nan, 0.2, 0.6, 0.4]),
            "budget": np.array([1.0, 1.0, 1.0, 1.0, np.nan, 1.0, 0.5, 1.0]),
        },
        origin=np.array([0, 0, 0, 0, -1, 0, 0, 0]),
    )
    finish(paths, 10, good, rows_of(9, 2, status=FAILED), counts=(8, 2, 0, 0))
    return paths


def as_loaded(layout: SpoolLayout, paths: SessionPaths, table: ResultTable) -> ResultTable:
    """The same session, of its segments."""
    groups = list(read_segments(layout.files(), paths, rules=RowRules.of(table.spec)))
    return replace(table, source=LoadedRows(groups))


def test_ranking_reads_the_metric_and_nothing_else(layout: SpoolLayout) -> None:
    paths = make_session(layout, 30)
    finish(paths, 30, rows_of(1, 30))
    damage(paths, "p:x", "p:kind", "duration_s", "ended_ns", "epoch", "iteration", "worker")
    table = load_table(layout.root, "s")
    assert table.rank("value", 3, ascending=False) == [29, 28, 27]
    assert (table.counts()["completed"], table.worker_counts(), table.duplicates) == (30, {"a": 30}, 0)
    with pytest.warns(DamageWarning, match="damaged; .*the rows come from the segments"):
        assert [result.iteration for result in table.results([0])] == [1]


def test_constraints_read_the_columns_that_they_speak_of(layout: SpoolLayout) -> None:
    paths = make_session(layout, 30, constraints=("value < 20 + 0 * x",))
    finish(paths, 30, rows_of(1, 30))
    damage(paths, "p:kind", "duration_s")
    table = load_table(layout.root, "s")
    assert table.rank("value", 3, ascending=False) == [18, 17, 16]
    assert (~table.ranking.feasible).sum() == 11


def test_broken_constraints_part_budgets_and_what_was_not_run_rank_last_stored_or_not(layout: SpoolLayout) -> None:
    paths = searched(layout)
    stored = load_table(layout.root, "s")
    loaded = as_loaded(layout, paths, stored)
    for table in (stored, loaded):
        assert table.counts() == {"completed": 7, "failed": 2, "timeout": 0, "crashed": 0, "infeasible": 1}
        assert table.rank("value", 10, ascending=False) == [2, 7, 0, 5, 6, 1, 3]
        assert table.ranking.front().positions == (2, 7, 5)
        assert np.flatnonzero(table.ranking.comparable("value")).tolist() == [0, 2, 5, 7]
        assert [result.status for result in table.results([4, 8, 0])] == ["infeasible", "failed", "completed"]
    assert stored.ranking.front() == loaded.ranking.front()
    assert list(map(repr, stored.results(range(10)))) == list(map(repr, loaded.results(range(10))))


def test_a_metric_that_happens_to_be_called_budget_is_no_share_of_the_data(layout: SpoolLayout) -> None:
    paths = make_session(layout, 5)
    rows = rows_of(1, 5)
    finish(paths, 5, replace(rows, metrics={**rows.metrics, "budget": np.array([9.0, 1.0, 0.5, 0.1, 3.0])}))
    table = load_table(layout.root, "s")
    assert table.rank("value", 5, ascending=False) == [4, 3, 2, 1, 0]
    assert table.ranking.comparable("value").all()


def test_summary_best_compare_and_report_agree_about_the_best(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    searched(layout)
    searched(layout, "other")
    summary = json.loads(arbctl("summary", "s", "--metric", "value", "--json")[1])
    assert (summary["ranking"][0]["iteration"], summary["breaking_constraints"]) == (3, 1)
    assert json.loads(arbctl("best", "s", "--metric", "value", "--format", "json")[1])["x"] == 0.003
    _, _, documents, _ = compare_sessions(layout.root, ["s", "other"], "value", ascending=False)
    assert [document["best_iteration"] for document in documents] == [3, 3]
    write_report(layout.root, "s", tmp_path / "s.html", "value", ascending=False)
    data = json.loads((tmp_path / "s.html").read_text().partition('id="data">')[2].partition("</script>")[0])
    assert data["ranking"][0]["iteration"] == 3
    assert data["figures"]["best"]["values"][-1] == 7.0
    assert data["statuses"]["infeasible"] == 1


def test_a_session_whose_every_result_breaks_a_constraint_has_no_best(arbctl: Arbctl, layout: SpoolLayout) -> None:
    for name in ("s", "t"):
        finish(make_session(layout, 5, name, constraints=("value < 0",)), 5, rows_of(1, 5))
    code, _, err = arbctl("best", "s")
    assert (code, "every result breaks a constraint" in err) == (3, True)
    assert arbctl("compare", "s", "t", "--json")[0] == 0
    assert json.loads(arbctl("compare", "s", "t", "--json")[1])["sessions"][0]["best"] is None


def test_a_session_without_rows_is_an_empty_table(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    make_session(layout, 5, constraints=("value < 0",), metrics=GOALS)
    table = load_table(layout.root, "s")
    assert (len(table), table.results([]), table.ranking.front().positions) == (0, [], ())
    for form in ("csv", "jsonl", "parquet"):
        assert arbctl("export", "s", "--format", form, "--output", tmp_path / form)[0] == 0
    assert arbctl("summary", "s")[0] == 0
    assert arbctl("report", "s", "--output", tmp_path / "s.html")[0] == 0


def test_a_volume_that_is_infinite_or_too_much_is_said_to_be_left_out(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goals = tuple(MetricGoal(name, "maximize") for name in ("one", "two", "three", "four"))
    values = np.random.default_rng(1).random((4, 20))
    for name, first in (("finite", 0.5), ("infinite", np.inf)):
        values[0, 0] = first
        columns = {goal.name: column.copy() for goal, column in zip(goals, values, strict=True)}
        finish(make_session(layout, 20, name, metrics=goals), 20, replace(rows_of(1, 20), metrics=columns))
    assert "hypervolume left out: a result is infinite" in arbctl("summary", "infinite")[1]
    assert load_table(layout.root, "finite").ranking.front().hypervolume > 0
    assert (
        json.loads(arbctl("best", "infinite", "--format", "json")[1])["hypervolume_left_out"] == "a result is infinite"
    )
    monkeypatch.setattr("arbd.search.pareto.MOST_POINTS", {})
    monkeypatch.setattr("arbd.search.pareto.MOST_POINTS_BEYOND", 1)
    assert "are too many for an exact one" in arbctl("summary", "finite")[1]
    monkeypatch.setattr("arbd.search.pareto.hypervolume", None)
    assert arbctl("export", "finite", "--format", "csv", "--output", tmp_path / "finite.csv")[0] == 0
