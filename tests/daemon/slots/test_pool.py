"""A slot from the parent's side, with real processes."""

from __future__ import annotations

import os
import queue
import signal
import threading
from pathlib import Path

from arbd.daemon.slots.pool import Slot, SlotEvent
from arbd.daemon.slots.protocol import SlotSetup
from tests.conftest import wait_until


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
