"""What sessions that are over cost: commands, and a daemon that idles, beside the same on an empty spool.

    python benchmarks/finished.py                    10,000 sessions; a few minutes
    python benchmarks/finished.py --left             the same, of which all names were left in active/
    python benchmarks/finished.py --smoke            few of them, to see that it runs

The sessions are copies of one. Commands are whole processes, medians of five. The two daemons idle at the same time, so
that both have the same machine; `idle_ratio` is the median over the rounds of the one's processor time divided by the
other's, of all their processes. With `--left` it is told how long a daemon needs until no name is left, and how much
processor time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from memory import processes_of

from arbd.results.compaction import compact
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

ITERATIONS = 20
REPEATS = 5
COMMANDS = (("list",), ("status",), ("list", "--all"), ("doctor",), ("list", "--json"))
PATIENCE_S = 900.0


def make(root: Path, count: int, *, left: bool) -> SpoolLayout:
    """A spool with so many sessions that are over; with `left` all their names stand in `active/`."""
    root.mkdir()
    layout = SpoolLayout(root)
    layout.prepare()
    if not count:
        return layout
    first = make_session(layout, ITERATIONS, "over-00000")
    write_rows(first, "w", rows_of(1, ITERATIONS))
    exhaust(first, ITERATIONS)
    compact(Files(), first)
    for number in range(1, count):
        shutil.copytree(first.folder, layout.sessions / f"over-{number:05d}")
    for name in layout.sessions.iterdir():
        (layout.active / name.name).touch()
        if not left:
            (layout.active / name.name).unlink()
    return layout


def settings(folder: Path, name: str) -> Path:
    """Those of a daemon with one slot on the spool of that name."""
    path = folder / f"{name}.yaml"
    path.write_text(f"spool: {folder / name}\nworker_id: {name}\nslots: 1\ncache_dir: {folder / 'cache'}\n")
    return path


def environment(config: Path) -> dict[str, str]:
    """With a place for bytecode, as what is installed has it."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(config.parent / "bytecode")}


def arbctl_s(config: Path, *arguments: str) -> float:
    """The processor time of one command; exit code 1 of `doctor` is an answer too."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "arbd.cli", "--config", str(config), *arguments], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, check=False, env=environment(config),
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr.decode())
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def cpu_ns(pid: int) -> dict[int, int]:
    """The processor time of each thread of a process and of all below it, as far as they live."""
    found: dict[int, int] = {}
    for one in processes_of(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return found


def since_s(pid: int, before: dict[int, int]) -> float:
    """The processor time since then; what ended meanwhile counts for nothing."""
    return sum(ns - before.get(task, 0) for task, ns in cpu_ns(pid).items()) / 1e9


@contextlib.contextmanager
def daemon(config: Path) -> Iterator[int]:
    """One that lives meanwhile; its process id."""
    with config.with_suffix(".log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "arbd.daemon", "run", "--config", str(config)], stdout=log, stderr=log,
            env=environment(config),
        )  # fmt: skip
        try:
            yield running.pid
        finally:
            running.terminate()
            running.wait(PATIENCE_S)


def idle(full: Path, empty: Path, *, warm_s: float, window_s: float, rounds: int) -> None:
    """Print what two daemons take while nothing is to be done."""
    with daemon(full) as one, daemon(empty) as other:
        time.sleep(warm_s)
        pairs: list[tuple[float, float]] = []
        for _ in range(rounds):
            before = cpu_ns(one), cpu_ns(other)
            time.sleep(window_s)
            pairs.append((since_s(one, before[0]), since_s(other, before[1])))
    ratios = [round(a / b, 2) for a, b in pairs]
    print(json.dumps({
        "benchmark": "finished_idle", "window_s": window_s, "full_cpu_ms_per_s": _ms(a / window_s for a, _ in pairs),
        "empty_cpu_ms_per_s": _ms(b / window_s for _, b in pairs), "ratios": ratios,
        "idle_ratio": round(statistics.median(ratios), 2),
    }), flush=True)  # fmt: skip


def _ms(seconds: Iterator[float]) -> float:
    return round(1e3 * statistics.median(seconds), 2)


def emptied(config: Path, layout: SpoolLayout) -> None:
    """Print how long it takes until no name of a session that is over stands in `active/`."""
    count, began_s = len(list(layout.active.iterdir())), time.monotonic()
    with daemon(config) as pid:
        while (left := len(list(layout.active.iterdir()))) and time.monotonic() - began_s < PATIENCE_S:
            time.sleep(0.2)
        print(json.dumps({
            "benchmark": "finished_left", "names": count, "left": left, "seconds": round(time.monotonic() - began_s, 1),
            "cpu_s": round(since_s(pid, {}), 1),
        }), flush=True)  # fmt: skip


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--left", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--window", type=float, default=20.0)
    given = parser.parse_args()
    count = 20 if given.smoke else given.sessions
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        full, empty = settings(folder, "full"), settings(folder, "empty")
        layout = make(folder / "full", count, left=given.left)
        make(folder / "empty", 0, left=False)
        if given.left:
            emptied(full, layout)
            return
        arbctl_s(full, "repair", "--index")
        for command in COMMANDS:
            times = sorted(arbctl_s(full, *command) for _ in range(1 if given.smoke else REPEATS))
            figures = {"sessions": count, "command": " ".join(command), "cpu_s": round(statistics.median(times), 3)}
            print(json.dumps({"benchmark": "finished_command", **figures}), flush=True)
        warm_s, window_s, rounds = (2.0, 2.0, 1) if given.smoke else (15.0, given.window, given.rounds)
        idle(full, empty, warm_s=warm_s, window_s=window_s, rounds=rounds)


if __name__ == "__main__":
    main()
