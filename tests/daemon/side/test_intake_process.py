"""Taking jobs up in a real process under a real daemon: whatever a job names, the heart beats and others go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arbd.daemon.core import events
from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import Log
from arbd.daemon.service import Mode, Service
from arbd.daemon.side import intake_supervisor
from arbd.daemon.side.intake_supervisor import IntakeSupervisor
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.files import Files
from arbd.spool.held import Held, Taker, give_back
from arbd.spool.intake import MAX_CRASHES
from arbd.spool.layout import SpoolLayout
from arbd.spool.outcomes import Outcome, Rejected
from arbd.spool.sessions import session_ids
from tests.conftest import REPOSITORY, Arbctl, wait_until
from tests.jobs import write_job

GOOD = (
    "objective: {command: [/bin/true]}\ntuning: {method: random, max_iterations: 1, search_space: {x: {type: bool}}}\n"
)


class Heard:
    """What a coordinator would hear."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.waiting = True

    def post(self, event: events.Event) -> None:
        assert isinstance(event, events.IntakeReported)
        self.outcomes += event.outcomes
        self.waiting = event.waiting


def supervised(layout: SpoolLayout, tmp_path: Path, **changed: object) -> tuple[IntakeSupervisor, Heard]:
    config = Config(
        spool=layout.root, allow=("command:*", "paper"), data_dirs=(tmp_path,), cache_dir=tmp_path / "cache", scan_s=0.1,
        settle_s=0.1, **changed,  # type: ignore[arg-type]
    )  # fmt: skip
    heard = Heard()
    return IntakeSupervisor(config, Taker("w", 1), heard.post, Log()), heard


def drop(layout: SpoolLayout, name: str, text: str) -> None:
    Files().publish(layout.incoming / f"{name}{SUBMITTED_SUFFIX}", text.encode())


