"""How soon another daemon has the work of one that ends, on one host with default settings. One JSON line each.

    python benchmarks/takeover.py            five times each
    python benchmarks/takeover.py --smoke    once each, to see that it runs

Two daemons with one slot each share a session of iterations of 20 ms. One gets SIGKILL or SIGTERM; `seconds` is the
median time from then until the ledger shows that nothing is claimed by it any more, so that the other, which is at
work, takes it. Across hosts the file server's own lock timeout comes on top: `tests/daemon/test_two_hosts*.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from coordination import PATIENCE_S, Bench, say

from arbd.errors import NotFoundError
from arbd.spool.arrivals import SUBMITTED_SUFFIX

LOOK_S = 0.01
OBJECTIVE = "import time\ndef objective(params):\n    time.sleep(0.02)\n    return {'value': 1.0}\n"


def holders(bench: Bench) -> set[str]:
    """The workers that have claims now."""
    try:
        state = bench.queue("bench").refresh()
    except NotFoundError:
        return set()
    return {claim.worker_id for claim in state.claims.values()}


def wait_until_held_by(bench: Bench, workers: set[str]) -> None:
    """Until exactly these workers have claims."""
    give_up = time.monotonic() + PATIENCE_S
    while holders(bench) != workers:
        if time.monotonic() > give_up:
            raise SystemExit(f"claims are held by {holders(bench)}, expected {workers}")
        time.sleep(LOOK_S)


def takeover_s(number: signal.Signals) -> float:
    """End one of two daemons by a signal; seconds until its work is free."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name, contextlib.ExitStack() as stack:
        bench = Bench(Path(name))
        (bench.folder / "noop_slow.py").write_text(OBJECTIVE)
        bench.write_job(bench.layout.incoming / f"bench{SUBMITTED_SUFFIX}", "bench", "slow", 1_000_000)
        daemons = {}
        for worker in ("ends", "stays"):
            command = bench.command("arbd.daemon", "run", "--slots", "1", "--worker-id", worker)
            daemons[worker] = stack.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            stack.callback(daemons[worker].terminate)
        wait_until_held_by(bench, {"ends", "stays"})
        daemons["ends"].send_signal(number)
        started = time.monotonic()
        # Between its records the other may hold nothing for a moment.
        while "ends" in holders(bench):
            time.sleep(LOOK_S)
        return time.monotonic() - started


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    times = 1 if parser.parse_args().smoke else 5
    for number in (signal.SIGKILL, signal.SIGTERM):
        found = [takeover_s(number) for _ in range(times)]
        say(
            f"takeover_after_{number.name}", times=times, seconds=round(statistics.median(found), 3),
            slowest=round(max(found), 3),
        )  # fmt: skip


if __name__ == "__main__":
    main()
