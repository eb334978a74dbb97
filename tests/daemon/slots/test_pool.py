"""A slot from the parent's side, with real processes."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from arbd.daemon.slots.pool import Slot, SlotEvent
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, LoadFailure, SlotSetup, SubSpan
from arbd.daemon.slots.states import SlotState
from arbd.job.spec import ObjectiveSpec
from arbd.objective.processes import is_running
from arbd.spool.layout import SpoolLayout
from arbd.spool.spans import Claim, Span
from tests.conftest import wait_until
from tests.spool.sessions import make_session


def test_a_slot_whose_processes_crashed_keeps_the_files_of_the_live_one_alone(tmp_path: Path) -> None:
    events: queue.Queue[SlotEvent] = queue.Queue()
    nowhere = Path()
    setup = SlotSetup("", "w", 1, os.getpid(), nowhere, nowhere, tmp_path / "cache", (), ())
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    ready = threading.Event()
    slot = Slot(0, setup, run_dir, events.put, ready.set)
    try:
        for crash in range(3):
            wait_until(lambda: slot.progress.look().pid > 0, what="the start of the slot's process")
            slot.setup.output.write_text(f"last words {crash}")
            os.kill(slot.progress.look().pid, signal.SIGKILL)
            exit_report = slot.exit_report()
            slot.restart()
            assert (exit_report.ending, exit_report.output) == ("killed by SIGKILL", f"last words {crash}")
        wait_until(lambda: slot.progress.look().pid > 0, what="the start of the slot's process")
        assert sorted(path.name for path in run_dir.iterdir()) == ["slot-0r3.out", "slot-0r3.progress"]
    finally:
        assert slot.end(5.0)


def test_a_slot_is_consistent_after_every_event_and_knows_no_other_transitions(tmp_path: Path) -> None:
    events: queue.Queue[SlotEvent] = queue.Queue()
    nowhere = Path()
    setup = SlotSetup("", "w", 1, os.getpid(), nowhere, nowhere, tmp_path / "cache", (), ())
    (tmp_path / "run").mkdir()
    slot = Slot(0, setup, tmp_path / "run", events.put, lambda: None)

    def task(number: int, *, fresh: bool = False) -> ChunkTask:
        return ChunkTask(number, tmp_path / "spool" / "sessions" / "none", (), fresh=fresh)

    def after(step: Callable[[], object]) -> SlotState:
        step()
        slot.assert_consistent()
        return slot.state

    assert after(lambda: slot.submit(task(1))) is SlotState.BUSY
    assert after(slot.preempt) is SlotState.PREEMPTED
    assert isinstance(events.get(timeout=60).future.result(), LoadFailure)
    assert after(slot.finished) is SlotState.FREE
    with pytest.raises(AssertionError):
        slot.kill("a free slot has nothing to kill")
    before = slot.pid
    assert after(lambda: slot.submit(task(2, fresh=True))) is SlotState.BUSY
    assert slot.pid != before
    assert after(lambda: slot.kill("the daemon stops")) is SlotState.KILLED
    assert after(lambda: slot.kill("again")) is SlotState.KILLED
    assert events.get(timeout=60).future.exception() is not None
    assert slot.exit_report().kill_reason == "the daemon stops"
    assert after(slot.restart) is SlotState.FREE
    assert after(lambda: slot.submit(task(3))) is SlotState.BUSY
    assert after(slot.ask_to_end) is SlotState.ENDED
    assert slot.end(5.0)
    with pytest.raises(AssertionError):
        slot.submit(task(4))


KEPT = f"""#!{sys.executable} -S
import json, os, sys
for line in sys.stdin:
    open(%r, "w").write(str(os.getpid()))
    print(json.dumps({{"id": json.loads(line)["id"], "metrics": {{"value": 1}}}}), flush=True)
"""


def test_a_slot_that_is_asked_nothing_for_a_while_ends_what_its_objectives_keep(
    layout: SpoolLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbd.daemon.slots.pool.REST_S", 0.0)
    program, told = tmp_path / "program", tmp_path / "pid"
    program.write_text(KEPT % str(told))
    program.chmod(0o755)
    paths = make_session(layout, 9, objective=ObjectiveSpec("command", (str(program),), "lines"))
    setup = SlotSetup("", "w", 1, os.getpid(), Path(), Path(), tmp_path / "cache", (), ("command:*",))
    (tmp_path / "run").mkdir()
    events: queue.Queue[SlotEvent] = queue.Queue()
    slot = Slot(0, setup, tmp_path / "run", events.put, lambda: None)

    def evaluate(number: int) -> int:
        span = Span(number, 1)
        slot.submit(ChunkTask(number, paths.folder, (SubSpan(Claim(number, span, "w", 1), span),)))
        report = events.get(timeout=60).future.result()
        assert isinstance(report, ChunkReport)
        assert report.counts == {number: (1, 0, 0, 0)}, report.first_error
        slot.finished()
        return int(told.read_text())

    try:
        first = evaluate(1)
        assert evaluate(2) == first
        assert is_running(first)
        slot.rest_if_idle()
        wait_until(lambda: not is_running(first), 20, "the end of the program")
        # The process is the same; its next iteration starts the program anew.
        before = slot.pid
        assert evaluate(3) != first
        assert slot.pid == before
    finally:
        assert slot.end(5.0)