@pytest.fixture
def odd_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes that are started from here on, checking a job does what a comment in it says."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, threading\n"
        "import arbd.daemon.side.intake_process as intake\n"
        "made = intake.job_resolver\n"
        "def odd(config, reading):\n"
        "    resolve = made(config, reading)\n"
        "    def checked(data, name):\n"
        "        if b'# hang' in data: threading.Event().wait()\n"
        "        if b'# crash' in data: os.abort()\n"
        "        if b'# eat' in data: bytearray(1 << 31)\n"
        "        for _ in range(60 if b'# slow' in data else 0): threading.Event().wait(0.1); reading.advanced()\n"
        "        return resolve(data, name)\n"
        "    return checked\n"
        "intake.job_resolver = odd\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ("hang", f"{MAX_CRASHES} attempts at checking it did not come to an end; the last one was ended because it did not go on for 2 s"),
        ("crash", f"{MAX_CRASHES} attempts at checking it did not come to an end; the last one was killed by SIGABRT"),
        ("eat", "needs more memory to be checked than the intake has (`intake_memory_mb` in the settings)"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("odd_checks")
def test_a_job_that_ends_its_check_is_refused_with_the_reason_and_the_others_are_taken_up(
    layout: SpoolLayout, tmp_path: Path, check: str, told: str
) -> None:
    supervisor, heard = supervised(layout, tmp_path, intake_timeout_s=2.0, intake_memory_mb=1024)
    drop(layout, "bad", f"# {check}\n{GOOD}")
    drop(layout, "good", GOOD)
    supervisor.start()
    try:
        wait_until(lambda: len(heard.outcomes) == 2, what="both outcomes")
    finally:
        supervisor.stop()
    (refused,) = (outcome for outcome in heard.outcomes if isinstance(outcome, Rejected))
    assert refused.name == f"bad{SUBMITTED_SUFFIX}"
    assert told in refused.reason
    assert [path.name for path in layout.taken.iterdir()] == []


@pytest.mark.usefixtures("odd_checks")
def test_a_job_whose_files_take_longer_to_read_than_the_limit_is_taken_up_as_long_as_reading_goes_on(
    layout: SpoolLayout, tmp_path: Path
) -> None:
    supervisor, heard = supervised(layout, tmp_path, intake_timeout_s=3.0)
    drop(layout, "large", f"# slow\nsession_id: large\n{GOOD}")
    supervisor.start()
    try:
        wait_until(lambda: bool(heard.outcomes), what="its outcome")
    finally:
        supervisor.stop()
    assert session_ids(Files(), layout) == ["large"]


def test_the_process_ends_when_there_is_nothing_to_do_and_comes_back_for_the_next_job(
    layout: SpoolLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_supervisor, "IDLE_S", 0.3)
    supervisor, heard = supervised(layout, tmp_path)
    supervisor.start()
    try:
        for count, name in enumerate(("a", "b"), 1):
            drop(layout, name, f"session_id: {name}\n{GOOD}")
            supervisor.look()
            wait_until(lambda count=count: len(heard.outcomes) == count)  # type: ignore[misc]
            wait_until(lambda: not children(os.getpid()), what="the end of the process")
    finally:
        supervisor.stop()
    assert session_ids(Files(), layout) == ["a", "b"]


def children(pid: int) -> list[str]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command:
                found.append(child)
    return found


def test_a_worker_that_stops_in_the_middle_gives_the_job_back(
    layout: SpoolLayout,
) -> None:
    held = Held(3, Taker("w", 1), "20231114T221320-abcdef", "x.yaml", 1)
    (layout.taken / held.held_name).write_text(f"# {GOOD}")
    give_back(Files(), layout, Taker("w", 1))
    (found,) = (Held.parse(path.name) for path in layout.taken.iterdir())
    assert found is not None
    assert (found.attempt, found.crashes) == (2, 1)


def test_no_thread_of_a_daemon_opens_a_file_that_a_job_names(layout: SpoolLayout, tmp_path: Path) -> None:
    """Only the processes of intake and slots may: the daemon's heart beats whatever the file is."""
    data = tmp_path / "named.csv"
    data.write_text("ts,bid_a,ask_a,bid_b,ask_b,fx\n2025-01-01T00:00:00Z,1,1.1,1.2,1.3,1\n")
    opened: list[tuple[str, str]] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(data) in str(arguments[0]):
            opened.append((threading.current_thread().name, str(arguments[0])))

    sys.addaudithook(hook)
    for name, path in (("good", data), ("absent", tmp_path / "absent.csv")):
        drop(
            layout, name,
            f"session_id: {name}\ndata: [{path}]\n"
            "tuning: {method: random, max_iterations: 2, search_space: {min_spread_pct: {type: float, bounds: [0.1, 0.5]}}}\n",
        )  # fmt: skip
    config = Config(
        spool=layout.root, data_dirs=(tmp_path,), cache_dir=tmp_path / "cache", slots=1, scan_s=0.1, settle_s=0.1
    )
    try:
        code = Service(config, Log("error"), Mode(burst=True)).run()
    finally:
        watching = False
    assert code == 0
    assert opened == []
    assert [path.name for path in layout.rejected.iterdir() if path.name.startswith("absent")]


def test_submit_says_what_it_waits_for(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbd.cli.commands.submit.SAY_AFTER_S", 0.0)
    job = write_job(tmp_path / "job.yaml", "samples:quick", 1)
    told: list[str] = []

    def moved(seconds: float) -> None:
        """What becomes of the job while somebody waits for it."""
        del seconds
        name = f"s{SUBMITTED_SUFFIX}"
        held = Held(len(told) + 1, Taker("host-b", 7), "20231114T221320-abcdef", name)
        told.append(name)
        if len(told) == 1:
            (layout.incoming / name).rename(held.path(layout))
        else:
            Files().publish(layout.rejected / f"{name}.error.txt", b"enough\n")

    monkeypatch.setattr("arbd.cli.commands.submit.time.sleep", moved)
    code, _, err = arbctl("submit", job, "--session-id", "s", "--wait")
    assert code == 2
    assert "the job is queued: no worker runs on this spool that takes jobs up; start one with `arbd run`" in err
    assert "the job is queued: worker host-b checks it" in err


def test_jobs_are_taken_up_where_the_system_refuses_another_schedule(layout: SpoolLayout) -> None:
    """Who runs when nobody else does may not ask for more, unless an administrator lets it."""
    drop(layout, "one", f"session_id: one\n{GOOD}")
    unprivileged = ["setpriv", "--bounding-set=-sys_nice"] if os.geteuid() == 0 else []
    idle = ["chrt", "--idle", "0", *unprivileged, sys.executable]
    probe = "import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))"
    refused = subprocess.run([*idle, "-c", probe], capture_output=True, text=True, check=False, timeout=60)
    if "PermissionError" not in refused.stderr:
        pytest.skip("this system lets everybody leave the idle schedule")
    command = ["-m", "arbd.daemon", "run", "--burst", "--slots", "1", "--spool", str(layout.root), "--worker-id", "w"]
    environment = {**os.environ, "ARBD_CONFIG": str(layout.root.with_name("settings.yaml"))}
    Path(environment["ARBD_CONFIG"]).write_text("allow: ['command:*']\nscan_s: 0.1\nsettle_s: 0.1\n")
    done = subprocess.run(
        [*idle, *command], env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert session_ids(Files(), layout) == ["one"]


def test_a_parent_that_is_gone_is_no_fault_of_the_file_that_is_being_read(tmp_path: Path) -> None:
    text = f"""
import multiprocessing, pathlib
from arbd.daemon.side.intake_process import Told, WentOn, _tell_or_exit
from arbd.named_file import ReadRule, open_named
here, there = multiprocessing.Pipe()
there.close()
path = pathlib.Path({str(tmp_path / "data.csv")!r})
path.write_text("some")
with open_named(path, 100, ReadRule(reading=Told(lambda: _tell_or_exit(here, WentOn())))) as file:
    try:
        file.digest()
    finally:
        print("it was taken for something else", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
