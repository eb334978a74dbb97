"""Objectives have processes of their own, by every way of the standard library, from every kind of worker."""

from __future__ import annotations

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
