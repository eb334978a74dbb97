"""Every view in a real browser: wide and on a phone, light and dark, with hostile names, by keyboard, while things happen."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbd.cli.__main__ import call
from arbd.spool import ledger
from arbd.spool.control import change_state
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, take_liveness_lock, write_beat
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
from tests.conftest import REPOSITORY, brought_up, wait_until
from tests.page.serving import Served, serving, settings
from tests.page.test_server import EVIL, make_results
from tests.spool.sessions import make_session, rows_of, write_rows

pytestmark = pytest.mark.bed

SCENARIO = REPOSITORY / "etc" / "scenarios" / "profitable_spread.yaml"
# Each width and each scheme once; with ARBD_ALL_LOOKS, each width in each scheme.
LOOKS = (
    list(itertools.product((WIDE, PHONE), (False, True)))
    if os.environ.get("ARBD_ALL_LOOKS")
    else [(WIDE, False), (PHONE, True)]
)
VIEWS = {
    "sessions": "#/", "workers": "#/workers", "a session": "#/session/evil", "a paper session": "#/session/paper", "a running one": "#/session/running",
    "an iteration": "#/session/paper/iteration/1", "a failed iteration": "#/session/evil/iteration/60", "an iteration that told values": "#/session/evil/iteration/1", "compared": "#/compare/evil,running",
    "what is not there": "#/session/nowhere", "strange": "#/session/%22%3E%3Cimg%20src=x%20onerror=window.hurt=1%3E",
}  # fmt: skip
READY = {
    "sessions": "return document.querySelectorAll('#sessions-table tbody tr').length >= 4",
    "workers": "return document.querySelector('main h1 ~ div')?.children.length",
    "an iteration": "return document.querySelectorAll('canvas').length >= 3",
    "a failed iteration": "return document.querySelectorAll('main table').length",
    "an iteration that told values": "return document.querySelectorAll('main canvas').length === 1",
    "compared": "return document.querySelectorAll('main table').length",
}
ALARM = "return [...document.querySelectorAll('main .alert')].some(e => !e.hidden && e.textContent)"
SESSION_READY = "return document.querySelectorAll('#ranking-table tbody tr').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    layout = SpoolLayout(folder / "spool")
    layout.root.mkdir()
    layout.prepare()
    make_results(layout, 60, "evil")
    make_results(layout, 40, "running", finished=False)
    (layout.incoming / f"{EVIL.replace('/', '')}.yaml").write_text("?")
    (layout.rejected / "bad.yaml.error.txt").write_text(EVIL)
    job = {
        "objective": "paper", "metric": "pnl", "session_id": "paper",
        "tuning": {
            "method": "random", "max_iterations": 12, "scenarios": [str(SCENARIO)],
            "search_space": {"min_spread_pct": {"type": "float", "bounds": [0.1, 0.5]}, "max_hold_s": {"type": "int", "bounds": [10, 300]}},
        },
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    assert call(["--spool", str(layout.root), "run", str(folder / "job.yaml"), "--workers", "1"]) == 0
    executor = {
        "kind": EVIL,
        "address": EVIL,
        "slots": 4,
        "ready": 2,
        "busy": 1,
        "waits_for": EVIL,
        "refused": {EVIL: EVIL},
    }
    write_beat(Files(), layout, Beat("far", 1, 1, {"state": "running", "slots": 4, "executor": executor}))
    life = take_liveness_lock(Files(), layout, "far")
    assert life is not None
    with serving(layout.root, settings(folder), "--allow-control") as up:
        up.wait_for_sessions(3)
        yield up
    life.release()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with brought_up(chromium()) as up:
        yield up


def visit(browser: Any, page: Served, view: str, *, ready: str | None = None) -> None:
    browser.get("about:blank")
    browser.get_log("browser")
    asked_urls(browser)
    browser.get(f"http://127.0.0.1:{page.port}/{VIEWS.get(view, view)}")
    if view in ("what is not there", "strange"):
        wait_until(lambda: browser.execute_script(ALARM), what="to be told that it is not there")
    else:
        wait_until(lambda: browser.execute_script(ready or READY.get(view, SESSION_READY)), what=view)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_whole_safe_and_accessible_in_every_look(browser: Any, page: Served, view: str) -> None:
    for size, dark in LOOKS:
        appear(browser, size, dark=dark)
        visit(browser, page, view)
        told = f"{view}, {size}, {'dark' if dark else 'light'}"
        assert not is_wider_than_window(browser), told
        assert browser.execute_script("return [window.hurt, document.querySelectorAll('img').length]") == [None, 0], (
            told
        )
        assert {url.split("/")[2] for url in asked_urls(browser) if url.startswith("http")} == {
            f"127.0.0.1:{page.port}"
        }, told
        bad = [
            text
            for text in complaints(browser)
            if not (view in ("what is not there", "strange") and "Failed to load resource" in text)
        ]
        assert bad == [], told
        assert violations(browser) == [], told
        assert strays(browser) == [], told
        assert cramped(browser) == [], told
        blank = """return [...document.querySelectorAll('canvas')].filter(c => c.width && c.height &&
            !c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)).map(c => c.ariaLabel)"""
        assert browser.execute_script(blank) == [], told
        labels = browser.execute_script(
            "return [...document.querySelectorAll('canvas')].map(c => [c.getAttribute('role'), c.ariaLabel])"
        )
        assert all(role == "img" and text for role, text in labels), told


def test_a_session_that_is_not_there_shows_nothing_of_one(browser: Any, page: Served) -> None:
    appear(browser, WIDE)
    visit(browser, page, "what is not there")
    shown = "return [...document.querySelectorAll('progress, select, #contents li')].filter(e => e.offsetParent).length"
    assert browser.execute_script(shown) == 0


def test_a_list_is_searched_filtered_and_opened_by_keyboard(browser: Any, page: Served) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    appear(browser, WIDE)
    visit(browser, page, "sessions")
    ids = "return [...document.querySelectorAll('#sessions-table tbody tr')].map(r => r.children[1].textContent)"
    browser.find_element(By.ID, "search").send_keys("pap")
    wait_until(lambda: browser.execute_script(ids) == ["paper"])
    # Columns in which no row has anything to say are not there.
    heads = "return [...document.querySelectorAll('#sessions-table th')].filter(h => !h.hidden).map(h => h.textContent)"
    assert browser.execute_script(heads) == [
        "compare", "session", "state", "best", "done", "of", "bad", "method", "owner", "started (UTC)"
    ]  # fmt: skip
    browser.find_element(By.ID, "search").send_keys(Keys.BACKSPACE * 3)
    state = Select(browser.find_element(By.ID, "by-state"))
    state.select_by_value("rejected")
    wait_until(lambda: browser.execute_script(ids) == ["bad.yaml"])
    assert "reason" in browser.execute_script(heads)
    state.select_by_value("")
    wait_until(lambda: len(browser.execute_script(ids)) == 5)
    best = "return [...document.querySelectorAll('#sessions-table tbody tr')].find(r => r.children[1].textContent === 'evil').children[4].textContent"
    wait_until(lambda: str(browser.execute_script(best)).startswith("value "), what="the best of a session in the list")
    browser.find_element(By.LINK_TEXT, "paper").send_keys(Keys.ENTER)
    wait_until(lambda: browser.execute_script(SESSION_READY))
    assert browser.execute_script("return document.activeElement.tagName") == "H1"
    assert browser.title == "Session paper: arbd"
    wait_until(
        lambda: browser.execute_script("return document.querySelectorAll('#equity canvas').length") == 2,
        what="its equity",
    )
    browser.find_element(By.CSS_SELECTOR, "#ranking-table td a").send_keys(Keys.ENTER)
    wait_until(lambda: browser.execute_script("return document.querySelectorAll('.zoom button').length") == 5)
    assert "to the bit" in browser.find_element(By.TAG_NAME, "main").text


def test_a_run_is_zoomed_to_a_fill_with_finer_series(browser: Any, page: Served) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    appear(browser, WIDE)
    best = page.ask("/api/session/paper")[1]["ranking"][0]["iteration"]
    visit(
        browser, page, f"#/session/paper/iteration/{best}", ready="return document.querySelectorAll('td button').length"
    )
    picture = "return document.querySelector('canvas').toDataURL()"
    whole = browser.execute_script(picture)
    browser.find_element(By.CSS_SELECTOR, "td button").send_keys(Keys.ENTER)
    wait_until(
        lambda: any("/run/" in url and "from=" in url for url in asked_urls(browser)),
        what="a finer window to be asked for",
    )
    assert browser.execute_script(picture) != whole
    browser.find_element(By.CSS_SELECTOR, ".zoom button:last-child").send_keys(Keys.SPACE)
    wait_until(lambda: browser.execute_script(picture) == whole, what="all of the time again")


def test_a_session_is_watched_live_and_controlled_with_the_token_alone(browser: Any, page: Served) -> None:
    from selenium.webdriver.common.by import By

    layout = SpoolLayout(Path(page.ask("/api/about")[1]["spool"]))
    appear(browser, WIDE)
    visit(browser, page, "a running one")
    assert browser.find_elements(By.CSS_SELECTOR, ".control button") == []
    rows = "return document.getElementById('facts').textContent"
    before = browser.execute_script(rows)
    focus = "return document.activeElement.id"
    browser.execute_script("document.getElementById('metric').focus()")
    write_rows(layout.session("running"), "host-c", rows_of(39, 2, value=1e6), incarnation=2)
    change_state(layout, "running", ledger.PAUSED)
    wait_until(lambda: browser.execute_script(rows) != before, what="new results to be shown")
    assert browser.execute_script(focus) == "metric"
    wait_until(lambda: "paused" in browser.find_element(By.ID, "pace").text, what="its state to be shown")
    browser.get(f"http://127.0.0.1:{page.port}/#token={page.token}")
    browser.refresh()
    wait_until(lambda: page.token not in browser.current_url, what="the token to leave the address")
    browser.execute_script("location.hash = '#/session/running'")
    wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, ".control button"), what="the controls")
    browser.find_element(By.CSS_SELECTOR, ".control button").click()
    wait_until(lambda: "pending" in browser.find_element(By.ID, "pace").text, what="it to go on")


def test_a_server_that_is_gone_is_said(browser: Any, tmp_path: Path) -> None:
    layout = SpoolLayout(tmp_path / "spool")
    layout.root.mkdir()
    layout.prepare()
    make_session(layout, 5, "s")
    with serving(layout.root, settings(tmp_path)) as page:
        page.wait_for_sessions(1)
        browser.get(f"http://127.0.0.1:{page.port}/")
        wait_until(
            lambda: browser.execute_script("return document.querySelectorAll('#sessions-table tbody tr').length")
        )
    wait_until(lambda: "arbctl serve" in browser.execute_script("return document.getElementById('health').textContent"))
    assert browser.execute_script("return document.querySelectorAll('#sessions-table tbody tr').length") == 1
