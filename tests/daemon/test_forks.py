"""Processes are copies of one that has imported everything: they cost no import, and end with the daemon."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.daemon import forks
from arbd.daemon.slots.pool import Slot, SlotEvent
from arbd.daemon.slots.protocol import ChunkTask, SlotSetup
from arbd.objective.processes import descendants, is_running
from tests.conftest import Arbctl, Daemons, wait_until

JOB = """
objective: {python: "samples:quick"}
metric: value
tuning: {method: random, search_space: {x: {type: float, bounds: [0, 1]}}, max_iterations: 5}
"""
SERVER, SLOT = "arbd-forkserver", "arbd-slot"


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    (tmp_path / "run").mkdir()
    events: queue.Queue[SlotEvent] = queue.Queue()
    ready: queue.Queue[None] = queue.Queue()
    setup = SlotSetup("", "w", 1, os.getpid(), Path(), Path(), tmp_path / "cache", (), ("python:*",))
    slot = Slot(0, setup, tmp_path / "run", events.put, lambda: ready.put(None))
    try:
        ready.get(timeout=60)
        yield slot
    finally:
        assert slot.end(5.0)
        forks.stop_server()


def named(pid: int | None) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def parent(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_slot_is_a_copy_of_the_server_and_so_is_the_next_one(slot: Slot) -> None:
    server = parent(slot.pid)
    assert (named(server), named(slot.pid)) == (SERVER, SLOT)
    before = slot.pid
    slot.restart()
    wait_until(lambda: slot.progress.look().pid > 0)
    assert (slot.pid != before, parent(slot.pid)) == (True, server)


def test_a_slot_begins_from_the_disk_where_arbds_own_code_changed_and_stays_with_that(slot: Slot) -> None:
    for _ in range(2):
        slot.restart(from_disk=True)
        wait_until(lambda: slot.progress.look().pid > 0)
        assert parent(slot.pid) == os.getpid()


def test_no_iteration_is_at_fault_when_the_server_ends_and_the_next_slot_has_another(
    slot: Slot, tmp_path: Path
) -> None:
    server, pid = parent(slot.pid), slot.pid
    slot.submit(ChunkTask(1, tmp_path / "spool" / "sessions" / "none", ()))
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), what="the end of the slot")
    exit_report = slot.exit_report()
    assert exit_report.interrupted
    assert exit_report.error() == "the process that slots are copies of ended"
    slot.restart()
    wait_until(lambda: slot.progress.look().pid > 0)
    assert (named(parent(slot.pid)), parent(slot.pid) != server) == (SERVER, True)


@pytest.mark.parametrize(("allow", "loads"), [(("python:*",), False), (("paper",), True), (("*",), True)])
def test_what_loads_machine_code_is_there_where_the_paper_engine_is_allowed(
    allow: tuple[str, ...], loads: bool, daemons: Daemons
) -> None:
    settings = daemons.config.read_text().splitlines()
    kept = [line for line in settings if not line.startswith("allow:")]
    daemons.config.write_text("\n".join([*kept, f"allow: [{', '.join(map(repr, allow))}]", ""]))
    daemon = daemons.start("a", slots=1)

    def slots() -> list[int]:
        return [pid for pid in descendants(daemon.pid) if named(pid) == SLOT]

    wait_until(slots)
    assert ("llvmlite" in Path(f"/proc/{parent(slots()[0])}/maps").read_text()) is loads


def test_the_server_is_a_copy_of_its_daemon_and_keeps_none_of_its_files(daemons: Daemons) -> None:
    daemon = daemons.start("a", slots=1)

    def slots() -> list[int]:
        return [pid for pid in descendants(daemon.pid) if named(pid) == SLOT]

    wait_until(slots)
    server = parent(slots()[0])
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (daemon.pid, server)]
    assert commands[0] == commands[1]
    opened = [str(entry.readlink()) for entry in Path(f"/proc/{server}/fd").iterdir()]
    assert not [name for name in opened if name.startswith(str(daemons.spool))]


def test_a_daemon_that_ends_leaves_no_server_behind(daemons: Daemons, tmp_path: Path) -> None:
    daemon = daemons.start("a", slots=1)
    wait_until(lambda: {SERVER, SLOT} <= {named(pid) for pid in descendants(daemon.pid)})
    below = descendants(daemon.pid)
    daemon.terminate()
    assert daemon.wait(30) == 0
    # The interpreter's own helper ends a moment after the last process that used it.
    wait_until(lambda: not any(map(is_running, below)), 10, "the end of all processes")


def test_a_server_whose_daemon_died_before_it_began_ends(tmp_path: Path) -> None:
    # The pipe by which it would be told stays open in copies, or in whoever else has it.
    read, write = os.pipe()
    text = f"""
