"""An objective that takes long to load, or for ever, while others wait for the slots."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from arbd.daemon import supervisor
from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import Log
from arbd.daemon.service import Mode, Service
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl
from tests.daemon.test_sessions_end_to_end import is_done, state_of
from tests.jobs import write_job


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
