"""What iterations that do nothing cost as whole processes, kept durably, beside what else would do them. JSON lines.

    python benchmarks/durable.py [--times 3] [--only optuna_journal jug pool_map]
    python benchmarks/durable.py --smoke    few iterations, to see that it runs

Each line is processor time, user and system, of one command and all that it starts, from its start to its end: `arbd run
--burst` with two slots on a fresh spool in the temporary folder, and each peer (`coordination_peers.py`) with two
processes in a process of its own. They take turns, so that what the machine has else to do meets all alike. 20,000
iterations beside Optuna's journal and jug, which keep each; a million beside a process pool, which keeps nothing. A small
run, which is not counted, goes before. The `ratio` lines are of the medians: how many times as much the peer takes as arbd,
and arbd as the pool.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from coordination import Bench
from coordination_peers import PEERS
from whole_process import Cost, cost

from arbd.spool.arrivals import SUBMITTED_SUFFIX

SLOTS = 2
SIZES = {"optuna_journal": 20_000, "jug": 20_000, "pool_map": 1_000_000}
_PR_SET_CHILD_SUBREAPER = 36


def arbd(n: int) -> Cost:
    """A daemon from its start to the end of its only session."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        bench = Bench(Path(name))
        bench.write_job(bench.layout.incoming / f"bench{SUBMITTED_SUFFIX}", "bench", "scalar", n)
        found = cost(bench.command("arbd.daemon", "run", "--burst", "--slots", str(SLOTS)), 1, dict(os.environ))
        counts = bench.queue("bench").refresh().counts
    if counts != [n, 0, 0, 0]:
        raise SystemExit(f"the session is not complete: {counts}")
    return found


def peer(name: str, n: int) -> Cost:
    """A peer in a process of its own."""
    return cost([sys.executable, __file__, "--run", name, str(n)], 1, dict(os.environ))


def say(name: str, found: Cost, **facts: object) -> None:
    """Print the line of one run."""
    line = {"benchmark": "durable", "name": name, **facts, "seconds": round(found.seconds, 2)}
    print(json.dumps(line | {"cpu_s": round(found.cpu_s, 2), "load": round(os.getloadavg()[0], 1)}), flush=True)


def compare(name: str, n: int, times: int) -> None:
    """A peer and arbd in turns."""
    found: dict[str, list[float]] = {"arbd": [], name: []}
    for _ in range(times):
        for each, seen in found.items():
            took = arbd(n) if each == "arbd" else peer(each, n)
            say(each, took, n=n)
            seen.append(took.cpu_s)
    ours, theirs = (statistics.median(each) for each in found.values())
    ratio = {"arbd_to_pool_map": ours / theirs} if name == "pool_map" else {f"{name}_to_arbd": theirs / ours}
    print(json.dumps({"benchmark": "durable ratio", "n": n} | {key: float(f"{r:.3g}") for key, r in ratio.items()}))


def main() -> None:
    """All pairs, or one peer alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=SIZES, default=[*SIZES])
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    peers = {each.name: each for each in PEERS}
    if given.run:
        peers[given.run[0]].run(int(given.run[1]), SLOTS)
        return
    # Peers' packages have their bytecode beside them; arbd is to have it too, whoever starts this.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    arbd(200)
    # Whatever processes leave behind comes here, to be waited for.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name in given.only:
        if peers[name].is_missing():
            print(json.dumps({"benchmark": "durable", "name": name, "skipped": f"pip install {peers[name].package}"}))
            continue
        compare(name, 200 if given.smoke else SIZES[name], 1 if given.smoke else given.times)


if __name__ == "__main__":
    main()
