"""Two daemons on two mounts of a real distributed filesystem: they share, one dies, nothing is lost or different."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arbd.analysis.table import ResultTable, load_table
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids
from tests.beds.gluster import GlusterBed
from tests.conftest import REPOSITORY, Daemons, wait_until
from tests.jobs import write_job

pytestmark = pytest.mark.bed


class TwoHosts:
    """A spool with daemon `a` on one mount of it and `b` on the other."""

    def __init__(self, bed: GlusterBed, daemons: Daemons, name: str) -> None:
        self.bed, self.daemons = bed, daemons
        self.spools = tuple(mount / name for mount in bed.mounts)
        self.spools[0].mkdir()
        self.layouts = tuple(SpoolLayout(spool) for spool in self.spools)
        self.layouts[0].prepare()

    def submit(self, job: Path, name: str) -> None:
        data = job.read_bytes() + f"session_id: {name}\n".encode()
        Files().publish(self.layouts[0].incoming / f"{name}.submitted.yaml", data)

    def start(self, index: int) -> subprocess.Popen[bytes]:
        return self.daemons.start("ab"[index], spool=self.spools[index])

    def state(self, index: int, name: str) -> LedgerState:
        paths = self.layouts[index].session(name)
        return SessionQueue(Files(), paths).refresh() if paths.ledger.exists() else LedgerState()

    def table(self, index: int, name: str) -> ResultTable:
        return load_table(self.spools[index], name)


def both_work(hosts: TwoHosts, name: str, index: int) -> bool:
    counts = hosts.state(index, name).worker_counts
    return all(sum(counts.get(worker, [0])) > 0 for worker in "ab")


@pytest.fixture
def hosts(gluster: GlusterBed, daemons: Daemons, request: pytest.FixtureRequest) -> TwoHosts:
    return TwoHosts(gluster, daemons, str(abs(hash(request.node.name))))


def assert_right(table: ResultTable, n: int) -> None:
    assert table.rows.iteration.tolist() == list(range(1, n + 1))
    assert np.array_equal(table.rows.metrics["value"], table.rows.params["x"])


def test_two_hosts_share_a_session(hosts: TwoHosts, tmp_path: Path) -> None:
    hosts.submit(write_job(tmp_path / "job.yaml", "samples:slow", 600), "shared")
    hosts.start(0)
    hosts.start(1)
    wait_until(lambda: hosts.state(1, "shared").done, 60)
    assert both_work(hosts, "shared", 1)
    for index in (0, 1):
        assert_right(hosts.table(index, "shared"), 600)


@pytest.mark.parametrize(
    "death", ["the daemon is killed", "the client of the mount is killed", "the host falls silent"]
)
def test_what_a_dead_host_had_is_done_by_the_other(hosts: TwoHosts, tmp_path: Path, death: str) -> None:
    hosts.submit(write_job(tmp_path / "job.yaml", "samples:slow", 1_500), "takeover")
    hosts.start(1)
    first = hosts.start(0)
    wait_until(lambda: both_work(hosts, "takeover", 1), what="both at work")
    if death == "the host falls silent":
        hosts.bed.unplug(0)
    elif death == "the client of the mount is killed":
        hosts.bed.kill_client(0)
    else:
        first.kill()
    try:
        # A silent client's locks are kept by the file server for as long as its ping timeout.
        wait_until(lambda: hosts.state(1, "takeover").done, 90, "the end of the session")
        assert_right(hosts.table(1, "takeover"), 1_500)
        assert "took back the work of a dead worker" in hosts.daemons.log()
    finally:
        first.kill()
        if death == "the host falls silent":
            # Whoever waits for a silent server in the kernel cannot be killed, but for its client's end.
            hosts.bed.kill_client(0)
            hosts.bed.plug(0)
        first.wait(30)
        if death != "the daemon is killed":
            hosts.bed.mount(0)


@pytest.mark.timeout(900)
def test_many_jobs_that_are_dropped_at_once_all_become_sessions_on_both_mounts(hosts: TwoHosts, tmp_path: Path) -> None:
    # On this filesystem some of 500 folders that were renamed into place were lost for good: ARBD_MANY_JOBS=500.
    count = int(os.environ.get("ARBD_MANY_JOBS", "40"))
    job = write_job(tmp_path / "job.yaml", "samples:quick", 2)
    hosts.start(0)
    hosts.start(1)
    names = [f"j{number:03}" for number in range(count)]
    for name in names:
        hosts.submit(job, name)
    left = set(names)

    def all_done() -> bool:
        left.difference_update([name for name in sorted(left)[:20] if hosts.state(0, name).done])
        return not left

    wait_until(all_done, 840, "the end of all sessions")
    for index in (0, 1):
        assert session_ids(Files(), hosts.layouts[index]) == names
        assert all(hosts.state(index, name).counts == [2, 0, 0, 0] for name in names)
        assert Files().names(hosts.layouts[index].rejected) == []


def test_a_drained_host_gives_its_work_back_at_once(hosts: TwoHosts, tmp_path: Path) -> None:
    hosts.submit(write_job(tmp_path / "job.yaml", "samples:slow", 2_000), "drained")
    first = hosts.start(0)
    hosts.start(1)
    wait_until(lambda: both_work(hosts, "drained", 1), what="both at work")
    first.terminate()
    assert first.wait(20) == 0
    assert all(claim.worker_id == "b" for claim in hosts.state(1, "drained").claims.values())


@pytest.mark.timeout(600)
def test_chaos_on_two_hosts_changes_nothing(gluster: GlusterBed) -> None:
    spools = [str(mount / "chaos") for mount in gluster.mounts]
    command = [
        sys.executable, "-m", "tests.chaos", "--daemons", "4", "--minutes", "0.3", "--iterations", "4000", "--seed", "5",
        "--spool", spools[0], "--spool", spools[1],
    ]  # fmt: skip
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"same": true' in done.stdout


@pytest.mark.timeout(600)
def test_chaos_on_one_host_changes_nothing() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--daemons", "4", "--minutes", "0.3", "--iterations", "4000", "--seed", "6"]  # fmt: skip
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"same": true' in done.stdout
