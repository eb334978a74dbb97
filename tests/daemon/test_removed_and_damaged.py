"""Sessions that are removed, made anew or damaged under a running daemon: others go on, and so does the daemon."""

from __future__ import annotations

import signal
from pathlib import Path

import msgpack
import pytest

from arbd.analysis.table import load_table
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from tests.conftest import Arbctl, Daemons, remove_folder, wait_until
from tests.jobs import write_job

pytestmark = pytest.mark.bed


def done(layout: SpoolLayout, name: str) -> bool:
    return layout.session(name).ledger.exists() and SessionQueue(Files(), layout.session(name)).refresh().done


def running(layout: SpoolLayout, name: str) -> bool:
    return layout.session(name).ledger.exists() and bool(SessionQueue(Files(), layout.session(name)).refresh().claims)


def submit(
    arbctl: Arbctl, tmp_path: Path, name: str, objective: str = "samples:quick", n: int = 20, **more: object
) -> None:
    job = write_job(tmp_path / f"{name}.yaml", objective, n, **more)
    code, _, err = arbctl("submit", job, "--session-id", name)
    assert code == 0, err


def test_a_session_removed_while_its_iteration_runs_into_its_timeout_stops_nothing_else(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "sleeper.py").write_text(
        "import time\ndef go(params):\n    time.sleep(60)\n    return {'value': 1.0}\n"
    )
    submit(arbctl, tmp_path, "doomed", "sleeper:go", execution={"timeout_s": 2})
    daemon = daemons.start("a", slots=1)
    wait_until(lambda: running(layout, "doomed"))
    remove_folder(layout.session("doomed").folder)
    submit(arbctl, tmp_path, "next")
    wait_until(lambda: done(layout, "next"), 30, "the other session")
    wait_until(lambda: "the session's folder was removed" in daemons.log(), 30, "word of it")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(20) == 0


def test_a_burst_ends_and_says_so_where_a_ledger_does_not_begin(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    for name in ("hollow", "good"):
        submit(arbctl, tmp_path, name)
    assert daemons.start("a", "--burst").wait(60) == 0
    hollow = layout.session("hollow").ledger
    hollow.write_bytes(bytes(100))
    settings = objectives.parent / "arbd.yaml"
    settings.write_text(settings.read_text().replace("scan_s: 0.2", "scan_s: 0.05"))
    assert daemons.start("b", "--burst").wait(60) == 1
    assert f"{hollow}, byte 0: the record that opens a session is missing" in daemons.log()
    assert hollow.read_bytes() == bytes(100)


def test_a_removed_session_does_not_wait_for_a_long_iteration(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "sleeper.py").write_text(
        "import time\ndef go(params):\n    time.sleep(60)\n    return {'value': 1.0}\n"
    )
    submit(arbctl, tmp_path, "doomed", "sleeper:go")
    daemons.start("a", slots=1)
    wait_until(lambda: running(layout, "doomed"))
    remove_folder(layout.session("doomed").folder)
    wait_until(lambda: "the session's folder was removed" in daemons.log(), 20, "its end")
    submit(arbctl, tmp_path, "doomed", n=30)
    wait_until(lambda: done(layout, "doomed"), 30, "another session of the same name")
    assert len(load_table(layout.root, "doomed")) == 30


def test_a_name_that_was_purged_can_be_used_again_by_another_job(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    daemons.start("a", slots=1)
    submit(arbctl, tmp_path, "again", n=20)
    wait_until(lambda: done(layout, "again"))
    first = load_table(layout.root, "again").rows.params["x"].tolist()
    wait_until(lambda: arbctl("purge", "again", "--results", "--segments", "--claims", "--yes")[0] == 0)
    submit(arbctl, tmp_path, "again", n=50)
    wait_until(lambda: done(layout, "again"), 30, "the second job of that name")
    second = load_table(layout.root, "again").rows.params["x"].tolist()
    assert len(second) == 50
    assert first == second[:20]


def test_a_ledger_that_cannot_be_read_stops_its_session_alone(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    submit(arbctl, tmp_path, "later", "samples:slow", n=2000)
    daemon = daemons.start("a", slots=1)
    wait_until(lambda: running(layout, "later"))
    queue = SessionQueue(Files(), layout.session("later"))
    with Files().lock(queue.paths.ledger_lock, 10):
        Files().append(queue.paths.ledger, encode_frame(msgpack.packb({"k": "of-a-later-version"})))
    submit(arbctl, tmp_path, "next")
    wait_until(lambda: done(layout, "next"), 30, "the other session")
    wait_until(lambda: "the session cannot be read; it is looked at again" in daemons.log(), 30, "word of it")
    wait_until(lambda: "cannot evaluate later" in arbctl("workers")[1], 30, "word of it in the heartbeat")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(20) == 0


def test_data_folders_that_a_reload_adds_are_read(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    data = tmp_path / "elsewhere"
    data.mkdir()
    old = arbctl.config.read_text()
    arbctl.config.write_text(old.replace(f"data_dirs: [{tmp_path}]", f"data_dirs: [{tmp_path / 'objectives'}]"))
    assert arbctl("market", "synth", "--ticks", "500", "--output", data / "q.csv")[0] == 0
    daemon = daemons.start("a", slots=1)
    wait_until(lambda: (layout.workers / "a.beat").exists())
    arbctl.config.write_text(old)
    daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: "changed=data_dirs" in daemons.log(), what="the reload")
    job = tmp_path / "paper.yaml"
    job.write_text(
        f"data: [{data / 'q.csv'}]\nmetric: pnl\n"
        "tuning: {method: random, max_iterations: 4, search_space: {min_spread_pct: {type: float, bounds: [0.1, 0.5]}}}\n"
    )
    assert arbctl("submit", job, "--session-id", "read")[0] == 0
    wait_until(lambda: done(layout, "read"), 240, "the session over the new folder's data")
    assert load_table(layout.root, "read").counts()["completed"] == 4
