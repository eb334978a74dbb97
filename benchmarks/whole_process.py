"""What a command costs as a whole process: time from start to end, and processor time of all that it started."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """The least of several runs."""

    seconds: float
    cpu_s: float


def cost(command: Sequence[str], times: int, environment: dict[str, str]) -> Cost:
    """Run a command several times; processes that it leaves to others are waited for and counted too."""
    walls, processor = [], []
    for _ in range(times):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        walls.append(time.perf_counter() - start)
        _wait_for_orphans()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return Cost(min(walls), min(processor))


def _wait_for_orphans() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def say(name: str, n: int, found: Cost, base: Cost | None = None) -> None:
    """Print one line; with `base`, also how many times as much as that it is."""
    line: dict[str, object] = {
        "benchmark": name,
        "n": n,
        "seconds": round(found.seconds, 3),
        "cpu_s": round(found.cpu_s, 3),
    }
    if base is not None:
        line |= {"ratio": round(found.seconds / base.seconds, 2), "cpu_ratio": round(found.cpu_s / base.cpu_s, 2)}
    print(json.dumps(line), flush=True)
