"""How many iterations a second are claimed, evaluated and durably recorded, end to end. One JSON line each.

    python benchmarks/coordination.py            all sizes
    python benchmarks/coordination.py --smoke    small sizes, to see that it runs

`arbd` is a real daemon (`arbd run --burst`) on a fresh spool on this disk, with an objective that does nothing.
Times are its ledger's: from the first claim to the last record of finished work, so without the start of the
processes and without compaction. Peers do the same work in the same run: `pool_map` is
ProcessPoolExecutor.map in chunks of 256, which records nothing (the bound); `append_fsync` claims and records
each iteration by itself, with flock, append and fsync (what a simple file queue does).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from arbd.spool.files import DiskFiles
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue

OBJECTIVES = {
    "scalar": "def objective(params):\n    return {'value': 1.0}\n",
    "batch": (
        "import numpy as np\n\ndef objective(params):\n    return {'value': 1.0}\n\n"
        "def evaluate_batch(columns):\n    return {'value': np.ones(len(columns['x']))}\n"
    ),
}


def run_arbd(kind: str, n: int, slots: int) -> float:
    """Seconds from the first claim to the last record."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        (folder / f"noop_{kind}.py").write_text(OBJECTIVES[kind])
        (folder / "arbd.yaml").write_text(f"allow: ['python:*']\nobjective_paths: [{folder}]\n")
        layout = SpoolLayout(folder / "spool")
        layout.root.mkdir()
        layout.prepare()
        (layout.incoming / "bench.submitted.yaml").write_text(
            f"session_id: bench\nobjective: {{python: 'noop_{kind}:objective'}}\nmetric: value\n"
            f"tuning: {{method: random, max_iterations: {n}, search_space: {{x: {{type: float, bounds: [0, 1]}}}}}}\n"
        )
        command = [
            sys.executable,
            "-m",
            "arbd.daemon",
            "run",
            "--config",
            str(folder / "arbd.yaml"),
            "--spool",
            str(layout.root),
        ]
        subprocess.run([*command, "--burst", "--slots", str(slots)], check=True, stderr=subprocess.DEVNULL)
        state = SessionQueue(DiskFiles(), layout.session("bench")).refresh()
        if not state.done or state.counts != [n, 0, 0, 0]:
            raise SystemExit(f"the session is not complete: {state.counts}")
        return (state.recent[-1][0] - state.started_ns) / 1e9


def noop(number: int) -> float:
    """What the objective does."""
    return 1.0 + 0 * number


def run_pool_map(n: int, slots: int) -> float:
    """Seconds for ProcessPoolExecutor.map, its processes started before."""
    with ProcessPoolExecutor(slots) as pool:
        list(pool.map(noop, range(slots * 256), chunksize=256))
        started = time.perf_counter()
        for _ in pool.map(noop, range(n), chunksize=256):
            pass
        return time.perf_counter() - started


def _append_fsync(path: str, n: int) -> None:
    done = 0
    while done < n:
        with Path(path).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0, os.SEEK_END)
            done = file.tell() // 16
            if done < n:
                file.write(b"%15d\n" % noop(done))
                file.flush()
                os.fsync(file.fileno())


def run_append_fsync(n: int, slots: int) -> float:
    """Seconds when every iteration is claimed and recorded by itself."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        path = Path(name) / "log"
        path.touch()
        started = time.perf_counter()
        with ProcessPoolExecutor(slots) as pool:
            list(pool.map(_append_fsync, [str(path)] * slots, [n] * slots))
        return time.perf_counter() - started


def report(name: str, n: int, slots: int, seconds: float, **more: float) -> float:
    """Print one line; the rate."""
    rate = n / seconds
    print(
        json.dumps(
            {"benchmark": name, "n": n, "slots": slots, "seconds": round(seconds, 4), "per_s": round(rate), **more}
        ),
        flush=True,
    )
    return rate


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    slots = 2
    small, large = (2_000, 20_000) if smoke else (20_000, 1_000_000)
    bound = report("pool_map", small, slots, run_pool_map(small, slots))
    single_n = 200 if smoke else 2_000
    single = report("append_fsync", single_n, slots, run_append_fsync(single_n, slots))
    for kind, n in (("scalar", small), ("scalar", large), ("batch", small), ("batch", large)):
        seconds = run_arbd(kind, n, slots)
        report(
            f"arbd_{kind}", n, slots, seconds,
            ratio_to_pool_map=round(n / seconds / bound, 3), ratio_to_append_fsync=round(n / seconds / single, 1),
        )  # fmt: skip


if __name__ == "__main__":
    main()
