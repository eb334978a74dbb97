"""Exchanges with a session's ledger, by turns of two workers of this host: what their mount asked the server for each.

    exchanges.py SPOOL NAME COUNT

Prints JSON: calls of the kernel's client by operation, divided by the number of exchanges.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.search.problem import MetricGoal
from arbd.search.space import FloatDimension, SearchSpace
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.sessions import create_session
from arbd.spool.spans import Claim, Finish


def calls() -> Counter[str]:
    """Of all NFS mounts of this host."""
    found = re.findall(r"^\s+([A-Z_]+): (\d+) ", Path("/proc/self/mountstats").read_text(), re.MULTILINE)
    counted: Counter[str] = Counter()
    for name, number in found:
        counted[name] += int(number)
    return counted


def main() -> None:
    """The first turn is not counted: it opens the lock file."""
    spool, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    layout = SpoolLayout(spool)
    layout.prepare()
    spec = JobSpec(
        ObjectiveSpec("python", ("noop:objective",)), "random", SearchSpace((FloatDimension("x", 0.0, 1.0),)),
        2 * (count + 2), 1, (MetricGoal("value", "maximize"),),
    )  # fmt: skip
    paths = create_session(layout.files(), layout, name, b"tuning: {}\n", spec)
    queues = [SessionQueue(layout.files(), paths) for _ in range(2)]
    workers = [Worker(f"counted-{number}", number + 1, 1) for number in range(2)]
    held: list[list[Claim]] = [[], []]
    before: Counter[str] = Counter()
    for turn in range(count + 1):
        if turn == 1:
            before = calls()
        for number, (queue, worker) in enumerate(zip(queues, workers, strict=True)):
            finishes = [Finish(claim.claim_id, (claim.span.count, 0, 0, 0)) for claim in held[number]]
            held[number] = queue.claim(worker, finishes, lambda state: (1, 1), time.time_ns())
            assert len(held[number]) == 1
    sys.stdout.write(json.dumps({key: number / (2 * count) for key, number in (calls() - before).items()}))


main()