import os, subprocess, sys
os.environ[{forks.CREATOR!r}] = str(os.getpid())
begins = "import time\\nwhile os.path.exists('/proc/%s/fd'): time.sleep(0.01)\\n" % os.getpid()
begins = "import os\\n" + begins + "import {forks.TEMPLATE}\\nos.write({write}, b'begun')\\nos.read(0, 1)"
subprocess.Popen([sys.executable, "-c", begins], stdin=subprocess.PIPE, pass_fds=[{write}])
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", text], pass_fds=[write], check=True)
    os.close(write)
    # Nothing was written when the last one that could has ended.
    with os.fdopen(read, "rb") as told:
        assert told.read() == b""


def test_with_a_standard_library_that_starts_its_server_otherwise_slots_begin_from_the_disk(
    daemons: Daemons, arbctl: Arbctl, tmp_path: Path
) -> None:
    """A library of that kind is made of the one that is there: as of the next version, nobody knows which."""
    main = tmp_path / "otherwise.py"
    main.write_text("""
from multiprocessing import forkserver, util
import arbd.daemon.__main__ as daemon

if __name__ == "__main__":
    spawn, before = util.spawnv_passfds, forkserver.ensure_running

    def ensure_running():
        now, util.spawnv_passfds = util.spawnv_passfds, spawn
        try:
            before()
        finally:
            util.spawnv_passfds = now

    forkserver.ensure_running = ensure_running
    daemon.main()
""")
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    assert arbctl("submit", job, "--session-id", "s")[0] == 0
    done = subprocess.run(
        [sys.executable, main, "run", "--config", daemons.config, "--spool", daemons.spool, "--burst", "--slots", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("unknown way" in done.stderr, "completed=5" in done.stderr) == (True, True), done.stderr


@pytest.mark.parametrize("has_stop", [True, False])
def test_nothing_keeps_the_librarys_tracker_from_ending_once_the_server_was_stopped(has_stop: bool) -> None:
    """As newer versions of the standard library end it, and wait for it, when the interpreter ends."""
    text = f"""
from multiprocessing import forkserver, resource_tracker
from arbd.daemon import forks
from arbd.objective.processes import adopt_orphans
adopt_orphans()
if not {has_stop}:
    del forkserver.ForkServer._stop
print(forks.fork_server(engine=False, intake=False))
forks.stop_server()
forks.stop_server()
resource_tracker._resource_tracker._stop()
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{has_stop}\n"


@pytest.mark.parametrize(
    ("command", "wrong"),
    [("daemon", "spool"), ("daemon", "worker id"), ("daemon", "code"), ("cli", "worker id"), ("cli", "code")],
)
def test_a_worker_that_cannot_start_ends_also_where_the_library_waits_for_its_tracker(
    command: str, wrong: str, daemons: Daemons, tmp_path: Path
) -> None:
    main, job = tmp_path / "newer.py", tmp_path / "job.yaml"
    job.write_text(JOB.replace('{python: "samples:quick"}', "{command: [/bin/true]}"))
    main.write_text(f"""
import atexit
from multiprocessing import resource_tracker
import arbd.{command}.__main__ as command
from arbd.daemon import service

def broken(*given):
    raise RuntimeError("an error")

if __name__ == "__main__":
    atexit.register(resource_tracker._resource_tracker._stop)
    if {wrong == "code"}:
        service.run_folder = broken
    command.main()
""")
    if wrong == "worker id":
        daemons.start("taken", slots=1)
        wait_until(lambda: "started" in daemons.log())
    spool = daemons.spool if wrong != "spool" else Path("/dev/null/spool")
    arguments = {
        "daemon": ["run", "--config", daemons.config, "--spool", spool, "--slots", "1", "--worker-id", "taken"],
        "cli": ["--spool", spool, "run", job, "--workers", "1", "--worker-id", "taken"],
    }[command]
    done = subprocess.run(
        [sys.executable, main, *arguments], capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    said = {"spool": "/dev/null/spool", "worker id": "taken", "code": "an error"}[wrong]
    assert (done.returncode not in (0, 2), said in done.stderr) == (True, True), done.stderr
