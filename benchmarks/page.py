"""What the live page costs its host: many sessions, many rows, many browsers, and how late it is. One JSON line each.

    python benchmarks/page.py            10,000 sessions; 1,000,000 rows; 20 browsers for 30 s
    python benchmarks/page.py --smoke    few of them, to see that it runs

The page is `arbctl serve` in a process of its own. `page_list`: its processor time for one list of all sessions, once it has
seen them (median of five), and for a browser that is there for a minute. `page_rows`: its processor time from the first
question for a session of so many rows to the answer, the same again, and the most memory (VmHWM) that it had.
`page_browsers`: browsers ask as the page does, each second for what changed and for the session that they show, while a
worker runs it; `core_percent` is the page's processor time in that time. `late_s` is how long after its record in the ledger
an iteration is in what browsers have got.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from finished import make

from arbd.results.compaction import compact
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from tests.page.serving import Served, cpu_s, serving
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

EVERY_S = 1.0
PATIENCE_S = 600.0
OBJECTIVE = """\
import time
def objective(params):
    time.sleep(0.1)
    return {"value": params["x"]}
"""
JOB = """\
session_id: running
objective: {python: "paced:objective"}
metric: value
tuning: {method: random, max_iterations: 100000, search_space: {x: {type: float, bounds: [0, 1]}}}
"""


def wait_for(served: Served, sessions: int) -> int:
    """Until the page has seen that many; the version of what it knows."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        now = served.changes(0)
        if now["complete"] and now["count"] == sessions:
            return int(now["version"])
        time.sleep(EVERY_S)
    raise SystemExit(f"the page has not seen {sessions} sessions within {PATIENCE_S:g} s")


def page(folder: Path, layout: SpoolLayout) -> AbstractContextManager[Served]:
    """A page on that spool."""
    config = folder / "arbd.yaml"
    config.write_text(f"cache_dir: {folder / 'cache'}\nobjective_paths: [{folder}]\nallow: ['python:*']\n")
    return serving(layout.root, config)


def many_sessions(folder: Path, count: int) -> None:
    """Print what a list of so many costs."""
    layout = make(folder / "sessions", count, left=False)
    with page(folder, layout) as served:
        version = wait_for(served, count)
        seen_s = cpu_s(served.process)
        listed = []
        for _ in range(5):
            before = cpu_s(served.process)
            assert len(served.changes(0)["sessions"]) == count
            listed.append(cpu_s(served.process) - before)
        before, began = cpu_s(served.process), time.monotonic()
        while time.monotonic() - began < 60 * min(1, count / 1_000):
            served.changes(version)
            time.sleep(EVERY_S)
        per_s = (cpu_s(served.process) - before) / (time.monotonic() - began)
        print(json.dumps({
            "benchmark": "page_list", "sessions": count, "first_look_cpu_s": round(seen_s, 2),
            "list_cpu_s": round(statistics.median(listed), 3), "idle_core_percent": round(100 * per_s, 2),
        }), flush=True)  # fmt: skip


def many_rows(folder: Path, rows: int) -> None:
    """Print what a session of so many rows costs to open."""
    layout = SpoolLayout(folder / "rows")
    layout.root.mkdir()
    layout.prepare()
    paths = make_session(layout, rows, "many")
    write_rows(paths, "host-a", rows_of(1, rows))
    exhaust(paths, rows)
    compact(Files(), paths)
    with page(folder, layout) as served:
        wait_for(served, 1)
        opened = []
        for _ in range(2):
            before, began = cpu_s(served.process), time.monotonic()
            assert served.ask("/api/session/many")[1]["rows"] == rows
            opened.append((cpu_s(served.process) - before, time.monotonic() - began))
        status = Path(f"/proc/{served.process.pid}/status").read_text()
        peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        print(json.dumps({
            "benchmark": "page_rows", "rows": rows, "first_cpu_s": round(opened[0][0], 2),
            "first_s": round(opened[0][1], 2), "again_cpu_s": round(opened[1][0], 2), "peak_mb": round(peak_kb / 1024),
        }), flush=True)  # fmt: skip


@dataclass
class Seen:
    """When so many iterations were first in the ledger, and first in what a browser got."""

    recorded: dict[int, float] = field(default_factory=dict)
    shown: dict[int, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def follow(self, layout: SpoolLayout) -> None:
        """Note what stands in the ledger, and when."""
        queue = SessionQueue(layout.files(), layout.session("running"))
        while not self.stop.wait(0.02):
            self.recorded.setdefault(queue.refresh().counted, time.monotonic())

    def browse(self, served: Served, first_s: float) -> None:
        """As the page does: what changed, and the session that is shown."""
        version, stamp = 0, ""
        self.stop.wait(first_s)
        while not self.stop.wait(EVERY_S):
            changes = served.changes(version)
            version = changes["version"]
            for row in changes["sessions"]:
                self.shown.setdefault(row["done"], time.monotonic())
            _, _, headers = served.ask("/api/session/running", headers={"If-None-Match": stamp} if stamp else {})
            stamp = headers.get("ETag", stamp)

    def late_s(self) -> list[float]:
        """Of each number of iterations that the ledger had: until a browser had as many, or more."""
        shown = sorted(self.shown.items())
        found = [next((at - then for done, at in shown if done >= n), None) for n, then in self.recorded.items() if n]
        return [late for late in found if late is not None]


def many_browsers(folder: Path, browsers: int, seconds: float) -> None:
    """Print what so many cost that watch a session which runs, and how late they are."""
    layout = SpoolLayout(folder / "running")
    layout.root.mkdir()
    layout.prepare()
    (folder / "paced.py").write_text(OBJECTIVE)
    (folder / "job.yaml").write_text(JOB)
    with page(folder, layout) as served:
        worker = subprocess.Popen(
            [sys.executable, "-m", "arbd.cli", "--spool", str(layout.root), "run", str(folder / "job.yaml"), "--workers", "2"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(served, 1)
            seen = Seen()
            ways = [threading.Thread(target=seen.follow, args=(layout,))]
            ways += [threading.Thread(target=seen.browse, args=(served, i / browsers)) for i in range(browsers)]
            for way in ways:
                way.start()
            # The first list and the first session of each are another thing.
            time.sleep(2 * EVERY_S + 2)
            before, began = cpu_s(served.process), time.monotonic()
            time.sleep(seconds)
            share = (cpu_s(served.process) - before) / (time.monotonic() - began)
            seen.stop.set()
            for way in ways:
                way.join()
        finally:
            worker.terminate()
            worker.wait(60)
    late = seen.late_s()
    print(json.dumps({
        "benchmark": "page_browsers", "browsers": browsers, "iterations": max(seen.recorded), "core_percent":
        round(100 * share, 2), "late_s_median": round(statistics.median(late), 2), "late_s_max": round(max(late), 2),
    }), flush=True)  # fmt: skip


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", choices=("list", "rows", "browsers"))
    given = parser.parse_args()
    parts = {
        "list": lambda folder: many_sessions(folder, 20 if given.smoke else 10_000),
        "rows": lambda folder: many_rows(folder, 1_000 if given.smoke else 1_000_000),
        "browsers": lambda folder: many_browsers(
            folder, 2 if given.smoke else 20, seconds=2.0 if given.smoke else 30.0
        ),
    }
    for name, part in parts.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="arbd-page-") as folder:
                part(Path(folder))


if __name__ == "__main__":
    main()
