"""What jobs that are dropped cost those that run: heartbeats and rate, on one host. One JSON line per measurement.

    python benchmarks/intake.py            1,000 jobs at once, and a job of a CSV file of 1 GB
    python benchmarks/intake.py --smoke    20 jobs and 1 MB, to see that it runs

A daemon with one slot less than there are processors, which is what taking jobs up leaves it. `first_begun_s` is from the
drop of 1,000 jobs until one of their sessions is worked on. `largest_gap_beats` is the longest time between two
heartbeats, in settings' `beat_s`; `rate_kept` the rate of a session that runs meanwhile, with a higher priority, as a
share of what it was before. `accepted_s` is the time until all are sessions.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from coordination import Bench, say

from arbd.errors import ArbdError
from arbd.paper.market.synth import synth_profile
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.files import Files
from arbd.spool.liveness import read_beat
from arbd.spool.sessions import session_ids

BEAT_S = 0.5
BEFORE_S = 15.0
PATIENCE_S = 900.0
LOOK_S = 0.02
ITERATION_S = 0.02
SLOW = f"import time\ndef objective(params):\n    time.sleep({ITERATION_S})\n    return {{'value': 1.0}}\n"


class Watch:
    """Follows the heartbeats of the daemon, and the session that runs all the time."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._files = Files()
        self._counter = -1
        self._since_s = time.monotonic()
        self.largest_gap_s = 0.0

    def until(self, done: Callable[[], bool]) -> float:
        """Seconds until something holds; gaps are followed meanwhile."""
        began = time.monotonic()
        self._look()
        self.largest_gap_s = 0.0
        while not done():
            if time.monotonic() - began > PATIENCE_S:
                raise SystemExit("it does not come to an end")
            self._look()
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def _look(self) -> None:
        beat, now = read_beat(self._files, self._bench.layout, "bench"), time.monotonic()
        if beat is not None and beat.counter != self._counter:
            self._counter, self._since_s = beat.counter, now
        self.largest_gap_s = max(self.largest_gap_s, now - self._since_s)

    def counted(self) -> int:
        """Recorded iterations of the session that runs all the time."""
        try:
            return self._bench.queue("going").refresh().counted
        except ArbdError:
            return 0


