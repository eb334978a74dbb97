"""arbctl report: what the page says, that it is safe, and that a real browser shows and sorts it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.analysis.report import figures
from arbd.analysis.report.winner import traded
from arbd.analysis.table import load_table
from arbd.job.spec import ObjectiveSpec
from arbd.results.compaction import compact
from arbd.search.problem import MetricGoal
from arbd.search.space import ChoiceDimension, FloatDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.browser import (
    PHONE,
    WIDE,
    appear,
    asked_urls,
    chromium,
    complaints,
    cramped,
    is_wider_than_window,
    strays,
    violations,
)
from tests.conftest import Arbctl, brought_up
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

EVIL = "</script><script>window.hurt=1</script><img src=x onerror=window.hurt=1>{{style}}"


def session(layout: SpoolLayout, n: int = 40, name: str = "s", bad: int = 2, **more: Any) -> str:
    space = SearchSpace((FloatDimension("x", 0.0, 1.0), ChoiceDimension("kind", (EVIL, "down"))))
    goals = (MetricGoal("value", "maximize"), MetricGoal("risk", "minimize"))
    paths = make_session(layout, n, name, space=space, metrics=goals, fixed={"fee": EVIL}, **more)
    paths.job.write_text(f"# {EVIL}\n")
    good = rows_of(1, n - bad)
    spread = np.random.default_rng(1).random(len(good))
    good = replace(
        good, params={"x": spread, "kind": good.params["kind"]}, metrics={"value": spread**2 * 100 + 1, "risk": spread}
    )
    write_rows(paths, "host-a", good)
    if bad:
        failed = rows_of(n - bad + 1, bad, status=FAILED)
        write_rows(paths, "host-b", replace(failed, errors=dict.fromkeys(failed.errors, EVIL)))
    exhaust(paths, n, (n - bad, bad, 0, 0))
    compact(Files(), paths)
    return name


def content(page: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    return data


def test_nothing_untrusted_can_leave_the_data_block(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    output = tmp_path / "s.html"
    assert arbctl("report", session(layout), "--output", output)[0] == 0
    page = output.read_text()
    assert (page.count("<script"), page.count("</script>"), page.count("<style")) == (2, 2, 1)
    assert "onerror=window" in page  # as text in the data
    assert "<img" not in page
    assert content(page)["job"] == f"# {EVIL}\n"
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_the_page_holds_every_figure_and_the_ranking(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    output = tmp_path / "s.html"
    code, out, _ = arbctl("report", session(layout), "--output", output, "--json")
    assert (code, json.loads(out)["bytes"]) == (0, output.stat().st_size)
    data = content(output.read_text())
    assert (data["rows"], data["statuses"]["failed"], data["worker_iterations"]) == (40, 2, {"host-a": 38, "host-b": 2})
    assert data["failures"] == [{"status": "failed", "error": EVIL, "count": 2, "first_iteration": 39}]
    ranked = [row["metrics"]["value"] for row in data["ranking"]]
    assert (len(ranked), ranked) == (38, sorted(ranked, reverse=True))
    drawn = data["figures"]
    assert (drawn["drawn"], drawn["of"]) == (38, 38)
    assert drawn["importance"][0]["name"] == "x"
    assert drawn["importance"][0]["share"] > 0.8
    assert drawn["best"]["values"] == sorted(drawn["best"]["values"])
    assert sum(drawn["distribution"]["counts"]) == 38
    assert drawn["pareto"]["size"] == 38  # more value is always more risk
    assert [sum(worker["counts"]) for worker in data["timeline"]["workers"]] == [38, 2]


def test_a_session_without_results_and_a_wrong_metric(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    make_session(layout, 3, "empty")
    assert arbctl("report", "empty", "--output", tmp_path / "e.html")[0] == 0
    assert content((tmp_path / "e.html").read_text())["figures"] is None
    code, _, err = arbctl("report", session(layout), "--metric", "pnl", "--output", tmp_path / "no.html")
    assert (code, "metrics are: value, risk" in err) == (2, True)
    assert arbctl("report", "nowhere", "--output", tmp_path / "no.html")[0] == 3
    assert not (tmp_path / "no.html").exists()


def test_of_many_rows_the_best_are_always_drawn() -> None:
    keys = np.random.default_rng(7).random(200_000)
    chosen = figures.sample(keys)
    assert len(chosen) <= figures.POINTS
    assert set(np.argsort(keys)[: figures.BEST_POINTS].tolist()) <= set(chosen.tolist())


def test_importance_is_nil_for_what_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    columns = {"x": rng.random(5000), "y": rng.random(5000)}
    dimensions = (FloatDimension("x", 0, 1), FloatDimension("y", 0, 1))
    shares = {d["name"]: d["share"] for d in figures.importance(dimensions, columns, 3 * columns["x"])}
    assert shares["x"] > 0.99
    assert shares["y"] < 0.02


@pytest.fixture
def browser() -> Iterator[Any]:
    with brought_up(chromium()) as up:
        yield up


@pytest.mark.bed
def test_a_browser_shows_sorts_and_reports_no_error(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, browser: Any
) -> None:
    output = tmp_path / "s.html"
    arbctl("report", session(layout, 5_000), "--output", output)
    browser.get(output.as_uri())
    run = browser.execute_script
    titles = run("return [...document.querySelectorAll('main h2')].map(h => h.textContent)")
    assert titles == [
        "Best", "Optimisation history", "Intermediate values", "Slices", "Contours", "Importance", "Parallel coordinates", "Pareto front",
        "Distribution", "Failures", "Ranking", "Workers", "Job and fingerprints",
    ]  # fmt: skip
    # Something is drawn on every canvas, and every one says in words what it shows.
    blank = """return [...document.querySelectorAll('canvas')].filter(c =>
        !c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)).length"""
    assert run(blank) == 0
    labels = run("return [...document.querySelectorAll('canvas')].map(c => [c.getAttribute('role'), c.ariaLabel])")
    assert len(labels) == 10
    assert all(role == "img" and text for role, text in labels)
    assert "Drawn point by point: 3,0" in run("return document.querySelector('#history .note').textContent") or (
        "Drawn point by point: 2," in run("return document.querySelector('#history .note').textContent")
    )

    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    column = "return [...document.querySelectorAll('#ranking-table tbody tr')].map(r => r.children[4].textContent)"
    before = run(column)
    assert len(before) == 500
    button = browser.find_element(By.CSS_SELECTOR, "#ranking-table th:nth-child(5) button")
    button.send_keys(Keys.ENTER)  # by keyboard alone
    assert run("return document.querySelector('#ranking-table th:nth-child(5)').ariaSort") == "ascending"
    assert run(column) == before[::-1]
    button.send_keys(Keys.SPACE)
    assert run("return document.querySelector('#ranking-table th:nth-child(5)').ariaSort") == "descending"
    assert run("return document.getElementById('status').textContent") == "sorted by value, descending"
    assert [float(cell) for cell in run(column)] == sorted((float(cell) for cell in before), reverse=True)
    # A choice is shown above every figure that follows it, and changes what is drawn.
    picture = "return document.querySelector('#slices canvas').toDataURL()"
    whole = run(picture)
    select = browser.find_element(By.CSS_SELECTOR, "#history select")
    select.send_keys("the best 1 %")
    assert set(
        run("return [...document.querySelectorAll('.controls label:first-child select')].map(s => s.value)")
    ) == {"0.01"}
    assert run(picture) != whole
    # Landmarks, a heading each, a language, names for what can be reached.
    for landmark in ("header", "main", "nav[aria-label]", "footer", "html[lang]", "a.skip[href='#main']"):
        assert run(f'return document.querySelectorAll("{landmark}").length') == 1
    assert run(
        "return [...document.querySelectorAll('section')].every(s => document.getElementById(s.getAttribute('aria-labelledby')))"
    )
    # What jobs and errors say stays text.
    assert run("return [window.hurt, document.querySelectorAll('img').length]") == [None, 0]
    assert EVIL in run("return document.querySelector('#failures td.text').textContent")
    assert strays(browser) == []
    assert complaints(browser) == []
    assert {url.partition(":")[0] for url in asked_urls(browser)} <= {"file", "data"}


@pytest.mark.bed
def test_a_report_is_read_on_a_phone_in_the_dark_by_everybody_and_printed(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, browser: Any
) -> None:
    output = tmp_path / "s.html"
    arbctl("report", session(layout, 500), "--output", output)
    for size, dark in ((WIDE, False), (PHONE, True)):
        appear(browser, size, dark=dark)
        browser.get(output.as_uri())
        assert not is_wider_than_window(browser)
        assert cramped(browser) == []
        assert violations(browser) == []
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"]
    pages = base64.b64decode(pdf).count(b"/Type /Page\n") or base64.b64decode(pdf).count(b"/Type /Page")
    assert 0 < pages <= 20
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = (
        "return [...document.querySelectorAll('nav, .controls')].every(e => getComputedStyle(e).display === 'none')"
    )
    assert browser.execute_script(hidden)
    assert complaints(browser) == []


def test_constrained_points_are_told_apart_and_never_the_best(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    name = session(layout, 40, "held", bad=0, constraints=("x <= 0.5", "risk <= 0.5"))
    assert arbctl("report", name, "--output", tmp_path / "s.html")[0] == 0
    data = content((tmp_path / "s.html").read_text())
    drawn = data["figures"]
    assert {state for state, x in zip(drawn["state"], drawn["params"]["x"], strict=True) if x > 0.5} == {1}
    assert {state for state, x in zip(drawn["state"], drawn["params"]["x"], strict=True) if x < 0.5} == {0}
    assert drawn["winner"]["params"]["x"] < 0.5
    assert drawn["winner"]["iteration"] == data["ranking"][0]["iteration"]
    assert drawn["winner"]["value"] == drawn["best"]["values"][-1]
    assert [row["feasible"] for row in data["ranking"]] == sorted(
        (row["feasible"] for row in data["ranking"]), reverse=True
    )


def test_importance_of_the_better_half_finds_what_sets_the_best_apart() -> None:
    """Two parameters: one tells good from bad, the other the best from the good."""
    rng = np.random.default_rng(5)
    columns = {"coarse": rng.random(20_000), "fine": rng.random(20_000), "idle": rng.random(20_000)}
    dimensions = tuple(FloatDimension(name, 0, 1) for name in columns)
    losses = np.where(columns["coarse"] > 0.5, 100.0, 0.0) + columns["fine"]
    whole = {one["name"]: one["share"] for one in figures.importance(dimensions, columns, losses)}
    better = figures.better_half_importance(dimensions, columns, losses)
    assert whole["coarse"] > 0.9
    assert better["fine"] is not None
    assert better["fine"] > 0.9
    assert sum(share for share in better.values() if share is not None) == pytest.approx(1.0)
    assert figures.better_half_importance(dimensions, columns, np.full(20_000, np.nan)) == dict.fromkeys(columns)


@pytest.mark.parametrize(("trades", "never"), [([0, 0, 0], 3), ([0, 5, 0], 2), ([1, 2, 3], None)])
def test_how_many_never_traded_is_said(layout: SpoolLayout, trades: list[int], never: int | None) -> None:
    paths = make_session(layout, 3, objective=ObjectiveSpec("paper"))
    good = rows_of(1, 3)
    write_rows(
        paths, "a", replace(good, metrics={"value": good.metrics["value"], "trades": np.array(trades, dtype=float)})
    )
    table = load_table(layout.root, "s")
    found = traded(replace(table, spec=replace(table.spec, objective=ObjectiveSpec("paper"))))
    assert (None if found is None else found["never"]) == never


def test_a_histogram_is_not_pressed_flat_by_a_few_wrecks() -> None:
    values = np.concatenate([np.random.default_rng(1).normal(size=1_000), [-1e9, -1e8, 1e12, np.nan, np.inf]])
    found = figures.distribution(values)
    assert (found["below"], found["above"], sum(found["counts"])) == (2, 1, 1_000)
    assert max(found["counts"]) < 200
    assert figures.distribution(np.full(5, 3.0))["counts"].count(5) == 1
    assert figures.distribution(np.full(5, np.nan))["counts"] == []
