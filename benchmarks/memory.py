"""How much memory a daemon needs with one slot and with many on the same market. One JSON line each.

    python benchmarks/memory.py            5,000,000 ticks, 1 and 8 slots
    python benchmarks/memory.py --smoke    100,000 ticks, 1 and 2 slots, to see that it runs

The daemon works on a session of the paper objective over a synthetic market. `most_mb` is the most proportional memory
(PSS, proc(5)) of all its processes together: what they share counts once. The market is prepared in a session before,
so that its preparation, which is done once per host, is not in it.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from coordination import Bench, idle_daemon, say

from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from arbd.spool.arrivals import SUBMITTED_SUFFIX

LOOK_S = 0.1
JOB = """\
session_id: {name}
data: [{data}]
fixed: {{fee_a_bps: 1, fee_b_bps: 1}}
metric: pnl
tuning:
  method: sobol
  max_iterations: {n}
  search_space:
    min_spread_pct: {{type: float, bounds: [0.05, 0.45]}}
    exit_spread_pct: {{type: float, bounds: [-0.05, 0.02]}}
"""


def processes_of(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        try:
            threads = list(Path(f"/proc/{one}/task").iterdir())
            found += [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def pss_mb(pid: int) -> float:
    """Proportional memory of a process; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def most_mb(bench: Bench, daemon: subprocess.Popen[bytes], quotes: Path, name: str, n: int) -> float:
    """Run a session of `n` iterations; the most memory that its daemon had."""
    job = bench.folder / f"{name}.yaml"
    job.write_text(JOB.format(name=name, data=quotes, n=n))
    job.rename(bench.layout.incoming / f"{name}{SUBMITTED_SUFFIX}")
    most = 0.0
    while not bench.layout.session(name).results.exists():
        if daemon.poll() is not None:
            raise SystemExit(f"the daemon ended, exit code {daemon.returncode}")
        most = max(most, sum(map(pss_mb, processes_of(daemon.pid))))
        time.sleep(LOOK_S)
    return most


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    ticks, n = (100_000, 512) if smoke else (5_000_000, 16_384)
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        write_quotes(synth_profile("kimchi", 1, ticks), folder / "quotes.npz")
        for slots in (1, 2) if smoke else (1, 8):
            (folder / str(slots)).mkdir()
            bench = Bench(folder / str(slots), f"data_dirs: [{folder}]\ncache_dir: {folder / 'cache'}\n")
            with idle_daemon(bench, slots) as daemon:
                most_mb(bench, daemon, folder / "quotes.npz", "first", 1)
                most = most_mb(bench, daemon, folder / "quotes.npz", "measured", n)
            say("memory_of_slots", ticks=ticks, slots=slots, iterations=n, most_mb=round(most))


if __name__ == "__main__":
    main()