@contextlib.contextmanager
def daemon(slots: int) -> Iterator[Bench]:
    """A daemon on a fresh spool, with nothing to do."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-", dir=os.environ.get("ARBD_BENCH_DIR")) as name:
        bench = Bench(Path(name), f"beat_s: {BEAT_S}\ndata_dirs: [{name}]\ncache_dir: {name}/cache\nlog_level: error\n")
        (bench.folder / "noop_slow.py").write_text(SLOW)
        command = bench.command("arbd.daemon", "run", "--slots", str(slots), "--worker-id", "bench")
        with subprocess.Popen(command) as process:
            try:
                watch = Watch(bench)
                watch.until(lambda: read_beat(Files(), bench.layout, "bench") is not None)
                # Everything that starts with a daemon has started.
                time.sleep(3.0)
                yield bench
            finally:
                process.terminate()


def drop(bench: Bench, count: int) -> None:
    """Jobs of one iteration, all there at once, as the renames of `arbctl submit` bring them."""
    ready = bench.folder / "ready"
    ready.mkdir()
    for number in range(count):
        bench.write_job(ready / f"j{number:04}{SUBMITTED_SUFFIX}", f"j{number:04}", "slow", 1)
    for path in sorted(ready.iterdir()):
        path.rename(bench.layout.incoming / path.name)


def is_begun(bench: Bench) -> bool:
    """True when somebody works on one of the dropped jobs."""
    for session_id in session_ids(Files(), bench.layout)[:5]:
        with contextlib.suppress(ArbdError):
            if bench.queue(session_id).refresh().started_ns:
                return True
    return False


def has_all(bench: Bench, count: int) -> bool:
    """True when all dropped jobs are sessions."""
    return sum(name.startswith("j") for name in session_ids(Files(), bench.layout)) >= count


def measure(name: str, slots: int, begin: Callable[[Bench], Callable[[], bool]], **facts: int) -> None:
    """Heartbeats and the rate of a session that runs, before and while jobs are taken up."""
    with daemon(slots) as bench:
        watch = Watch(bench)
        job = bench.folder / "going.yaml"
        bench.write_job(job, "going", "slow", 10_000_000)
        job.write_text(job.read_text() + "execution: {priority: 5}\n")
        job.rename(bench.layout.incoming / f"going{SUBMITTED_SUFFIX}")
        watch.until(lambda: watch.counted() > 0)
        counted, began = watch.counted(), time.monotonic()
        watch.until(lambda: time.monotonic() - began > BEFORE_S)
        before = (watch.counted() - counted) / (time.monotonic() - began)
        idle_gap_s = watch.largest_gap_s
        done = begin(bench)
        counted, began = watch.counted(), time.monotonic()
        seconds = watch.until(done)
        # Rates of less than some chunks say nothing.
        watch_gap_s = watch.largest_gap_s
        watch.until(lambda: time.monotonic() - began > BEFORE_S)
        rate = (watch.counted() - counted) / (time.monotonic() - began)
        say(
            name, slots=slots, beat_s=BEAT_S, **facts, accepted_s=round(seconds, 2),
            largest_gap_beats=round(max(watch_gap_s, watch.largest_gap_s) / BEAT_S, 2),
            largest_gap_beats_before=round(idle_gap_s / BEAT_S, 2), rate_before_per_s=round(before, 1),
            rate_kept=round(rate / before, 3), load=round(os.getloadavg()[0], 1),
        )  # fmt: skip


def write_quotes(path: Path, megabytes: int) -> None:
    """A CSV file of about that size: the same hour of quotes again and again, at later times."""
    quotes = synth_profile("brl", 1, 20_000)
    step_ns = int(quotes.ts_ns[-1] - quotes.ts_ns[0]) + 1_000_000_000
    with path.open("w") as file:
        file.write("ts,bid_a,ask_a,bid_b,ask_b,fx\n")
        turn = 0
        while file.tell() < megabytes * 1_000_000:
            times = (quotes.ts_ns + turn * step_ns).astype("datetime64[ns]")
            columns = (quotes.bid_a, quotes.ask_a, quotes.bid_b, quotes.ask_b, quotes.fx)
            rows = zip(np.datetime_as_string(times, unit="ns").tolist(), *(c.tolist() for c in columns), strict=True)
            file.write("".join(f"{ts}Z,{a},{b},{c},{d},{e}\n" for ts, a, b, c, d, e in rows))
            turn += 1


def begin_large(bench: Bench) -> Callable[[], bool]:
    """Drop one job that names a large file; true when it is a session."""
    data = bench.folder / "large.csv"
    job = bench.folder / "large.yaml"
    job.write_text(
        f"session_id: j-large\ndata: [{data}]\ntuning: {{method: random, max_iterations: 1, "
        "search_space: {min_spread_pct: {type: float, bounds: [0.05, 0.5]}}}\n"
    )
    job.rename(bench.layout.incoming / f"j-large{SUBMITTED_SUFFIX}")
    return lambda: has_all(bench, 1) or any(bench.layout.rejected.iterdir())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    jobs, megabytes = (20, 1) if options.smoke else (1_000, 1_000)
    slots = max(1, len(os.sched_getaffinity(0)) - 1)
    with daemon(slots) as bench:
        watch = Watch(bench)
        drop(bench, jobs)
        first_s = watch.until(lambda: is_begun(bench))
        say(
            "first of many jobs",
            slots=slots,
            jobs=jobs,
            first_begun_s=round(first_s, 2),
            load=round(os.getloadavg()[0], 1),
        )

    def begin_many(bench: Bench) -> Callable[[], bool]:
        drop(bench, jobs)
        return lambda: has_all(bench, jobs)

    measure("many jobs at once", slots, begin_many, jobs=jobs)
    with tempfile.TemporaryDirectory(prefix="arbd-bench-", dir=os.environ.get("ARBD_BENCH_DIR")) as name:
        data = Path(name) / "large.csv"
        write_quotes(data, megabytes)

        def begin(bench: Bench) -> Callable[[], bool]:
            data.rename(bench.folder / "large.csv")
            return begin_large(bench)

        measure("a job of a large file", slots, begin, megabytes=megabytes)


if __name__ == "__main__":
    main()
