"""Dask while things break: workers and schedulers that are killed, both kinds of slots at once, what the daemon says."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbd.analysis.loading import load_session
from arbd.daemon.executors.protocol import Loss
from arbd.daemon.executors.settings import ExecutorSettings
from arbd.spool.layout import SpoolLayout
from tests.clusters import DaskCluster
from tests.conftest import Arbctl, Daemons, wait_until

pytest.importorskip("distributed", reason="the extra `dask` is not installed")
pytestmark = pytest.mark.slow

JOB = """
session_id: s
objective: {python: "samples:slow"}
metric: value
tuning:
  method: sobol
  search_space: {x: {type: float, bounds: [0, 1]}}
  max_iterations: ITERATIONS
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    made = DaskCluster(tmp_path / "cluster")
    yield made
    made.stop()


def with_executor(daemons: Daemons, address: str) -> None:
    daemons.config.write_text(
        f"{daemons.config.read_text()}executor: {{kind: dask, scheduler: '{address}', slots: 2}}\n"
    )


def test_workers_that_are_there_are_seen_at_every_look_whatever_else_the_client_asks_meanwhile(
    cluster: DaskCluster,
) -> None:
    """Dask's client asks its scheduler by itself now and then, for no workers: here all the time."""
    import dask.config

    from arbd.daemon.executors.kinds.dask import DaskExecutor

    cluster.start_scheduler()
    cluster.start_worker()
    with dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}):
        executor = DaskExecutor(ExecutorSettings(kind="dask", scheduler=cluster.address, slots=2))
        try:
            wait_until(lambda: executor.look().ready == 1, what="the check of the worker")
            assert {executor.look().ready for _ in range(300)} == {1}
        finally:
            executor.close()


def test_a_chunk_whose_workers_are_all_gone_comes_back_when_others_are_there(cluster: DaskCluster) -> None:
    """The scheduler keeps it for those that may evaluate it, and nobody else may."""
    from arbd.daemon.executors.kinds.dask import DaskExecutor

    cluster.start_scheduler()
    first = cluster.start_worker()
    executor = DaskExecutor(ExecutorSettings(kind="dask", scheduler=cluster.address, slots=2))
    try:
        wait_until(lambda: executor.look().ready == 1, what="the check of the first worker")
        future = executor.submit(lambda *given: time.sleep(600) or b"", b"job", b"chunk", {})
        assert not future.done()
        first.kill()
        first.wait(60)
        cluster.start_worker()
        wait_until(lambda: executor.look().ready == 1 and future.done(), 120.0, what="the chunk to come back")
        error = future.exception()
        assert error is not None
        assert executor.loss(error) is Loss.AWAY
        again = executor.submit(lambda *given: b"answer", b"job", b"chunk", {})
        assert again.result(60) == b"answer"
    finally:
        executor.close()


def told(arbctl: Arbctl) -> dict[str, Any]:
    workers = json.loads(arbctl("workers", "--json")[1])["workers"]
    return next((worker["executor"] for worker in workers if worker["executor"]), {})


def done(arbctl: Arbctl) -> int:
    code, out, _ = arbctl("status", "s", "--json")
    return int(json.loads(out).get("done") or 0) if code == 0 else 0


def test_every_iteration_is_there_once_after_workers_and_the_scheduler_were_killed_under_both_kinds_of_slots(
    layout: SpoolLayout, arbctl: Arbctl, daemons: Daemons, cluster: DaskCluster, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("ITERATIONS", "400"))
    cluster.start_scheduler()
    cluster.start_worker()
    first = cluster.start_worker()
    with_executor(daemons, cluster.address)
    daemons.start("far", slots=0)
    assert arbctl("submit", tmp_path / "job.yaml")[0] == 0
    wait_until(lambda: done(arbctl) > 50, what="work on the cluster")
    first.kill()
    first.wait(20)
    cluster.start_worker()
    had = done(arbctl)
    wait_until(lambda: done(arbctl) > had + 50, what="work without the killed worker")
    cluster.kill_scheduler()
    wait_until(lambda: "the scheduler" in told(arbctl).get("waits_for", ""), what="the daemon's word")
    assert "waits for the scheduler" in arbctl("status", "s")[1]
    daemons.start("near", slots=1)
    cluster.start_scheduler()
    cluster.start_worker()
    wait_until(lambda: told(arbctl).get("ready"), what="the scheduler's return")
    wait_until(lambda: json.loads(arbctl("status", "s", "--json")[1])["state"] == "done", what="the end")
    found = load_session(layout.root, "s")
    assert sorted(result.iteration for result in found) == list(range(1, 401))
    assert {result.status for result in found} == {"completed"}
    assert {result.worker_id for result in found} == {"far", "near"}
    assert all(result.metrics["value"] == result.params["x"] for result in found)


def test_a_worker_with_another_numpy_is_refused_before_its_first_chunk_and_said(
    arbctl: Arbctl, daemons: Daemons, cluster: DaskCluster, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("ITERATIONS", "40"))
    # A module that Python imports when it starts: what the worker has for NumPy calls itself otherwise.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sitecustomize.py").write_text("import numpy\nnumpy.__version__ = '1.0.0'\n")
    cluster.start_scheduler()
    cluster.start_worker(PYTHONPATH=str(tmp_path / "other"))
    with_executor(daemons, cluster.address)
    daemons.start("far", slots=0)
    assert arbctl("submit", tmp_path / "job.yaml")[0] == 0
    wait_until(lambda: told(arbctl).get("refused"), what="the refusal")
    wait_until(lambda: "done" in json.loads(arbctl("status", "s", "--json")[1]), what="the session")
    assert "NumPy is 1.0.0 there" in arbctl("workers")[1]
    assert "1 refused" in arbctl("status", "s")[1]
    assert "refuses its worker" in arbctl("doctor")[1]
    assert done(arbctl) == 0
    cluster.start_worker()
    wait_until(lambda: done(arbctl) == 40, what="the work of the fit one")


def test_a_scheduler_that_hangs_is_told_and_goes_on_where_it_was(
    arbctl: Arbctl, daemons: Daemons, cluster: DaskCluster, layout: SpoolLayout, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("ITERATIONS", "200"))
    cluster.start_scheduler()
    cluster.start_worker()
    with_executor(daemons, cluster.address)
    daemons.start("far", slots=0)
    assert arbctl("submit", tmp_path / "job.yaml")[0] == 0
    wait_until(lambda: done(arbctl) > 20, what="work on the cluster")
    assert cluster.scheduler is not None
    cluster.scheduler.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: "does not return" in told(arbctl).get("waits_for", ""), what="the daemon's word")
        assert "waits for the executor, whose" in arbctl("status", "s")[1]
    finally:
        cluster.scheduler.send_signal(signal.SIGCONT)
    wait_until(lambda: json.loads(arbctl("status", "s", "--json")[1])["state"] == "done", what="the end")
    found = load_session(layout.root, "s")
    assert sorted(result.iteration for result in found) == list(range(1, 201))
