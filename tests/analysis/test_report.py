"""arbctl report: what the page says, that it is safe, and that a real browser shows and sorts it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.analysis.report import figures
from arbd.results.compaction import compact
from arbd.search.problem import MetricGoal
from arbd.search.space import ChoiceDimension, FloatDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.beds.needs import require_programs
from tests.conftest import Arbctl, brought_up
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

EVIL = "</script><script>window.hurt=1</script><img src=x onerror=window.hurt=1>{{style}}"


def session(layout: SpoolLayout, n: int = 40, name: str = "s", bad: int = 2) -> str:
    space = SearchSpace((FloatDimension("x", 0.0, 1.0), ChoiceDimension("kind", (EVIL, "down"))))
    goals = (MetricGoal("value", "maximize"), MetricGoal("risk", "minimize"))
    paths = make_session(layout, n, name, space=space, metrics=goals, fixed={"fee": EVIL})
    paths.job.write_text(f"# {EVIL}\n")
    good = rows_of(1, n - bad)
    spread = np.random.default_rng(1).random(len(good))
    good = replace(
        good, params={"x": spread, "kind": good.params["kind"]}, metrics={"value": spread**2 * 100 + 1, "risk": spread}
    )
    failed = rows_of(n - bad + 1, bad, status=FAILED)
    write_rows(paths, "host-a", good)
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


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A real browser without a screen."""
    webdriver = pytest.importorskip("selenium.webdriver")
    require_programs({"chromium": "chromium", "chromedriver": "chromium-driver"})
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,900",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield running
    finally:
        running.quit()


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
        "Best", "Optimisation history", "Distribution", "Importance", "Parallel coordinates", "Slices", "Contours",
        "Pareto front", "Workers", "Failures", "Ranking", "Job and fingerprints",
    ]  # fmt: skip
    # Something is drawn on every canvas, and every one says in words what it shows.
    blank = """return [...document.querySelectorAll('canvas')].filter(c =>
        !c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)).length"""
    assert run(blank) == 0
    labels = run("return [...document.querySelectorAll('canvas')].map(c => [c.getAttribute('role'), c.ariaLabel])")
    assert len(labels) == 9
    assert all(role == "img" and text for role, text in labels)
    assert "Drawn point by point: 3,0" in run("return document.querySelector('#history .note').textContent") or (
        "Drawn point by point: 2," in run("return document.querySelector('#history .note').textContent")
    )

    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    column = "return [...document.querySelectorAll('#ranking-table tbody tr')].map(r => r.children[2].textContent)"
    before = run(column)
    assert len(before) == 500
    button = browser.find_element(By.CSS_SELECTOR, "#ranking-table th:nth-child(3) button")
    button.send_keys(Keys.ENTER)  # by keyboard alone
    assert run("return document.querySelector('#ranking-table th:nth-child(3)').ariaSort") == "ascending"
    assert run(column) == before[::-1]
    button.send_keys(Keys.SPACE)
    assert run("return document.querySelector('#ranking-table th:nth-child(3)').ariaSort") == "descending"
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
    for landmark in ("header", "main", "nav[aria-label]", "footer", "html[lang]", "a.skip[href='#ranking']"):
        assert run(f'return document.querySelectorAll("{landmark}").length') == 1
    assert run(
        "return [...document.querySelectorAll('section')].every(s => document.getElementById(s.getAttribute('aria-labelledby')))"
    )
    # What jobs and errors say stays text.
    assert run("return [window.hurt, document.querySelectorAll('img').length]") == [None, 0]
    assert EVIL in run("return document.querySelector('#failures td.text').textContent")
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}
