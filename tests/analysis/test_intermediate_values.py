"""The figure of intermediate values: which iterations it shows, how much of each, stored or still in segments."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arbd
from arbd.analysis.report.content import figure_values
from arbd.analysis.report.curves import BEST_LINES, LINE_POINTS, LINES, intermediate_values, own_values
from arbd.analysis.table import load_table
from arbd.errors import NotFoundError
from arbd.page.sessions import recorded_row
from arbd.results.columns import RowBatch
from arbd.results.compaction import compact
from arbd.results.result import TuningResult
from arbd.search.plan import PRUNED, RUN
from arbd.search.problem import MetricGoal
from arbd.search.pruning import MAX_REPORTS, PruneRules
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

STORED = pytest.mark.parametrize("stored", [True, False])


def reported(n: int, steps: int, *, pruned_every: int = 3) -> RowBatch:
    """Rows that told so many values each; every third was pruned half way."""
    rows = rows_of(1, n)
    origin = np.where(rows.iteration % pruned_every == 0, PRUNED, RUN)
    ends = {int(i): steps // 2 if i % pruned_every == 0 else steps for i in rows.iteration}
    reports = {i: [(step, i + step / steps) for step in range(1, end + 1)] for i, end in ends.items() if end}
    metrics = {"value": np.where(origin == PRUNED, np.nan, rows.metrics["value"])}
    errors = {int(i): "pruned at step 2" for i in rows.iteration[origin == PRUNED]}
    return replace(rows, origin=origin, reports=reports, metrics=metrics, errors=errors)


def session(layout: SpoolLayout, rows: RowBatch, *, stored: bool, **more: Any) -> str:
    paths = make_session(layout, len(rows), "told", prune=PruneRules(), generation_size=4, **more)
    write_rows(paths, "host-a", rows)
    if stored:
        exhaust(paths, len(rows))
        compact(Files(), paths)
    return "told"


@STORED
@pytest.mark.parametrize("n", [3, 40, 900])
def test_the_best_the_pruned_and_others_are_drawn_each_as_it_was_told(
    layout: SpoolLayout, n: int, stored: bool
) -> None:
    table = load_table(layout.root, session(layout, reported(n, 8), stored=stored))
    found = intermediate_values(table)
    assert found is not None
    kinds = {line["iteration"]: line["kind"] for line in found["lines"]}
    completed = [i for i in range(1, n + 1) if i % 3]
    assert found["winner"] == completed[-1] == found["lines"][0]["iteration"]
    assert [i for i, kind in kinds.items() if kind == "best"] == completed[::-1][:BEST_LINES]
    assert {i % 3 for i, kind in kinds.items() if kind == "pruned"} == {0}
    assert found["pruned"] == n // 3
    assert sum(kind == "pruned" for kind in kinds.values()) == min(LINES, n // 3)
    assert sum(kind != "pruned" for kind in kinds.values()) <= LINES + BEST_LINES
    for line in found["lines"]:
        last = 4 if line["kind"] == "pruned" else 8
        assert line["steps"] == list(range(1, last + 1))
        assert line["values"] == [line["iteration"] + step / 8 for step in line["steps"]]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-3, 400), st.floats(allow_nan=True, allow_infinity=True)), max_size=200))
def test_whatever_an_iteration_told_its_line_begins_and_ends_with_it_and_is_short(
    told: list[tuple[int, float]],
) -> None:
    line = own_values(TuningResult("s", "w", 1, {}, {}, "", reports=told))
    if not told:
        assert line is None
        return
    assert line is not None
    steps = sorted({step for step, _ in told})
    assert (line["steps"][0], line["steps"][-1], line["of"]) == (steps[0], steps[-1], len(steps))
    assert len(line["steps"]) == len(line["values"]) <= LINE_POINTS
    assert line["steps"] == sorted(set(line["steps"]))
    first = next(value for step, value in told if step == steps[0])
    assert line["values"][0] == first or (math.isnan(first) and math.isnan(line["values"][0]))


@STORED
def test_sessions_that_told_nothing_have_no_such_figure(layout: SpoolLayout, stored: bool) -> None:
    name = session(layout, replace(rows_of(1, 12), reports={}), stored=stored)
    drawn = figure_values(load_table(layout.root, name), "value")
    assert drawn is not None and drawn["intermediate"] is None
    with pytest.raises(NotFoundError, match=r"trial\.report\(step, value\)"):
        arbd.Session(layout.root, name).plot.intermediate_values()


@STORED
def test_the_chart_in_python_has_the_lines_of_the_report(layout: SpoolLayout, stored: bool) -> None:
    objects = pytest.importorskip("plotly.graph_objects")
    chart = arbd.Session(layout.root, session(layout, reported(30, 8), stored=stored)).plot.intermediate_values()
    assert isinstance(chart, objects.Figure)
    assert [trace.name for trace in chart.data] == ["completed", "pruned", "the best"]
    best = chart.data[2]
    assert list(best.x)[:-1] == list(range(1, 9)) and list(best.y)[:-1] == [29 + step / 8 for step in range(1, 9)]
    assert math.isnan(best.y[-1])


def test_values_of_several_metrics_are_of_the_first_whatever_is_looked_at(layout: SpoolLayout) -> None:
    goals = (MetricGoal("value", "minimize"), MetricGoal("risk", "maximize"))
    rows = reported(20, 8)
    rows = replace(rows, metrics={**rows.metrics, "risk": rows.iteration * 1.0})
    table = load_table(layout.root, session(layout, rows, stored=True, metrics=goals))
    by_metric = [figure_values(table, metric) for metric in ("value", "risk")]
    first, other = [drawn["intermediate"] for drawn in by_metric if drawn is not None]
    assert first == other
    assert (first["metric"], first["ascending"], first["winner"]) == ("value", True, 1)


def test_the_page_of_an_iteration_has_its_own_values(layout: SpoolLayout) -> None:
    name = session(layout, reported(12, 2 * MAX_REPORTS, pruned_every=5), stored=True)
    whole, pruned = recorded_row(layout, name, 1), recorded_row(layout, name, 5)
    assert (whole["reports"]["kind"], len(whole["reports"]["steps"])) == ("completed", LINE_POINTS)
    assert (pruned["reports"]["kind"], pruned["status"], pruned["metrics"]) == ("pruned", "pruned", {})
    assert pruned["reports"]["of"] == MAX_REPORTS


def test_the_report_file_has_them(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Any) -> None:
    output = tmp_path / "r.html"
    assert arbctl("report", session(layout, reported(12, 8), stored=True), "--output", output)[0] == 0
    page = output.read_text()
    assert re.search(r'"intermediate": \{"metric": "value", "ascending": false, "winner": 11, "pruned": 4', page)
