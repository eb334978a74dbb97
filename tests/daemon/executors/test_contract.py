"""What every executor must do: the rows of a session, to the bit, and the same statuses for what goes wrong in it."""

from __future__ import annotations

import csv
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.clusters import DaskCluster
from tests.conftest import REPOSITORY

# With ARBD_FULL=1 every executor runs every job; else each job is run by one that is not local.
FULL = bool(os.environ.get("ARBD_FULL"))
# Whose work it was, and when, is not what was computed.
OF_THE_RUN = {"session_id", "worker_id", "timestamp", "duration_s"}

HELPER = """
def doubled(x):
    return 2 * x
"""
MOODY = """
import os, signal, time
def objective(params):
    n = params["n"]
    if n == 3: raise ValueError(f"no luck with {n}")
    if n == 4: return [n]
    if n == 5: return {"value": "text"}
    if n == 6: os.kill(os.getpid(), signal.SIGKILL)
    if n == 7: time.sleep(60)
    if n == 8: raise SystemExit(3)
    if n == 9: os._exit(7)
    if n == 10: raise KeyboardInterrupt
    if n == 11: return {"value": float(len(bytearray(1 << 30)))}
    if n == 12: os.close(1)
    from helper import doubled
    return {"value": doubled(n) / 3}
"""
# Both get everything over a pipe that is kept: what goes wrong is one iteration's own there too.
PROGRAM = f"""#!{sys.executable} -S
import json, os, signal, sys
for line in sys.stdin:
    question = json.loads(line)
    n = question["params"]["n"]
    if n == 3: answer = {{"error": "no luck"}}
    elif n == 4: answer = {{"metrics": {{"value": "text"}}}}
    else: answer = {{"metrics": {{"value": n / 3, "seed": question["seed"] % 1000}}}}
    if n == 5: sys.exit(7)
    if n == 6: os.kill(os.getpid(), signal.SIGKILL)
    if n == 7: print("{{oops}}", flush=True)
    if n == 8: signal.pause()
    print(json.dumps({{"id": question["id"], **answer}}), flush=True)
"""
FOREIGN = """
import os, random, signal, threading
from helper import doubled
def objective(params, trial):
    n = params["n"]
    if n == 3: raise ValueError(f"no luck with {n}")
    if n == 4: return [n]
    if n == 5: os._exit(7)
    if n == 6: os.kill(os.getpid(), signal.SIGKILL)
    if n == 7: raise SystemExit(3)
    if n == 8: signal.pause()
    trial.report(1, n)
    return {"value": doubled(n) / 3, "drawn": random.random()}
"""
CHOOSY = """
def objective(params):
    given = {**params}
    found = {"value": params["x"], "parameters": len(given)}
    for name in ("depth", "skew", "limit"):
        if name in given: found[name] = -1.0 if given[name] is None else float(given[name])
    return found
"""
# What is reported decides who goes on: thresholds travel with the chunk, and come from rows of wherever they were made.
LEARNING = """
import random
def objective(params, trial):
    dice = random.Random(trial.seed)
    for step in range(1, 7):
        trial.report(step, step * (1.0 - (params["x"] - 0.3) ** 2) + dice.gauss(0.0, 0.4))
    return {"value": 1.0 - (params["x"] - 0.3) ** 2}
"""
NUMBERED = """
metric: value
tuning:
  method: grid
  search_space:
    n: {type: int, bounds: [1, 16]}
  grid_points: {n: 16}
execution: {timeout_s: 0.5, retries: 1, memory_mb: 600}
"""
CONDITIONAL = """
metric: value
tuning:
  method: tpe
  search_space:
    x: {type: float, bounds: [0, 1]}
    kind: {type: choice, values: [plain, deep]}
    depth: {type: int, bounds: [1, 9], when: {kind: deep}}
    skew: {type: float, bounds: [0, 1], when: {kind: deep}}
    limit: {type: choice, values: [null, 3, .inf]}
  max_iterations: 24
"""
PRUNED = """
metric: value
tuning:
  method: METHOD
  search_space: {x: {type: float, bounds: [0, 1]}, kind: {type: choice, values: [a, b]}}
  max_iterations: 48
  seed: 5
  prune: {rule: RULE, startup_trials: 4}
"""
# Each evaluation has its own luck, by the trial and by the global generator, and one in eight repeats of some sets fails.
LUCKY = """
import random
def objective(params, trial):
    if params["x"] > 0.8 and trial.seed % 8 == 0: raise ValueError("no luck")
    return {"value": params["x"] + trial.seed % 101 / 101 + random.random()}
"""
AGGREGATED = """
metric: value
tuning:
  method: tpe
  search_space: {x: {type: float, bounds: [0, 1]}, n: {type: int, bounds: [1, 9]}, kind: {type: choice, values: [a, b]}}
  max_iterations: 24
  repeats: 3
  robust: {over: neighbourhood, use: quantile, q: 0.25}
execution: {retries: 0}
"""
JOBS = {
    "statuses": "objective: {python: 'moody:objective'}" + NUMBERED,
    "lines": "objective: {command: [FOLDER/program], protocol: lines}" + NUMBERED,
    "interpreter": f"objective: {{python: 'foreign:objective', interpreter: {sys.executable}}}{NUMBERED}",
    "conditions": f"objective: {{python: 'choosy:objective'}}{CONDITIONAL}",
    "pruned": "objective: {python: 'learning:objective'}" + PRUNED.replace("METHOD", "tpe").replace("RULE", "median"),
    "pruned-plan": "objective: {python: 'learning:objective'}"
    + PRUNED.replace("METHOD", "random").replace("RULE", "percentile, percentile: 30"),
    "aggregated": "objective: {python: 'lucky:objective'}" + AGGREGATED,
}
Rows = dict[int, Mapping[str, str]]


