"""What slots of somebody else cost: 200 simulated ones under a real daemon, and Dask with and without arbd.

    python -m benchmarks.executors slots [--slots 200] [--seconds 30]
    python -m benchmarks.executors dask [--iterations 1000000] [--singles 20000]

`slots`: chunks of 2 s that nobody computes; how busy the slots were, and how much processor time the daemon took (with
the making of the rows that a worker would have made). `dask`: a scheduler and two workers on loopback; no-op iterations
through arbd, and single no-op items through Dask's own `map`.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SLOT_S = "ARBD_BENCH_CHUNK_S"
REPORT = "ARBD_BENCH_REPORT"
EACH_S = 0.05
OBJECTIVE = """
import numpy as np
def objective(params):
    return {"value": params["x"]}
def evaluate_batch(columns):
    return {"value": np.asarray(columns["x"])}
"""
JOB = """
session_id: bench
objective: {{python: "{module}:objective"}}
metric: value
tuning:
  method: sobol
  search_space: {{x: {{type: float, bounds: [0, 1]}}}}
  max_iterations: {n}
results: {{csv: false}}
"""


class SimulatedExecutor(Executor):
    """Answers a chunk after as long as its iterations would take; counts how long its slots were busy."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Future[bytes], bytes]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._busy_s = 0.0
        self._first_s = 0.0
        self._last_s = 0.0
        self._cpu_s = 0.0
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor`: `function` is not called."""
        job, chunk, _ = args
        answer, took_s = _answer(job, chunk)
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        now_s = time.monotonic()
        if not self._first_s:
            self._first_s, self._cpu_s = now_s, time.process_time()
        with self._changed:
            self._busy_s += took_s
            heapq.heappush(self._due, (now_s + took_s, next(self._numbers), future, answer))
            self._changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                _, _, future, answer = heapq.heappop(self._due)
            self._last_s = time.monotonic()
            future.set_result(answer)
            if not self._due:
                self._report()

    def _report(self) -> None:
        figures = {"busy_s": self._busy_s, "wall_s": self._last_s - self._first_s,
                   "cpu_s": time.process_time() - self._cpu_s, "chunks": next(self._numbers)}  # fmt: skip
        Path(os.environ[REPORT]).write_text(json.dumps(figures))


def simulated() -> Executor:
    """For `executor.factory`."""
    return SimulatedExecutor()


def _answer(job: bytes, chunk: bytes) -> tuple[bytes, float]:
    from arbd.daemon.remote.wire import Answer, Outcome, decode_chunk, decode_job
    from arbd.daemon.slots.shipped_plan import ShippedPlan
    from arbd.results.columns import RowBatch

    found = decode_chunk(chunk)
    plan = ShippedPlan.decode(found.planned)
    rows, count = [], 0
    for sub_span in found.sub_spans:
        span = sub_span.span
        planned, n = plan.rows(span.first, span.count), span.count
        count += n
        batch = RowBatch(
            iteration=np.arange(span.first, span.first + n),
            status=np.zeros(n, dtype=np.uint8),
            ended_ns=np.full(n, time.time_ns()),
            duration_s=np.full(n, EACH_S),
            attempt=np.ones(n, dtype=np.int32),
            epoch=np.full(n, span.epoch, dtype=np.int32),
            params=planned.columns,
            metrics={"value": planned.columns["x"]},
        )
        rows.append(batch.encode())
    answer = Answer(
        Outcome.EVALUATED, "simulated", rows=tuple(rows), parts=decode_job(job).parts, busy_s=count * EACH_S
    )
    return answer.encode(), count * EACH_S


def _run(folder: Path, n: int, *options: str, **environment: str) -> float:
    (folder / "spool").mkdir(exist_ok=True)
    (folder / "noop.py").write_text(OBJECTIVE)
    (folder / "job.yaml").write_text(JOB.format(module="noop", n=n))
    began_s = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "arbd.cli", "--spool", folder / "spool", "run", folder / "job.yaml", *options],
        check=True, cwd=folder, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), **environment},
    )  # fmt: skip
    return time.monotonic() - began_s


def slots(count: int, seconds: float) -> None:
    """Print how busy simulated slots are."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        report = folder / "report.json"
        n = int(count * seconds / EACH_S)
        options = ("--executor", "factory", "--factory", "benchmarks.executors:simulated", "--workers", str(count))
        _run(folder, n, *options, **{REPORT: str(report)})
        found = json.loads(report.read_text())
    print(json.dumps({
        "benchmark": "simulated_slots", "slots": count, "iterations": n, "chunks": found["chunks"],
        "busy_percent": round(100 * found["busy_s"] / (count * found["wall_s"]), 1),
        "seconds": round(found["wall_s"], 1), "daemon_cores": round(found["cpu_s"] / found["wall_s"], 2),
    }))  # fmt: skip


def dask(n: int, singles: int) -> None:
    """Print what no-op iterations cost through arbd and Dask, and single items through Dask alone."""
    from distributed import Client

    from tests.clusters import DaskCluster

    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        cluster = DaskCluster(Path(name) / "cluster")
        try:
            cluster.start_scheduler()
            for _ in range(2):
                cluster.start_worker()
            took_s = _run(Path(name), n, "--executor", "dask", "--scheduler", cluster.address, "--workers", "2")
            with Client(cluster.address, set_as_default=False) as client:
                began_s = time.monotonic()
                client.gather(client.map(abs, range(1, singles + 1), pure=False))
                singles_s = time.monotonic() - began_s
        finally:
            cluster.stop()
    print(json.dumps({
        "benchmark": "dask_noop", "iterations": n, "seconds": round(took_s, 1), "per_s": round(n / took_s),
        "map_items": singles, "map_seconds": round(singles_s, 1), "map_per_s": round(singles / singles_s),
        "times": round(n / took_s / (singles / singles_s), 1),
    }))  # fmt: skip


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("slots", "dask"))
    parser.add_argument("--slots", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--iterations", type=int, default=1_000_000)
    parser.add_argument("--singles", type=int, default=20_000)
    given = parser.parse_args()
    if given.which == "slots":
        slots(given.slots, given.seconds)
    else:
        dask(given.iterations, given.singles)


if __name__ == "__main__":
    main()
