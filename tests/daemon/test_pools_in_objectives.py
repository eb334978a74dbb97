"""Objectives have processes of their own, by every way of the standard library, from every kind of worker."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Arbctl, Daemons, wait_until

POOLED = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def square(x):
    return x * x

def put(queue, x):
    queue.put(x * x)

def objective(params):
    kind, method = params["how"].split()
    context = multiprocessing.get_context(None if method == "default" else method)
    if kind == "executor":
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            return {"value": sum(pool.map(square, [1.0, 2.0]))}
    if kind == "pool":
        with context.Pool(2) as pool:
            return {"value": sum(pool.map(square, [1.0, 2.0]))}
    queue = context.Queue()
    process = context.Process(target=put, args=(queue, 2.0))
    process.start()
    found = queue.get(timeout=60)
    process.join()
    return {"value": found + 1.0 + process.exitcode}
"""
HOWS = [
    f"{kind} {method}"
    for kind in ("executor", "pool", "process")
    for method in ("default", "fork", "spawn", "forkserver")
]
JOB = f"""
session_id: pooled
objective: {{python: "pooled:objective"}}
metric: value
execution: {{timeout_s: 100}}
tuning: {{method: grid, search_space: {{how: {{type: choice, values: {HOWS}}}}}}}
"""


@pytest.fixture
def job(objectives: Path) -> Path:
    (objectives / "pooled.py").write_text(POOLED)
    path = objectives.parent / "pooled.yaml"
    path.write_text(JOB)
    return path


def completed(arbctl: Arbctl) -> dict[str, float]:
    code, table, _ = arbctl("export", "pooled", "--format", "csv", "--output", "-")
    assert code == 0
    names, *rows = [line.split(",") for line in table.strip().splitlines()]
    how, value = (names.index(next(name for name in names if name.endswith(ending))) for ending in ("how", "value"))
    return {row[how]: float(row[value]) for row in rows}


def test_processes_of_an_objective_work_in_a_command(arbctl: Arbctl, job: Path) -> None:
    program = Path(sys.executable).with_name("arbctl")
    done = subprocess.run(
        [program, "--spool", arbctl.spool, "--config", arbctl.config, "run", job, "--workers", "2"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert completed(arbctl) == dict.fromkeys(HOWS, 5.0)


def test_processes_of_an_objective_work_in_a_daemon(arbctl: Arbctl, job: Path, daemons: Daemons) -> None:
    assert arbctl("submit", job)[0] == 0
    daemon = daemons.start("pools", "--burst")
    wait_until(lambda: daemon.poll() is not None, within_s=200)
    assert completed(arbctl) == dict.fromkeys(HOWS, 5.0), daemons.log()


COUNTED = """
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

def square(x):
    return x * x

def objective(params):
    if params["how"] == "executor":
        with ProcessPoolExecutor(2) as pool:
            found = sum(pool.map(square, [1.0, 2.0]))
    else:
        with multiprocessing.Pool(2) as pool:
            found = sum(pool.map(square, [1.0, 2.0]))
            pool.close()
            pool.join()
    return {"value": found, "pid": float(os.getpid())}
"""
COUNTED_JOB = """
session_id: pooled
objective: {python: "counted:objective"}
metric: value
tuning: {method: random, max_iterations: 12, search_space: {how: {type: choice, values: [executor, pool]}}}
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the default is a server that is left behind, from there on")
def test_a_pool_of_the_default_kind_that_an_objective_closes_leaves_nothing_and_its_process_goes_on(
    arbctl: Arbctl, objectives: Path
) -> None:
    (objectives / "counted.py").write_text(COUNTED)
    (objectives.parent / "counted.yaml").write_text(COUNTED_JOB)
    program = Path(sys.executable).with_name("arbctl")
    done = subprocess.run(
        [program, "--spool", arbctl.spool, "--config", arbctl.config, "run", objectives.parent / "counted.yaml",
         "--workers", "1"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code, table, _ = arbctl("export", "pooled", "--format", "csv", "--output", "-")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(table)))
    assert (len(rows), {float(row["metric_value"]) for row in rows}) == (12, {5.0})
    assert len({row["metric_pid"] for row in rows}) == 1
