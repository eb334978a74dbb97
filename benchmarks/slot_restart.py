"""What it costs until a slot whose process crashed is ready again: processor time of all processes that do it. JSON lines.

    python benchmarks/slot_restart.py [--times 20]
    python benchmarks/slot_restart.py --smoke    few times, to see that it runs

A slot as a daemon has it is killed while it is idle and replaced, again and again. Counted is the time of this process,
which stands for the daemon, of the server that slots are copies of and of the new slot, from the kill until the slot is
ready for a task; with what loads the paper engine's machine code (`paper`), and without (`python`).
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import statistics
import tempfile
import time
from pathlib import Path

from arbd.daemon import forks
from arbd.daemon.slots.pool import Slot, SlotEvent
from arbd.daemon.slots.protocol import SlotSetup

PATIENCE_S = 120.0


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, by the scheduler's clock."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def parent(pid: int) -> int:
    """The process that a process is a child of."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pid_of(slot: Slot) -> int:
    """The slot's process."""
    assert slot.pid is not None, "a slot without a process"
    return slot.pid


def restarts(folder: Path, allow: str, times: int) -> list[tuple[float, float]]:
    """Seconds and processor time of each replacement."""
    ready: queue.Queue[None] = queue.Queue()
    events: queue.Queue[SlotEvent] = queue.Queue()
    setup = SlotSetup("", "bench", 1, os.getpid(), Path(), Path(), folder / "cache", (), (allow,))
    slot = Slot(0, setup, folder, events.put, lambda: ready.put(None))
    found = []
    try:
        ready.get(timeout=PATIENCE_S)
        server = parent(pid_of(slot))
        for _ in range(times):
            began_s, before = time.perf_counter(), cpu_s(os.getpid()) + cpu_s(server)
            os.kill(pid_of(slot), signal.SIGKILL)
            slot.restart()
            while not slot.progress.look().pid:
                time.sleep(0.001)
            after = cpu_s(os.getpid()) + cpu_s(server) + cpu_s(pid_of(slot))
            found.append((time.perf_counter() - began_s, after - before))
    finally:
        slot.end(5.0)
        forks.stop_server()
    return found


def main() -> None:
    """Both kinds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    for allow in ("python:*", "paper"):
        with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
            found = restarts(Path(name), allow, 2 if given.smoke else given.times)
        line = {"benchmark": "slot restart", "allow": allow, "times": len(found)}
        line |= {"seconds": round(statistics.median(seconds for seconds, _ in found), 4)}
        line |= {"cpu_ms": round(statistics.median(cpu for _, cpu in found) * 1e3, 1)}
        print(json.dumps(line | {"load": round(os.getloadavg()[0], 1)}), flush=True)


if __name__ == "__main__":
    main()
