"""arbctl watch and top: lines without a terminal, a screen with keys on one."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from arbd.cli.commands.watch import Screen
from arbd.cli.live import Live
from arbd.results.extension import extend
from arbd.spool.control import this_user
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from arbd.spool.liveness import Beat, take_liveness_lock, write_beat
from arbd.spool.queue import SessionQueue
from tests.conftest import Arbctl
from tests.results.worker import work
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows


def test_watch_once_shows_progress_best_workers_and_troubles(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = make_session(layout, 30, "going")
    write_rows(paths, "a", rows_of(1, 10), rows_of(11, 3, status=FAILED))
    lock = take_liveness_lock(Files(), layout, "host-a")
    about = {"slots": 4, "busy": 3, "done": 13, "rate": 2.5, "state": "running", "trouble": "disk full"}
    write_beat(
        Files(),
        layout,
        Beat(
            "host-a",
            1,
            1,
            about | {"sessions": ["going"], "blocked": {"other": "no data"}, "waiting": {"going": 0.853}},
        ),
    )
    code, out, _ = arbctl("watch", "--once")
    assert code == 0
    assert "value 10 (#10)" in out
    assert "host-a  running  3 of 4 ###." in out
    assert "host-a has trouble with the spool: disk full" in out
    assert "host-a cannot evaluate other: no data" in out
    assert "going: slots wait for suggestions: 85%" in out
    assert "slots wait for suggestions: 85%" in arbctl("status", "going")[1]
    assert json.loads(arbctl("status", "going", "--json")[1])["slots_waiting"] == pytest.approx(0.853)
    document = json.loads(arbctl("watch", "going", "--once", "--json")[1])
    assert document["sessions"][0]["slots_waiting"] == pytest.approx(0.853)
    assert (document["sessions"][0]["best"], document["sessions"][0]["best_iteration"]) == (10.0, 10)
    assert document["workers"][0]["alive"] is True
    assert arbctl("top", "--once")[1].startswith("WORKER")
    assert arbctl("watch", "nowhere")[0] == 3
    assert lock is not None
    lock.release()


def test_without_a_terminal_watch_prints_lines_until_the_session_is_over(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = make_session(layout, 3, "s")
    write_rows(paths, "a", rows_of(1, 3))
    exhaust(paths, 3)
    SessionQueue(Files(), paths).change(lambda state: [{"k": "done", "c": [3, 0, 0, 0], "d": 0}])
    code, out, _ = arbctl("watch", "s")
    assert (code, out) == (0, "s: 3 of 3 (done, - per second, - left, 0 bad, best value 3 (#3))\n")


def test_a_session_that_cannot_be_read_is_told_and_not_followed(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = make_session(layout, 3, "s")
    paths.spec.write_bytes(b"garbage")
    code, out, err = arbctl("watch", "s")
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert str(paths.spec) in err


def test_yes_cancels_the_session_that_was_asked_about_though_the_list_has_moved(layout: SpoolLayout) -> None:
    queues = {name: SessionQueue(Files(), make_session(layout, 3, name)) for name in ("first", "second")}
    live = Live(layout, None)
    live.look()
    screen = Screen(live, workers_first=False)
    screen.press("c")
    assert screen.said.startswith("cancel first for good?")
    del live.sessions[0]
    screen.press("y")
    assert [queue.refresh().state for queue in queues.values()] == ["cancelled", "running"]
    live.sessions.clear()
    screen.press("c")
    assert not screen.asking


class Terminal:
    """arbctl on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.parent, child = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "140", "LINES": "30"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arbd.cli", *arguments], stdin=child, stdout=child, stderr=child, env=environment
        )
        os.close(child)
        self.seen = ""

    def until(self, text: str) -> None:
        give_up = time.monotonic() + 30
        while text not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen):
            assert time.monotonic() < give_up, self.seen[-2000:]
            if select.select([self.parent], [], [], 0.2)[0]:
                self.seen += os.read(self.parent, 1 << 16).decode(errors="replace")

    def press(self, keys: str) -> None:
        self.seen = ""
        os.write(self.parent, keys.encode())


def test_on_a_terminal_keys_pause_resume_and_cancel(layout: SpoolLayout) -> None:
    paths = [make_session(layout, 30, name) for name in ("first", "second")]
    queues = [SessionQueue(Files(), path) for path in paths]
    terminal = Terminal("--spool", str(layout.root), "watch", "--every", "0.2")
    try:
        terminal.until("q quit")
        terminal.press("\x1b[B")
        terminal.press("p")
        terminal.until("second: paused")
        assert [queue.refresh().state for queue in queues] == ["running", "paused"]
        terminal.press("r")
        terminal.until("second: pending")
        terminal.press("c")
        terminal.until("cancel second for good?")
        terminal.press("n")
        terminal.until("not cancelled")
        assert queues[1].refresh().state == "running"
        terminal.press("c")
        terminal.until("cancel second for good?")
        terminal.press("y")
        terminal.until("second: cancelled")
        assert [queue.refresh().state for queue in queues] == ["running", "cancelled"]
        terminal.press("q")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.parent)


def test_who_watches_a_session_sees_what_it_was_extended_by(layout: SpoolLayout) -> None:
    paths = make_session(layout, 5, "s")
    live = Live(layout, "s")
    work(paths)
    live.look()
    extend(layout, "s", 95, this_user())
    for _ in range(2):
        live.look()
        work(paths)
    live.look()
    (shown,) = live.documents()["sessions"]
    again = Live(layout, "s")
    again.look()
    (fresh,) = again.documents()["sessions"]
    assert (shown["done"], shown["iterations"], shown["best_iteration"]) == (100, 100, fresh["best_iteration"])
    assert shown["best_iteration"] > 5
