"""What every executor must do: the rows of a session, to the bit, and the same statuses for what goes wrong in it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clusters import DaskCluster
from tests.conftest import REPOSITORY

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
JOB = """
objective: {python: "moody:objective"}
metric: value
tuning:
  method: grid
  search_space:
    n: {type: int, bounds: [1, 16]}
  grid_points: {n: 16}
execution: {timeout_s: 0.5, retries: 1, memory_mb: 600}
"""


def table(path: Path) -> dict[int, Mapping[str, str]]:
    with path.open() as file:
        return {
            int(row["iteration"]): {name: value for name, value in row.items() if name not in OF_THE_RUN}
            for row in csv.DictReader(file)
        }


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    for name, text in {"moody.py": MOODY, "helper.py": HELPER, "job.yaml": JOB}.items():
        (folder / name).write_text(text)
    (folder / "spool").mkdir()
    (folder / "arbd.yaml").write_text(
        f"scan_s: 0.2\nbeat_s: 0.2\nlease_s: 5\nchunk_target_s: 0.5\ncache_dir: {folder / 'cache'}\n"
    )
    return folder


def run(bench: Path, name: str, *options: str) -> dict[int, Mapping[str, str]]:
    output = bench / f"{name}.csv"
    done = subprocess.run(
        [sys.executable, "-m", "arbd.cli", "--spool", bench / "spool", "--config", bench / "arbd.yaml", "run",
         bench / "job.yaml", "--session-id", name, "--workers", "2", "--output-csv", output, *options],
        check=False, capture_output=True, text=True, timeout=200, cwd=bench,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'docs' / 'examples' / 'executors'}", "XDG_CACHE_HOME": str(bench / "workers")},
    )  # fmt: skip
    assert output.exists(), done.stderr
    return table(output)


@pytest.fixture(scope="module")
def local(bench: Path) -> dict[int, Mapping[str, str]]:
    return run(bench, "local")


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


@pytest.mark.slow
def test_the_local_slots_know_every_status(local: dict[int, Mapping[str, str]]) -> None:
    statuses = {iteration: row["status"] for iteration, row in local.items()}
    assert {statuses[n] for n in (1, 2, 13, 14, 15, 16)} == {"completed"}
    assert {statuses[n] for n in (3, 4, 5, 8, 10, 11)} == {"failed"}
    assert (statuses[6], statuses[9], statuses[7]) == ("crashed", "crashed", "timeout")


@pytest.mark.slow
def test_the_documented_executor_of_a_factory_does_what_local_slots_do(
    bench: Path, local: dict[int, Mapping[str, str]]
) -> None:
    assert run(bench, "factory", "--executor", "factory", "--factory", "processes:pool") == local


@pytest.mark.slow
def test_dask_does_what_local_slots_do(bench: Path, local: dict[int, Mapping[str, str]], dask: DaskCluster) -> None:
    assert run(bench, "dask", "--executor", "dask", "--scheduler", dask.address) == local
