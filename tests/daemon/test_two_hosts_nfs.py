"""Two daemons on two machines with a real NFSv4.2 mount: sharing, loss of power, and a machine that stands still."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbd.spool.frames import scan_frames
from tests.beds.nfs import Guest, NfsBed
from tests.conftest import brought_up

# The machines are emulated: minutes here are seconds on real ones.
pytestmark = [pytest.mark.bed, pytest.mark.timeout(900)]

LEASE_S = 15
CONFIG = """
allow: ['python:*']
objective_paths: [/mnt/objectives]
cache_dir: /tmp/cache
watch: polling
lease_s: 20
chunk_target_s: 1
"""
OBJECTIVE = "import time\ndef go(params):\n    time.sleep(0.1)\n    return {'value': params['x']}\n"
JOB = """
session_id: {name}
objective: {{python: 'nfs_objective:go'}}
metric: value
tuning:
  method: random
  max_iterations: {n}
  search_space: {{x: {{type: float, bounds: [0, 1]}}}}
"""
WRITE = """
import sys
from pathlib import Path
from arbd.spool.files import Files
path = Path(sys.argv[1])
path.parent.mkdir(parents=True, exist_ok=True)
Files().publish(path, sys.argv[2].encode())
"""


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NfsBed]:
    with brought_up(NfsBed(tmp_path_factory.mktemp("nfs"), LEASE_S)) as up:
        for path, content in (("arbd.yaml", CONFIG), ("objectives/nfs_objective.py", OBJECTIVE), ("spool/.made", "\n")):
            write(up.clients[0], f"/mnt/{path}", content)
        yield up


def write(guest: Guest, path: str, content: str) -> None:
    done = guest.run("python3", "-c", WRITE, path, content)
    assert done.status == 0, done.err


def submit(guest: Guest, name: str, n: int) -> None:
    write(guest, f"/mnt/spool/incoming/{name}.submitted.yaml", JOB.format(name=name, n=n))


def start(guest: Guest, worker_id: str) -> int:
    log = f"exec python3 -m arbd.daemon run --config /mnt/arbd.yaml --spool /mnt/spool --worker-id {worker_id} --slots 1 2>>/mnt/{worker_id}.log"
    return guest.start("sh", "-c", log)


def report(guest: Guest, name: str) -> dict[str, Any]:
    done = guest.run("python3", "/code/tests/beds/guest/report.py", "/mnt/spool", name)
    assert done.status == 0, done.err
    return dict(json.loads(done.out))


def wait_for(guest: Guest, name: str, what: str, within_s: float = 300.0) -> dict[str, Any]:
    """Until the session is `done`, or has `begun`: machine one has recorded results."""
    give_up = time.monotonic() + within_s
    session = f"/mnt/spool/sessions/{name}"
    look = (
        f"find {session}/results.msgpack {session}/segments -type f -size +0 2>/dev/null; grep -l Traceback /mnt/*.log"
    )
    while True:
        # Starting Python in an emulated machine takes it the seconds that its daemon needs.
        found = [Path(line) for line in guest.run("sh", "-c", look).out.split()]
        wrote = {path.name.split("-")[0] for path in found if path.parent.name == "segments"}
        if any(path.name == "results.msgpack" for path in found) if what == "done" else "one" in wrote:
            return report(guest, name)
        if time.monotonic() > give_up or any(path.suffix == ".log" for path in found):
            logs = guest.run("sh", "-c", "tail -n 20 /mnt/*.log").out
            raise AssertionError(f"not {what} within {within_s} s: {report(guest, name)}\n{logs}")
        time.sleep(1)


def stop(guest: Guest, pid: int) -> None:
    guest.run("sh", "-c", f"kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.2; done")


def assert_right(told: dict[str, Any]) -> None:
    assert (told["iterations"], told["metrics"]) == (True, True)


def test_locks_and_appends_of_two_nfs_clients_exclude_each_other(bed: NfsBed) -> None:
    one, two = bed.clients
    turns = 12
    pids = [
        (guest, guest.start("python3", "/code/tests/beds/guest/turns.py", "/mnt", f"{guest.role}{number}", str(turns)))
        for guest in (one, two)
        for number in (1, 2)
    ]
    for guest, pid in pids:
        guest.run("sh", "-c", f"while kill -0 {pid} 2>/dev/null; do sleep 0.2; done", timeout_s=300)
    data = bytes.fromhex(bed.server.run("python3", "-c", "print(open('/export/spool/turns','rb').read().hex())").out)
    scan = scan_frames(data)
    said = [bytes(frame.payload).decode() for frame in scan.frames]
    assert scan.damage == ()
    assert len(said) == 2 * 4 * turns
    for came, went in zip(said[::2], said[1::2], strict=True):
        assert (came.removesuffix("in"), went) == (went.removesuffix("out"), came.removesuffix("in") + "out")


def test_a_machine_that_stands_still_does_no_harm_and_one_that_loses_its_power_is_replaced(bed: NfsBed) -> None:
    one, two = bed.clients
    _, second = start(one, "one"), start(two, "two")
    submit(two, "frozen", 300)
    wait_for(two, "frozen", "begun")
    one.freeze()
    time.sleep(2 * LEASE_S)
    one.thaw()
    assert_right(wait_for(two, "frozen", "done"))
    assert report(one, "frozen")["done"]
    submit(two, "power", 500)
    wait_for(two, "power", "begun")
    one.cut_power()
    told = wait_for(two, "power", "done")
    assert_right(told)
    assert all(told["workers"][worker_id] for worker_id in ("one", "two"))
    assert "took back the work of a dead worker" in two.run("cat", "/mnt/two.log").out
    stop(two, second)
    one.boot()
    one.wait()
