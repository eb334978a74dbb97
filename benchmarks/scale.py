"""How far one host goes: markets of up to a hundred million ticks, sessions of up to fifty million iterations. JSON lines.

    python benchmarks/scale.py [--ticks 5000000 25000000 100000000] [--iterations 1000000 10000000 50000000]
    python benchmarks/scale.py --smoke    small, to see that it runs

Every line is of one command in a process of its own, with all that it starts: `seconds` from its start to its end, `cpu_s`
of all processes, `peak_mb` the most anonymous memory (RssAnon) that one of them had. No process may have more than
`--limit-mb` of data (RLIMIT_DATA, 1,024), so that whatever holds a whole market ends with an error.

Of each market: two venues' files (Parquet, and CSV packed with zstd where --csv is said), `arbctl market import` of them,
`describe`, `convert`, a job of 1,024 sets that trade rarely (`arbctl run`, two slots) on a host that has not seen the market,
the same again, and a job of one set, warm; the engine was compiled ahead (`arbd compile`). `bytes_a_tick` is what the cache
holds of it. With room of about 350 bytes a tick in the temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.paper.market.writers import write_columns

PIECE_ROWS = 1 << 20
LOOK_S = 0.05
STEP_NS = 20_000_000
JOB = """
session_id: {name}
data: [{data}]
fixed: {{fee_a_bps: 1, fee_b_bps: 1, latency_a_ms: 50, latency_b_ms: 20, max_position: 10000, initial_capital: 100000,
  grid_s: 3600}}
metric: pnl
tuning:
  method: sobol
  search_space:
    min_spread_pct: {{type: float, bounds: [0.33, 0.36]}}
    exit_spread_pct: {{type: float, bounds: [-0.2, 0.2]}}
    max_hold_s: {{type: int, bounds: [600, 20000], log: true}}
  max_iterations: {n}
  seed: 42
"""
NOTHING = """
session_id: nothing
objective: {{python: "nothing:objective"}}
metric: value
results: {{csv: false}}
tuning: {{method: random, max_iterations: {n}, seed: 1, search_space: {{x: {{type: float, bounds: [0, 1]}}}}}}
"""
OBJECTIVE = """
def objective(params):
    return {"value": params["x"]}


def evaluate_batch(columns):
    return {"value": columns["x"]}
