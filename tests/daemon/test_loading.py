"""An objective that takes long to load, or for ever, while others wait for the slots."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.analysis.standstill import Standstill
from arbd.daemon import forks, supervisor
from arbd.daemon.core.counters import Counters
from arbd.daemon.core.events import Run
from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import Log
from arbd.daemon.service import Mode, Service
from arbd.daemon.slots.pool import LOAD_PATIENCE_S, LOAD_TIMEOUT_S, Limits, Slot
from arbd.daemon.slots.protocol import ChunkTask, SlotSetup
from arbd.daemon.slots.states import SlotState
from arbd.daemon.supervisor import Supervisor
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat
from tests.conftest import Arbctl
from tests.daemon.test_sessions_end_to_end import is_done, state_of
from tests.jobs import write_job
from tests.spool.sessions import make_session


@pytest.mark.parametrize(
    ("loads", "slots"), [("while True: pass", 2), ("import time; time.sleep(3)", 1)], ids=["for ever", "long"]
)
def test_an_objective_that_does_not_come_to_its_end_loading_keeps_no_slot_from_others(
    arbctl: Arbctl,
    layout: SpoolLayout,
    objectives: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    slots: int,
    loads: str,
) -> None:
    monkeypatch.setattr(supervisor, "LOAD_PATIENCE_S", 1.0)
    (objectives / "long.py").write_text(f"{loads}\ndef objective(params): return 1.0\n")
    arbctl("submit", write_job(tmp_path / "job.yaml", "long:objective", 20), "--session-id", "long")
    waiting = write_job(tmp_path / "quick.yaml", "samples:quick", 20, session_id="quick")
    config = Config(
        spool=layout.root, allow=("python:*",), objective_paths=(objectives,), cache_dir=tmp_path / "cache",
        slots=slots, scan_s=0.2, settle_s=0.1, beat_s=0.2, drain_timeout_s=1,
    )  # fmt: skip
    wanted = ["quick"] if loads.startswith("while") else ["quick", "long"]
    asked: list[int] = []

    def look() -> None:
        # All slots have it by then.
        has_begun = waiting.exists() and layout.session("long").ledger.exists()
        if has_begun and len(state_of(layout, "long").claims) >= slots:
            waiting.rename(layout.incoming / "quick.yaml")
        if not asked and all(is_done(layout, name)() for name in wanted):
            asked.append(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    assert Service(config, Log("info"), Mode(), look).run() == 0
    assert state_of(layout, "long").counted == (0 if wanted == ["quick"] else 20)
    log = capsys.readouterr().err
    assert "while other sessions wait" in log, log


SECOND_NS = 10**9


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    (tmp_path / "run").mkdir()
    setup = SlotSetup("", "w", 1, os.getpid(), Path(), Path(), tmp_path / "cache", (), ("python:*",))
    ready = threading.Event()
    slot = Slot(0, setup, tmp_path / "run", lambda event: None, ready.set)
    try:
        assert ready.wait(60)
        yield slot
    finally:
        slot.task, slot.state = None, SlotState.FREE
        assert slot.end(5.0)
        forks.stop_server()


def begin_to_load(slot: Slot, session: Path, now_ns: int) -> None:
    slot.task, slot.state = ChunkTask(1, session, ()), SlotState.BUSY
    slot.progress.loading(1, now_ns)


def test_a_load_is_ended_when_it_does_not_go_on_and_not_when_it_takes_long(slot: Slot, tmp_path: Path) -> None:
    limit_ns = int(LOAD_TIMEOUT_S * SECOND_NS)
    now_ns = 5 * SECOND_NS
    begin_to_load(slot, tmp_path / "long", now_ns)
    for _ in range(20):
        now_ns += limit_ns - SECOND_NS
        slot.progress.advanced()
        assert slot.overdue(None, now_ns) == ""
    assert slot.overdue(None, now_ns + limit_ns - SECOND_NS) == ""
    assert slot.overdue(None, now_ns + limit_ns + SECOND_NS) == "loading did not go on for 600 s"


def test_who_converts_keeps_his_slot_while_others_wait_and_who_waits_for_him_gives_it_up(
    slot: Slot, tmp_path: Path
) -> None:
    told = Counters()
    slots = Supervisor(Log("info"), told, lambda event: None)
    slots.slots = [slot]
    began_ns, patience_ns = 5 * SECOND_NS, int(LOAD_PATIENCE_S * SECOND_NS)
    begin_to_load(slot, tmp_path / "long", began_ns)
    slots._ready.append(Run(ChunkTask(2, tmp_path / "other", ()), Limits(None, 0)))
    for minute in range(1, 10):
        slot.progress.advanced()
        assert slots._loads_that_hold_up(began_ns + minute * patience_ns) == {}
    slots._note_loads(began_ns + 9 * patience_ns)
    assert told.loading == {"long": "reads its market data, for 540 s so far"}
    slot.progress.waits(True)
    slot.progress.advanced()
    assert slots._loads_that_hold_up(began_ns + 10 * patience_ns) == {0: LOAD_PATIENCE_S}
    slot.progress.waits(False)
    assert slots._loads_that_hold_up(began_ns + 10 * patience_ns) == {}


def test_a_session_whose_market_data_is_being_read_says_so(layout: SpoolLayout) -> None:
    make_session(layout, 10)
    state = state_of(layout, "s")
    beat = Beat("gpu-box", 1, 1, {"loading": {"s": "reads its market data, for 540 s so far"}})
    assert Standstill((beat,)).reason("s", state) == "gpu-box: reads its market data, for 540 s so far"
