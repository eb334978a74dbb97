"""What the Redis mirror costs a session, and how fast it is. One JSON line each.

    python benchmarks/mirror.py            a session of 200,000 iterations, three times with and without a mirror
    python benchmarks/mirror.py --smoke    small, to see that it runs

Needs redis-server (apt install redis-server); starts one of its own on a unix socket, and stops it. `session` is a
daemon on a fresh spool with an objective that does nothing; seconds are its ledger's, from the first claim to the last
record. `ratio` is the median with a mirror over that without. `fill` is `arbctl mirror rebuild` of such a session.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue

OBJECTIVE = "def objective(params):\n    return {'value': 1.0}\n"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    if shutil.which("redis-server") is None:
        print(json.dumps({"benchmark": "mirror", "skipped": "no redis-server: apt install redis-server"}))
        return
    n, times = (2_000, 1) if smoke else (200_000, 3)
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        home = Path(name)
        (home / "idle.py").write_text(OBJECTIVE)
        redis = start_redis(home)
        try:
            measure(home, n, times)
        finally:
            redis.terminate()
            redis.wait()


def measure(home: Path, n: int, times: int) -> None:
    """Sessions by turns with and without, then a rebuild."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    spool = home
    for number in range(times):
        for mirrored in (False, True):
            spool = home / f"spool-{number}-{mirrored}"
            taken[mirrored].append(session(home, spool, n, mirrored=mirrored))
    medians = {mirrored: statistics.median(seconds) for mirrored, seconds in taken.items()}
    for mirrored, seconds in medians.items():
        rate = {"seconds": round(seconds, 3), "per_s": round(n / seconds)}
        print(json.dumps({"benchmark": "session", "n": n, "mirror": mirrored, **rate}))
    ratio = round(medians[True] / medians[False], 3)
    print(json.dumps({"benchmark": "session", "n": n, "ratio": ratio}))
    began = time.monotonic()
    arbctl(home, spool, "mirror", "rebuild")
    filled = time.monotonic() - began
    arbctl(home, spool, "mirror", "verify")
    print(json.dumps({"benchmark": "fill", "n": n, "seconds": round(filled, 3), "per_s": round(n / filled)}))


def session(home: Path, spool: Path, n: int, *, mirrored: bool) -> float:
    """Seconds that a session took."""
    spool.mkdir()
    settings = f"allow: ['python:*']\nobjective_paths: [{home}]\nsettle_s: 0.1\nscan_s: 0.1\ndrain_timeout_s: 300\n"
    mirror = f"mirror: {{redis: {{url: 'unix://{home}/redis.sock', env: bench}}}}\n"
    (home / "arbd.yaml").write_text(settings + (mirror if mirrored else ""))
    (home / "job.yaml").write_text(
        "objective: {python: 'idle:objective'}\nmetric: value\nresults: {csv: false}\n"
        f"tuning: {{method: random, seed: 1, max_iterations: {n}, search_space: {{x: {{type: float, bounds: [0, 1]}}}}}}\n"
    )
    SpoolLayout(spool).prepare()
    arbctl(home, spool, "submit", str(home / "job.yaml"), "--session-id", spool.name)
    command = [
        sys.executable,
        "-m",
        "arbd.daemon",
        "run",
        "--config",
        f"{home}/arbd.yaml",
        "--spool",
        str(spool),
        "--burst",
    ]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    state = SessionQueue(Files(), SpoolLayout(spool).session(spool.name)).refresh()
    assert state.done
    assert state.counted == n
    return (state.recent[-1][0] - state.started_ns) / 1e9


def arbctl(home: Path, spool: Path, *arguments: str) -> None:
    """Run arbctl."""
    command = [sys.executable, "-m", "arbd.cli", "--spool", str(spool), "--config", f"{home}/arbd.yaml", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def start_redis(home: Path) -> subprocess.Popen[bytes]:
    """A server that keeps an append-only file, as one does that is to be relied on."""
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", f"{home}/redis.sock", "--dir", str(home), "--save", "",
         "--appendonly", "yes"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while not (home / "redis.sock").exists():
        time.sleep(0.05)
    return process


if __name__ == "__main__":
    main()
