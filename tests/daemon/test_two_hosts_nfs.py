"""Two daemons on two machines that share a folder by NFS as the installation guide has it set up.

Sharing, loss of power, and a machine that stands still.
"""

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
from tests.guide import commands

# The machines are emulated: minutes here are seconds on real ones.
pytestmark = [pytest.mark.bed, pytest.mark.timeout(900)]

LEASE_S = 15
SPOOL, DATA = "/mnt/arbd/spool", "/mnt/arbd/data"
AS_ARBD = ("setpriv", "--reuid=arbd", "--regid=arbd", "--init-groups", "env", "HOME=/tmp")
CONFIG = f"""
spool: {SPOOL}
allow: ['python:*']
objective_paths: [{DATA}]
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
    on_server = commands("install.md", "With NFS, on the server:")
    on_clients = commands("install.md", "On each host that works:")
    with brought_up(NfsBed(tmp_path_factory.mktemp("nfs"), on_server, on_clients, LEASE_S)) as up:
        write(up.clients[0], f"{DATA}/arbd.yaml", CONFIG)
        write(up.clients[0], f"{DATA}/nfs_objective.py", OBJECTIVE)
        yield up


def write(guest: Guest, path: str, content: str) -> None:
    done = guest.run(*AS_ARBD, "python3", "-c", WRITE, path, content)
    assert done.status == 0, done.err


def submit(guest: Guest, name: str, n: int) -> None:
    write(guest, f"{SPOOL}/incoming/{name}.submitted.yaml", JOB.format(name=name, n=n))


def start(guest: Guest, worker_id: str) -> int:
    log = f"exec python3 -m arbd.daemon run --config {DATA}/arbd.yaml --worker-id {worker_id} --slots 1 2>>{DATA}/{worker_id}.log"
    return guest.start(*AS_ARBD, "sh", "-c", log)


def report(guest: Guest, name: str) -> dict[str, Any]:
    done = guest.run(*AS_ARBD, "python3", "/code/tests/beds/guest/report.py", SPOOL, name)
    assert done.status == 0, done.err
    return dict(json.loads(done.out))


def wait_for(guest: Guest, name: str, what: str, within_s: float = 300.0) -> dict[str, Any]:
    """Until the session is `done`, or has `begun`: machine one has recorded results."""
    give_up = time.monotonic() + within_s
    session = f"{SPOOL}/sessions/{name}"
    look = f"find {session}/results.msgpack {session}/segments -type f -size +0 2>/dev/null; grep -l Traceback {DATA}/*.log"
    while True:
        # Starting Python in an emulated machine takes it the seconds that its daemon needs.
        found = [Path(line) for line in guest.run(*AS_ARBD, "sh", "-c", look).out.split()]
        wrote = {path.name.split("-")[0] for path in found if path.parent.name == "segments"}
        if any(path.name == "results.msgpack" for path in found) if what == "done" else "one" in wrote:
            return report(guest, name)
        if time.monotonic() > give_up or any(path.suffix == ".log" for path in found):
            logs = guest.run(*AS_ARBD, "sh", "-c", f"tail -n 20 {DATA}/*.log").out
            raise AssertionError(f"not {what} within {within_s} s: {report(guest, name)}\n{logs}")
        time.sleep(1)


def workers(guest: Guest) -> dict[str, str]:
    """Worker id and state, as `arbctl workers` tells them."""
    done = guest.run(*AS_ARBD, "python3", "-m", "arbd.cli", "--config", f"{DATA}/arbd.yaml", "workers", "--json")
    assert done.status == 0, done.err
    return {worker["worker_id"]: worker["state"] for worker in json.loads(done.out)["workers"]}


def stop(guest: Guest, pid: int) -> None:
    guest.run("sh", "-c", f"kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.2; done")


def assert_right(told: dict[str, Any]) -> None:
    assert (told["iterations"], told["metrics"]) == (True, True)


def test_an_exchange_asks_the_server_eight_times_at_most(bed: NfsBed) -> None:
    done = bed.clients[0].run(
        *AS_ARBD, "python3", "/code/tests/beds/guest/exchanges.py", SPOOL, "counted", "20", timeout_s=300
    )
    assert done.status == 0, done.err
    # What the client tells the server later, by itself, and nothing waits for.
    asked = {name: each for name, each in json.loads(done.out).items() if name not in ("FREE_STATEID", "DELEGRETURN")}
    assert asked.keys() >= {"LOCK", "LOCKU", "WRITE"}, "this is no NFS mount"
    assert sum(asked.values()) <= 8, asked


def test_locks_and_appends_of_two_nfs_clients_exclude_each_other(bed: NfsBed) -> None:
    one, two = bed.clients
    turns = 12
    pids = [
        (
            guest,
            guest.start(
                *AS_ARBD, "python3", "/code/tests/beds/guest/turns.py", SPOOL, f"{guest.role}{number}", str(turns)
            ),
        )
        for guest in (one, two)
        for number in (1, 2)
    ]
    for guest, pid in pids:
        guest.run("sh", "-c", f"while kill -0 {pid} 2>/dev/null; do sleep 0.2; done", timeout_s=300)
    data = bytes.fromhex(bed.server.run("python3", "-c", "print(open('/srv/arbd/spool/turns','rb').read().hex())").out)
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
    assert workers(two) == {"one": "running", "two": "running"}
    submit(two, "power", 500)
    wait_for(two, "power", "begun")
    one.cut_power()
    told = wait_for(two, "power", "done")
    assert_right(told)
    assert all(told["workers"][worker_id] for worker_id in ("one", "two"))
    assert "took back the work of a dead worker" in two.run(*AS_ARBD, "cat", f"{DATA}/two.log").out
    stop(two, second)
    one.boot()
    one.wait()