"""
Columns = dict[str, npt.NDArray[Any]]


def venue(letter: str, ticks: int) -> Iterator[Columns]:
    """Half of the ticks: quotes of one venue at every other step, in pieces."""
    rng = np.random.default_rng(ord(letter))
    n = ticks // 2
    for start in range(0, n, PIECE_ROWS):
        row = np.arange(start, min(n, start + PIECE_ROWS))
        ts_ns = 1_700_000_000 * 10**9 + (2 * row + (letter == "b")) * STEP_NS
        s = ts_ns / 1e9 % 1e7
        premium_bps = 8 * np.sin(s / 977) + 6 * np.sin(s / 331.7) + 5 * np.sin(s / 61.3) + rng.normal(0, 0.5, len(row))
        mid = 100 * (1 + 0.01 * np.sin(s / 86_400)) * (1 + (0.5 if letter == "a" else -0.5) * premium_bps / 1e4)
        half = rng.uniform(0.5, 1.0, len(row)) / 1e4
        yield {
            "ts_ns": ts_ns,
            "bid": np.round(mid * (1 - half), 3),
            "ask": np.round(mid * (1 + half), 3),
            "bid_size": np.round(rng.exponential(50, len(row)) + 0.001, 3),
            "ask_size": np.round(rng.exponential(50, len(row)) + 0.001, 3),
        }


def most_memory(pids: Sequence[int]) -> int:
    """The most anonymous memory, in bytes, that one of the processes has."""
    most = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        found = next((line for line in text.splitlines() if line.startswith("RssAnon")), None)
        most = max(most, int(found.split()[1]) << 10 if found is not None else 0)
    return most


def below(parent: int) -> list[int]:
    """A process and all that it started and that has not been left to others."""
    found = [parent]
    for pid in found:
        try:
            tasks = [entry.name for entry in os.scandir(f"/proc/{pid}/task")]
            found += [
                int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            ]
        except OSError:
            continue  # it ended
    return found


def run(folder: Path, what: str, command: Sequence[str | Path], limit_mb: int, **figures: Any) -> None:
    """A command under the limit; its line."""
    environment = {**os.environ, "ARBD_CONFIG": str(folder / "arbd.yaml"), "ARBD_SPOOL": str(folder / "spool")}
    environment |= {"TMPDIR": str(folder)}
    limit = (limit_mb << 20, limit_mb << 20)
    before, start, most = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, env=environment)
        # Before it has imported anything; what it starts inherits it.
        resource.prlimit(process.pid, resource.RLIMIT_DATA, limit)
        while process.poll() is None:
            most = max(most, most_memory(below(process.pid)))
            time.sleep(LOOK_S)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{what}: {(folder / 'output').read_text()[-2_000:]}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    line = {"benchmark": "scale", "what": what, **figures, "seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2)}
    print(json.dumps(line | {"peak_mb": most >> 20, "limit_mb": limit_mb}), flush=True)


def arbctl(*arguments: str | Path) -> list[str | Path]:
    """A command of arbd."""
    return [sys.executable, "-m", "arbd.cli", *arguments]


def market(folder: Path, ticks: int, limit_mb: int, *, csv: bool) -> None:
    """All lines of one market."""
    quotes = folder / "quotes.parquet"
    for suffix in (".csv.zst", ".parquet") if csv else (".parquet",):
        for letter in "ab":
            write_columns(venue(letter, ticks), folder / f"{letter}{suffix}")
        files = [word for letter in "ab" for word in (f"--{letter}", folder / f"{letter}{suffix}")]
        command = arbctl("market", "import", "--format", "quotes", *files, "--output", quotes)
        run(folder, f"import {suffix.removeprefix('.')}", command, limit_mb, ticks=ticks)
        for letter in "ab":
            (folder / f"{letter}{suffix}").unlink()
    run(folder, "describe", arbctl("market", "describe", quotes), limit_mb, ticks=ticks)
    converted = folder / "converted.parquet"
    run(folder, "convert", arbctl("market", "convert", quotes, converted), limit_mb, ticks=ticks)
    converted.unlink()
    for name, sets in (("cold", 1024), ("warm", 1024), ("warm-one", 1)):
        (folder / "job.yaml").write_text(JOB.format(name=f"{name}-{ticks}", data=quotes, n=sets))
        figures: dict[str, Any] = {"ticks": ticks, "sets": sets}
        if name != "cold":
            cached = sum(path.stat().st_size for path in (folder / "cache").rglob("*.npy"))
            figures["bytes_a_tick"] = round(cached / ticks, 1)
        command = arbctl("run", folder / "job.yaml", "--workers", "2" if sets > 1 else "1")
        run(folder, f"job {name}", command, limit_mb, **figures)


def iterations(folder: Path, n: int, limit_mb: int) -> None:
    """A session of iterations that do nothing."""
    (folder / "nothing.py").write_text(OBJECTIVE)
    (folder / "job.yaml").write_text(NOTHING.format(n=n))
    run(folder, "iterations", arbctl("run", folder / "job.yaml", "--workers", "2"), limit_mb, n=n)
    rows = sum(path.stat().st_size for path in (folder / "spool").rglob("*") if path.is_file())
    print(json.dumps({"benchmark": "scale", "what": "spool", "n": n, "bytes_a_row": round(rows / n, 1)}), flush=True)


def main() -> None:
    """One folder for each size, removed after it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, nargs="*", default=[5_000_000, 25_000_000, 100_000_000])
    parser.add_argument("--iterations", type=int, nargs="*", default=[1_000_000, 10_000_000, 50_000_000])
    parser.add_argument("--limit-mb", type=int, default=1024)
    parser.add_argument("--csv", action="store_true", help="import CSV packed with zstd too")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    for kind, sizes in (("ticks", given.ticks), ("iterations", given.iterations)):
        for size in [20_000] if given.smoke else sizes:
            with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
                folder = Path(name)
                (folder / "spool").mkdir()
                (folder / "arbd.yaml").write_text(
                    f"cache_dir: {folder}/cache\nallow: ['paper', 'python:*']\nobjective_paths: [{folder}]\n"
                )
                if kind == "ticks":
                    compile_ahead = [
                        sys.executable,
                        "-m",
                        "arbd.daemon",
                        "compile",
                        "--config",
                        str(folder / "arbd.yaml"),
                    ]
                    subprocess.run(compile_ahead, check=True, stdout=subprocess.DEVNULL)
                    market(folder, size, given.limit_mb, csv=given.csv)
                else:
                    iterations(folder, size, given.limit_mb)


if __name__ == "__main__":
    main()