def table(path: Path) -> Rows:
    with path.open() as file:
        return {
            int(row["iteration"]): {name: value for name, value in row.items() if name not in OF_THE_RUN}
            for row in csv.DictReader(file)
        }


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    for name, text in {
        "moody.py": MOODY, "helper.py": HELPER, "foreign.py": FOREIGN, "choosy.py": CHOOSY, "learning.py": LEARNING,
        "lucky.py": LUCKY, "program": PROGRAM,
    }.items():  # fmt: skip
        (folder / name).write_text(text)
    (folder / "program").chmod(0o755)
    for name, text in JOBS.items():
        (folder / f"{name}.yaml").write_text(text.replace("FOLDER", str(folder)))
    (folder / "spool").mkdir()
    (folder / "arbd.yaml").write_text(
        f"scan_s: 0.2\nbeat_s: 0.2\nlease_s: 5\nchunk_target_s: 0.5\ncache_dir: {folder / 'cache'}\n"
    )
    return folder


def run(bench: Path, job: str, by: str, *options: str) -> Rows:
    name = f"{job.replace(' ', '-')}-{by}"
    output = bench / f"{name}.csv"
    done = subprocess.run(
        [sys.executable, "-m", "arbd.cli", "--spool", bench / "spool", "--config", bench / "arbd.yaml", "run",
         bench / f"{job}.yaml", "--session-id", name, "--workers", "2", "--output-csv", output, *options],
        check=False, capture_output=True, text=True, timeout=200, cwd=bench,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'docs' / 'examples' / 'executors'}", "XDG_CACHE_HOME": str(bench / "workers")},
    )  # fmt: skip
    assert output.exists(), done.stderr
    return table(output)


@pytest.fixture(scope="module")
def local(bench: Path) -> Callable[[str], Rows]:
    """What local slots make of a job; each is run once."""

    @functools.cache
    def rows(job: str) -> Rows:
        return run(bench, job, "local")

    return rows


@pytest.fixture(scope="module")
def dask(bench: Path) -> Iterator[DaskCluster]:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    cluster = DaskCluster(bench / "cluster")
    try:
        cluster.start_scheduler()
        cluster.start_worker()
        cluster.start_worker()
        yield cluster
    finally:
        cluster.stop()


def statuses(rows: Rows) -> dict[str, set[int]]:
    return {status: {n for n, row in rows.items() if row["status"] == status} for status in STATUSES}


STATUSES = ("completed", "failed", "crashed", "timeout")
# By iteration, which is `n` there.
EXPECTED = {
    "statuses": ({3, 4, 5, 8, 10, 11}, {6, 9}, {7}),
    "lines": ({3, 4, 5, 6, 7}, set(), {8}),
    "interpreter": ({3, 4, 5, 6, 7}, set(), {8}),
}


@pytest.mark.slow
@pytest.mark.parametrize("job", EXPECTED)
def test_the_local_slots_know_every_status(local: Callable[[str], Rows], job: str) -> None:
    found = statuses(local(job))
    assert (found["failed"], found["crashed"], found["timeout"]) == EXPECTED[job]
    assert len(found["completed"]) == 16 - sum(map(len, EXPECTED[job]))


@pytest.mark.slow
def test_the_local_slots_give_an_objective_the_parameters_that_exist(local: Callable[[str], Rows]) -> None:
    rows = local("conditions")
    assert statuses(rows)["completed"] == set(range(1, 25))
    assert {(row["param_kind"], row["param_depth"] != "", row["param_skew"] != "") for row in rows.values()} == {
        ("plain", False, False), ("deep", True, True),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("job", ["pruned", "pruned-plan"])
def test_the_local_slots_prune_some_and_not_all(local: Callable[[str], Rows], job: str) -> None:
    found = {row["status"] for row in local(job).values()}
    assert found == {"completed", "pruned"}
    assert sum(row["status"] == "pruned" for row in local(job).values()) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS if FULL else ["statuses", "pruned"])
def test_the_documented_executor_of_a_factory_does_what_local_slots_do(
    bench: Path, local: Callable[[str], Rows], job: str
) -> None:
    assert run(bench, job, "factory", "--executor", "factory", "--factory", "processes:pool") == local(job)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_dask_does_what_local_slots_do(bench: Path, local: Callable[[str], Rows], dask: DaskCluster, job: str) -> None:
    assert run(bench, job, "dask", "--executor", "dask", "--scheduler", dask.address) == local(job)
