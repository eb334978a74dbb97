"""Chaos on Dask: workers and the scheduler are killed and started, the link is cut, at random while a session is worked on.

    python -m tests.chaos_dask [--seconds 60] [--seed N] [--iterations N]

A daemon has slots of a Dask cluster on loopback. When the time is over the cluster is left alone; then every iteration
has to be there once, with what an undisturbed run of local slots made of it. Prints one line of JSON; exit 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from arbd.analysis.loading import load_session
from tests.clusters import DaskCluster, Relay
from tests.conftest import OBJECTIVES, REPOSITORY

WORKERS = 3
PAUSE_S = (0.5, 4.0)
JOB = """
objective: {{python: "samples:{function}"}}
metric: value
tuning:
  method: sobol
  search_space: {{x: {{type: float, bounds: [0, 1]}}}}
  max_iterations: {n}
"""


class Chaos:
    """A cluster, and what is done to it."""

    def __init__(self, cluster: DaskCluster, relay: Relay, rng: random.Random) -> None:
        self._cluster = cluster
        self._relay = relay
        self._rng = rng
        self.done = {"worker_killed": 0, "worker_stopped": 0, "scheduler_killed": 0, "link_cut": 0}

    def mend(self) -> None:
        """All workers that there should be; those of a scheduler that is gone end by themselves."""
        self._relay.mend()
        scheduler = self._cluster.scheduler
        if scheduler is None or scheduler.poll() is not None:
            self._cluster.start_scheduler()
        for _ in range(WORKERS - len(self._alive())):
            self._cluster.start_worker()

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        return [worker for worker in self._cluster.workers if worker.poll() is None]

    def strike(self) -> None:
        """Something bad."""
        what = self._rng.choices(list(self.done), (6, 2, 1, 2))[0]
        self.done[what] += 1
        alive = self._alive()
        if what == "scheduler_killed":
            self._cluster.kill_scheduler()
        elif what == "link_cut":
            self._relay.cut()
            time.sleep(self._rng.uniform(*PAUSE_S))
        elif alive:
            worker = self._rng.choice(alive)
            (worker.kill if what == "worker_killed" else worker.terminate)()
            worker.wait(60)


def _arbctl(folder: Path, *arguments: str | Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "arbd.cli", "--spool", folder / "spool", "--config", folder / "arbd.yaml", *arguments],
        check=True, stdout=subprocess.DEVNULL, env=_environment(folder),
    )  # fmt: skip


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(folder / "cache")}


def _values(folder: Path, session: str) -> dict[int, Any]:
    found = load_session(folder / "spool", session)
    assert len({result.iteration for result in found}) == len(found), "an iteration stands twice"
    return {result.iteration: (result.status, dict(result.params), dict(result.metrics)) for result in found}


def play(folder: Path, seconds: float, seed: int, iterations: int | None = None) -> dict[str, Any]:
    """One run; what happened, and whether it was as it has to be."""
    (folder / "spool").mkdir()
    (folder / "samples.py").write_text(OBJECTIVES)
    # As much as the cluster does in that time when it is left alone, so that there is work to the end.
    n = iterations or int(50 * WORKERS * seconds)
    (folder / "job.yaml").write_text(JOB.format(function="slow", n=n))
    (folder / "fast.yaml").write_text(JOB.format(function="quick", n=n))
    cluster = DaskCluster(folder / "cluster")
    relay = Relay(cluster.port)
    settings = (
        f"objective_paths: [{folder}]\nallow: ['python:*']\nchunk_target_s: 0.5\nscan_s: 0.2\nbeat_s: 0.2\nlease_s: 5\n"
    )
    (folder / "arbd.yaml").write_text(settings)
    (folder / "far.yaml").write_text(
        f"{settings}executor: {{kind: dask, scheduler: 'tcp://127.0.0.1:{relay.port}', slots: {WORKERS}}}\n"
    )
    _arbctl(folder, "run", folder / "fast.yaml", "--session-id", "undisturbed")
    chaos = Chaos(cluster, relay, random.Random(seed))
    began_s = time.monotonic()
    _arbctl(folder, "submit", folder / "job.yaml", "--session-id", "chaos")
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "arbd.daemon", "run", "--config", folder / "far.yaml", "--spool", folder / "spool",
             "--worker-id", "far", "--burst"],
            stdout=log, stderr=log, env=_environment(folder),
        )  # fmt: skip
    try:
        chaos.mend()
        while time.monotonic() - began_s < seconds:
            time.sleep(chaos._rng.uniform(*PAUSE_S))
            chaos.strike()
            chaos.mend()
        disturbed = len(_values(folder, "chaos"))
        code = daemon.wait(60 + 4 * seconds)
    finally:
        daemon.kill()
        daemon.wait(60)
        relay.close()
        cluster.stop()
    expected, found = _values(folder, "undisturbed"), _values(folder, "chaos")
    same = {i: row for i, row in found.items() if (row[0], row[1], row[2]["value"]) != _row(expected[i])}
    return {
        "seconds": round(time.monotonic() - began_s, 1), "seed": seed, "iterations": n, "found": len(found),
        "done_when_chaos_ended": disturbed, **chaos.done, "differing": len(same), "exit": code,
        "good": code == 0 and found.keys() == expected.keys() and not same,
    }  # fmt: skip


def _row(found: Any) -> Any:
    return found[0], found[1], found[2]["value"]


def main() -> int:
    """Play, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, help="By default as many as the cluster does in that time.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="arbd-chaos-") as name:
        found = play(Path(name), given.seconds, given.seed, given.iterations)
        if not found["good"]:
            sys.stderr.write((Path(name) / "daemon.log").read_text()[-5000:])
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if found["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
