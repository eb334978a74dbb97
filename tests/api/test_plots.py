"""Charts of a session in Python: each of the same numbers, by plotly or as SVG, and what cannot be drawn is said."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import arbd
from arbd.api import chart
from arbd.api.chart import Chart
from arbd.errors import ArbdError, NotFoundError, UsageError
from arbd.search.problem import MetricGoal
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace
from arbd.spool.layout import SpoolLayout
from tests.results.worker import work
from tests.spool.sessions import make_session

SPACE = SearchSpace((FloatDimension("x", 0.0, 1.0), FloatDimension("y", 1.0, 100.0, log=True), IntDimension("k", 1, 40), ChoiceDimension("kind", ("up", "<script>&"))))  # fmt: skip
EVERY = ("history", "slice", "contour", "parallel", "importance")


@pytest.fixture
def session(layout: SpoolLayout) -> arbd.Session:
    work(make_session(layout, 80, "plotted", space=SPACE), chunk=40)
    return arbd.Session(layout.root, "plotted")


@pytest.fixture
def no_plotly(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        chart.importlib.util, "find_spec", lambda name, *more: None if name == "plotly" else found(name, *more)
    )


@pytest.mark.parametrize("name", EVERY)
def test_each_chart_is_whole_svg_in_which_no_name_is_markup(
    session: arbd.Session, no_plotly: None, name: str, tmp_path: Path
) -> None:
    drawn: Chart = getattr(session.plot, name)()
    text = drawn.save(tmp_path / "chart.svg").read_text()
    assert drawn._repr_svg_() == text
    root = ET.fromstring(text)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "text", "g", "path", "circle", "rect"}
    assert "NaN" not in text
    assert "nan" not in text
    marks = sum(len(marks.x) for panel in drawn.panels for marks in panel.marks)
    assert marks or any(panel.cells is not None for panel in drawn.panels)


@pytest.mark.parametrize("name", EVERY)
def test_plotly_gets_the_same_values_where_it_is_installed(session: arbd.Session, name: str) -> None:
    objects = pytest.importorskip("plotly.graph_objects")
    figure = getattr(session.plot, name)()
    assert isinstance(figure, objects.Figure)
    assert "plotted" in figure.layout.title.text
    assert len(figure.data) >= 1
    if name == "history":
        assert sorted(figure.data[0].y) == sorted(session.results.columns["value"].tolist())
        assert max(figure.data[0].y) == figure.data[1].y[-1] == session.best.metrics["value"]


def test_a_front_is_drawn_of_several_metrics_alone(layout: SpoolLayout, session: arbd.Session, no_plotly: None) -> None:
    with pytest.raises(UsageError, match="optimises one metric"):
        session.plot.front()
    goals = (MetricGoal("value", "maximize"), MetricGoal("budget", "minimize"))
    work(
        make_session(
            layout,
            40,
            "two",
            space=SPACE,
            metrics=goals,
            budgets=(0.5, 1.0),
            method="successive_halving",
            generation_size=8,
        )
    )
    drawn: Chart = arbd.Session(layout.root, "two").plot.front()
    assert [marks.name for marks in drawn.panels[0].marks] == ["others", "front"]


def test_what_cannot_be_drawn_says_why(layout: SpoolLayout, session: arbd.Session) -> None:
    with pytest.raises(UsageError, match="did you mean 'value'"):
        session.plot.history("valu")
    make_session(layout, 40, "empty", space=SPACE)
    for draw in ("history", "slice", "contour", "parallel", "importance"):
        with pytest.raises(NotFoundError, match="no completed iteration to draw yet"):
            getattr(arbd.Session(layout.root, "empty").plot, draw)()
    with pytest.raises(ArbdError):
        session.plot.validation()
    one = SearchSpace((FloatDimension("x", 0.0, 1.0),))
    work(make_session(layout, 10, "one", space=one))
    with pytest.raises(NotFoundError, match="no two parameters"):
        arbd.Session(layout.root, "one").plot.contour()


def test_a_session_is_extended_from_python(layout: SpoolLayout, session: arbd.Session) -> None:
    found: Any = session.extend(20)
    assert (found.status()["state"], found.status()["iterations"]) == ("running", 100)
