"""How often a coordinator asks its file server for one exchange with a session's ledger. One JSON line.

    python benchmarks/round_trips.py [--spool FOLDER] [--exchanges 20]

Two workers claim and finish chunks of one session by turns, so that each finds records of the other, under strace. `asks`
are the calls of an exchange that a client of NFS passes on to its server: taking and giving back the lock, opening the
ledger, reading what another host wrote, syncing what was written (the write itself goes with that), closing. What its own
cache answers is counted as `cached`: a folder on the way that is opened to go through it, attributes of what was just
opened, a read behind the end, reading back what it wrote. Where the folder is on NFS, `rpc` are the calls to the server that
the kernel counted for its mount, of all exchanges by their number.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
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

CHUNK, SLOTS = 10, 4
MARK = "/exchange-of-arbd"
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_CACHED = ("fcntl", "fstat", "newfstatat", "fstatfs", "dup")
_OTHER = ("getpid", "futex", "mmap", "munmap", "brk", "clock_gettime", "rt_sigaction", "lseek", "ioctl", "getrandom")


def exchanges(folder: Path, count: int) -> None:
    """The work that is looked at: so many exchanges of each of two workers, each begun by a mark among the calls."""
    layout = SpoolLayout(folder)
    layout.prepare()
    files = layout.files()
    spec = JobSpec(
        ObjectiveSpec("python", ("noop:objective",)), "random", SearchSpace((FloatDimension("x", 0.0, 1.0),)),
        2 * CHUNK * SLOTS * (count + 3), 1, (MetricGoal("value", "maximize"),),
    )  # fmt: skip
    paths = create_session(files, layout, "trips", b"tuning: {}\n", spec)
    queues = [SessionQueue(files, paths) for _ in range(2)]
    workers = [Worker(f"host-{number}", number + 1, SLOTS) for number in range(2)]
    held: list[list[Claim]] = [[], []]
    before: Counter[str] = Counter()
    for turn in range(count + 1):
        if turn == 1:
            # The first exchange of each opens the lock file, which then stays open.
            before = calls_to_server(folder)
        for number, (queue, worker) in enumerate(zip(queues, workers, strict=True)):
            finishes = [Finish(claim.claim_id, (claim.span.count, 0, 0, 0)) for claim in held[number]]
            if turn:
                Path(MARK).exists()
            held[number] = queue.claim(worker, finishes, lambda state: (CHUNK, CHUNK * SLOTS), time.time_ns())
    Path(MARK).exists()
    sys.stdout.write(json.dumps(dict(calls_to_server(folder) - before)))


def calls_to_server(folder: Path) -> Counter[str]:
    """What the kernel counted for the NFS mount that a folder is on, by operation; nothing where it is on none."""
    found: dict[str, Counter[str]] = {}
    current: Counter[str] = Counter()
    for line in Path("/proc/self/mountstats").read_text().splitlines():
        if line.startswith("device "):
            current = Counter()
            found[line.partition(" mounted on ")[2].partition(" with fstype ")[0]] = current
        elif operation := re.match(r"^\s+([A-Z_]+): (\d+) ", line):
            current[operation[1]] = int(operation[2])
    mount = max((name for name in found if folder.resolve().is_relative_to(name)), key=len, default="")
    return found.get(mount, Counter())


def counted(trace: str, count: int) -> tuple[Counter[str], Counter[str]]:
    """Calls of so many exchanges that ask a server, and those that a client answers, by name."""
    asks: Counter[str] = Counter()
    cached: Counter[str] = Counter()
    own: set[str] = set()
    marks = 0
    for line in trace.splitlines():
        if MARK in line:
            marks += 1
            own.clear()
        call = _CALL.match(line)
        # The last mark stands behind the last exchange.
        if call is None or MARK in line or not 0 < marks <= count:
            continue
        name, arguments, result = call.groups()
        if name in _OTHER:
            continue
        if name == "write":
            own.add(arguments.partition(", ")[2].partition('"...')[0][:40])
        is_cached = (
            name in (*_CACHED, "write")
            or (name == "openat" and "O_PATH" in arguments)
            or (name == "close" and not _is_of_a_file(arguments))
            or (name == "pread64" and (result == "0" or arguments.partition(", ")[2][:40] in own))
        )
        (cached if is_cached else asks)[name] += 1
    return asks, cached


def _is_of_a_file(arguments: str) -> bool:
    """Whether a descriptor is of a ledger: with -y strace says what it leads to."""
    return "ledger" in arguments


def main() -> None:
    """Trace this script in another process, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spool", type=Path, help="a folder that is made for it, on the mount to be looked at")
    parser.add_argument("--exchanges", type=int, default=20)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    count = 2 if given.smoke else given.exchanges
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = given.spool or Path(name) / "spool"
        if given.work:
            exchanges(folder, count)
            return
        folder.mkdir()
        trace = Path(name) / "trace"
        command = ["strace", "-y", "-o", str(trace), sys.executable, __file__, "--work", "--spool", str(folder)]
        done = subprocess.run([*command, "--exchanges", str(count)], check=True, stdout=subprocess.PIPE, text=True)
        each = 2 * count
        asks, cached = counted(trace.read_text(errors="replace"), each)
    line = {
        "benchmark": "round_trips", "exchanges": each, "asks": round(sum(asks.values()) / each, 2),
        "by_call": {name: round(number / each, 2) for name, number in sorted(asks.items())},
        "cached": {name: round(number / each, 2) for name, number in sorted(cached.items())},
        "rpc": {name: round(number / each, 2) for name, number in sorted(json.loads(done.stdout).items())},
    }  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
