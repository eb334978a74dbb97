"""Standing jobs on the page: what `arbctl standing` says, of every kind of them, in a real browser too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbd.page.standing import one_standing_body, standing_body
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SpoolLayout
from arbd.spool.provenance import Actor, Submission
from arbd.spool.standing.calendar import Schedule
from arbd.spool.standing.folder import StandingFolder
from arbd.spool.standing.records import (
    ActRecord,
    FiredRecord,
    FireRecord,
    OpenRecord,
    Setting,
    StandingRecord,
    TroubleRecord,
    encode,
)
from tests.browser import PHONE, WIDE, appear, chromium, complaints, is_wider_than_window, strays, violations
from tests.conftest import Arbctl, brought_up, wait_until
from tests.page.serving import Served, serving, settings
from tests.page.test_server import EVIL, make_results

NOW_NS = 1_774_656_000 * 10**9
ANNA = Submission(user="anna", uid=1001, wall_ns=NOW_NS)
NIGHTLY = Schedule(at="02:30", timezone="Europe/Zurich")


def actor(reason: str) -> Actor:
    return Actor(user="bob", uid=1002, host="desk", wall_ns=NOW_NS, reason=reason)


def fired(session: str, setting: Setting | None = None) -> list[StandingRecord]:
    fire = FireRecord(
        due=session, due_ns=NOW_NS, after_ns=NOW_NS, session=session, cause=EVIL, digest="d", by="host-a", wall_ns=NOW_NS,
        setting=setting, notes=(EVIL,),
    )  # fmt: skip
    return [fire, FiredRecord(session=session, wall_ns=NOW_NS)]


KINDS: dict[str, tuple[Schedule, list[StandingRecord]]] = {
    "fresh": (NIGHTLY, []),
    "on-data": (Schedule(), []),
    "answers": (NIGHTLY, fired("evil")),
    "compares": (
        NIGHTLY,
        [
            *fired("gone"),
            *fired("evil", Setting(kind="promoted", session="gone", iteration=7, metric="value", value=1.5)),
        ],
    ),
    "waits": (NIGHTLY, fired("running")),
    "paused": (NIGHTLY, [ActRecord(what="fire", actor=actor("to see")), ActRecord(what="pause", actor=actor(EVIL))]),
    "troubled": (NIGHTLY, [TroubleRecord(why=EVIL, by="host-a", wall_ns=NOW_NS)]),
    "removed": (NIGHTLY, [ActRecord(what="remove", actor=actor(""))]),
}


def make_standing(layout: SpoolLayout) -> None:
    """One of each kind, and one that another version wrote."""
    files = Files()
    files.make_folder(layout.standing)
    for name, (schedule, records) in KINDS.items():
        folder = StandingFolder(files, layout, name)
        files.make_folder(folder.path)
        begun = OpenRecord(schedule=schedule, submission=ANNA, digest="d", wall_ns=NOW_NS)
        with files.lock(folder.lock, 5.0):
            folder.append([begun, *records])
    later = StandingFolder(files, layout, "later")
    files.make_folder(later.path)
    begun = OpenRecord(schedule=NIGHTLY, submission=ANNA, digest="d", wall_ns=NOW_NS, version=10**6)
    with files.lock(later.lock, 5.0):
        files.append(later.log, encode_frame(encode(begun)))


@pytest.fixture
def stood(layout: SpoolLayout) -> SpoolLayout:
    make_results(layout, 40, "evil")
    make_results(layout, 20, "running", finished=False)
    make_standing(layout)
    return layout


def test_the_page_says_of_each_what_the_command_says(stood: SpoolLayout, arbctl: Arbctl) -> None:
    listed = json.loads(standing_body(stood))
    assert listed == json.loads(arbctl("standing", "list", "--json")[1])
    assert [one["name"] for one in listed["standing"]] == sorted({*KINDS, "later"} - {"removed"})
    for name in KINDS:
        code, out, err = arbctl("standing", "show", name, "--json")
        assert (code, json.loads(one_standing_body(stood, name))) == (0, json.loads(out)), err


@pytest.mark.parametrize("name", ["answers", "compares"])
def test_what_was_promoted_after_the_session_began_is_told_beside_its_answer(
    stood: SpoolLayout, arbctl: Arbctl, name: str
) -> None:
    """Until the next session the answer is that of a time without it: it said "no setting stands yet" of a new setting."""
    before = json.loads(arbctl("standing", "show", name, "--json")[1])
    assert before["promoted_since"] is None
    told = {"session_id": f"{name}-2026-03-28", "iteration": 7, "metric": "value", "value": 1.5}
    entry = {"event": "promoted", "at": "2026-03-28T08:00:00Z", "provenance": told, "parameters": {"x": 0.5}}
    stood.promotions.write_text(json.dumps(entry) + "\n")
    after = json.loads(arbctl("standing", "show", name, "--json")[1])
    assert after["answer"] == before["answer"]
    assert (after["promoted_since"]["session"], after["promoted_since"]["iteration"]) == (told["session_id"], 7)
    assert json.loads(one_standing_body(stood, name)) == after
    shown = arbctl("standing", "show", name)[1]
    assert f"promoted    iteration 7 of {told['session_id']} at 2026-03-28T08:00:00Z, after the session" in shown
    named = json.loads(arbctl("standing", "show", name, "--session", "evil", "--json")[1])
    assert named["promoted_since"] is None


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("standing-page")
    layout = SpoolLayout(folder / "spool")
    layout.root.mkdir()
    layout.prepare()
    make_results(layout, 40, "evil")
    make_results(layout, 20, "running", finished=False)
    make_standing(layout)
    with serving(layout.root, settings(folder)) as up:
        up.wait_for_sessions(2)
        yield up


@pytest.mark.bed
def test_every_view_of_them_is_whole_safe_and_accessible(page: Served) -> None:
    loaded = "return document.querySelectorAll('main section, main table, main .alert').length"
    with brought_up(chromium()) as browser:
        for name in ("", *KINDS, "later", "nowhere", "%3Cimg%20src=x%20onerror=window.hurt=1%3E"):
            for size, dark in [(WIDE, False), (PHONE, True)] if name in ("", "compares") else [(PHONE, False)]:
                appear(browser, size, dark=dark)
                browser.get("about:blank")
                complaints(browser)
                browser.get(f"http://127.0.0.1:{page.port}/#/standing{'/' if name else ''}{name}")
                wait_until(lambda: browser.execute_script(loaded), what=f"the view of {name!r}")
                assert not is_wider_than_window(browser), name
                state: Any = browser.execute_script("return [window.hurt, document.querySelectorAll('img').length]")
                assert state == [None, 0], name
                assert violations(browser) == [], name
                assert strays(browser) == [], name
                bad = [text for text in complaints(browser) if "Failed to load resource" not in text]
                assert bad == [], name
        appear(browser, WIDE)
        browser.get(f"http://127.0.0.1:{page.port}/#/")
        browser.find_element("link text", "Standing jobs").click()
        wait_until(lambda: browser.execute_script(loaded))
        browser.find_element("link text", "compares").click()
        wait_until(lambda: browser.find_elements("css selector", "#answer"))
        assert browser.title == "Standing job compares: arbd"
        told = browser.find_element("tag name", "main").text
        assert "promoted, iteration 7 of gone" in told
        assert EVIL in told
        browser.find_element("link text", "evil").click()
        wait_until(lambda: browser.title == "Session evil: arbd")


def test_what_is_not_there_is_said(page: Served) -> None:
    assert page.ask("/api/standing/comparse")[0] == 404
    assert "did you mean 'compares'" in page.ask("/api/standing/comparse")[1]["error"]
    assert page.ask("/api/standing/a/b")[0] == 404
    assert page.ask("/api/standing")[1]["standing"][0]["name"] == "answers"


def test_a_spool_without_any_says_how_one_is_made(tmp_path: Path) -> None:
    layout = SpoolLayout(tmp_path / "spool")
    layout.root.mkdir()
    layout.prepare()
    assert json.loads(standing_body(layout)) == {"standing": []}
