"""What one session's ledger carries: hosts of 64 slots that claim and finish chunks, as many as are asked for.

    python -m benchmarks.hosts [--hosts 10 100 1000] [--smoke]

The hosts are simulated, one exchange after the other, on a real ledger with its real lock, append and fsync; so is what
each of them has to read of the others. `most_claims_per_s` is what the ledger carries. From what was measured follows
what chunks of 2 s ask for: claims and fsyncs of every second, how long the lock is held of it, how much of a core each
daemon needs to follow the ledger, and what the file server sends.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.search.problem import MetricGoal
from arbd.search.space import FloatDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.sessions import create_session
from arbd.spool.spans import Claim, Finish

SLOTS = 64
CHUNK = 100
CHUNK_S = 2.0
ROUNDS = 2


def measure(folder: Path, hosts: int) -> dict[str, object]:
    """One ledger that so many hosts work on: each claims for its slots, and finishes what it had, `ROUNDS` times."""
    layout = SpoolLayout(folder)
    layout.prepare()
    files = layout.files()
    n = hosts * SLOTS * CHUNK * (ROUNDS + 1)
    spec = JobSpec(
        ObjectiveSpec("python", ("noop:objective",)), "random", SearchSpace((FloatDimension("x", 0.0, 1.0),)), n, 1,
        (MetricGoal("value", "maximize"),),
    )  # fmt: skip
    paths = create_session(files, layout, "scale", b"tuning: {}\n", spec)
    ledger = SessionQueue(files, paths)
    ledger.refresh()
    queues = [SessionQueue(files, paths) for _ in range(hosts)]
    workers = [Worker(f"host-{number}", number + 1, SLOTS) for number in range(hosts)]
    held: list[list[Claim]] = [[] for _ in range(hosts)]
    chunks = 0
    times_s: list[float] = []
    before = paths.ledger.stat().st_size
    with _synced() as synced:
        for turn in range(ROUNDS + 1):
            for number, (queue, worker) in enumerate(zip(queues, workers, strict=True)):
                finishes = [Finish(claim.claim_id, (claim.span.count, 0, 0, 0)) for claim in held[number]]
                began_s = time.perf_counter()
                # What the others wrote is folded once for all of them; how long that takes is measured below.
                queue.resume(ledger.state, ledger.position)
                held[number] = queue.claim(worker, finishes, lambda state: (CHUNK, SLOTS * CHUNK), time.time_ns())
                ledger.resume(queue.state, queue.position)
                if turn:
                    times_s.append(time.perf_counter() - began_s)
                    chunks += len(finishes)
    written = paths.ledger.stat().st_size - before
    per_chunk_bytes = written / (chunks + hosts * SLOTS)
    fold_s = min(_follow_s(files, paths) for _ in range(3)) / (chunks + hosts * SLOTS)
    per_s = hosts * SLOTS / CHUNK_S
    # What else the machine does meanwhile is not the ledger's.
    exchange_s = statistics.median(times_s)
    fsyncs = len(synced) / (hosts * (ROUNDS + 1))
    return {
        "benchmark": "ledger", "hosts": hosts, "slots": hosts * SLOTS, "exchange_ms": round(1e3 * exchange_s, 2),
        "most_claims_per_s": round(SLOTS / exchange_s), "claims_per_s": round(per_s), "fsyncs_per_s": round(fsyncs * hosts / CHUNK_S, 1),
        "bytes_per_chunk": round(per_chunk_bytes, 1), "follow_us_per_chunk": round(1e6 * fold_s, 2),
        "lock_held_percent": round(100 * per_s / SLOTS * exchange_s, 1),
        "cores_to_follow": round(per_s * fold_s, 3),
        "server_mb_per_s": round(hosts * per_s * per_chunk_bytes / 1e6, 1),
    }  # fmt: skip


@contextmanager
def _synced() -> Iterator[list[int]]:
    """The descriptors that were made durable meanwhile."""
    found: list[int] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        fsync(fd)
        found.append(fd)

    os.fsync = noted  # type: ignore[assignment]
    try:
        yield found
    finally:
        os.fsync = fsync


def _follow_s(files: Files, paths: SessionPaths) -> float:
    began_s = time.process_time()
    SessionQueue(files, paths).refresh()
    return time.process_time() - began_s


def main() -> None:
    """Print one line for each number of hosts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[10, 100, 300, 1000])
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    for hosts in [2] if given.smoke else given.hosts:
        with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
            spool = Path(name) / "spool"
            spool.mkdir()
            print(json.dumps(measure(spool, hosts)), flush=True)


if __name__ == "__main__":
    main()
