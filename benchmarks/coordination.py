"""How many iterations a second are claimed, evaluated and durably recorded, end to end. One JSON line each.

    python benchmarks/coordination.py            all sizes, about ten minutes
    python benchmarks/coordination.py --smoke    small sizes, to see that it runs

`arbd_scalar` and `arbd_batch` are a real daemon that idles on a fresh spool in the temporary folder and gets a job,
with an objective that does nothing. Times are its ledger's: from the first claim to the last record of finished work,
so without the start of the processes, with the loading of the objective, and without compaction. `daemon_peak_mb` is
the most memory (VmHWM) that the daemon's main process had until then. Runs of up to 20,000 iterations are medians of
three.

The peers do the same work in the same run; `coordination_peers.py` says what each does and what is timed. One that
would take too long is measured with fewer iterations than asked for (`n_asked`, `reduced`); one that is not
installed is skipped (pip install 'arbd[bench]').

`ratios` divides the rate of arbd_scalar by that of each peer. Each peer has its own arbd runs for that, one just
before it and one just after, because what a disk and a processor give changes from minute to minute.

`latency_*` is a daemon that idles and gets a job: until its session's ledger shows the first claim, counted from the
return of `arbctl submit` (`after_submit`, which is 0 when the claim is there before the command returns), from the
start of that command (`from_command`, with the start of its interpreter), and from the rename into `incoming/` by a
process that runs already (`after_rename`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from coordination_peers import PEERS, Peer

from arbd.errors import NotFoundError
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue

OBJECTIVES = {
    "scalar": "def objective(params):\n    return {'value': 1.0}\n",
    "batch": (
        "import numpy as np\n\ndef objective(params):\n    return {'value': 1.0}\n\n"
        "def evaluate_batch(columns):\n    return {'value': np.ones(len(columns['x']))}\n"
    ),
}
MEMORY_LOOK_S = 0.05
LEDGER_LOOK_S = 0.005
IDLE_S = 2.0
JOB_N = 100
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `main` is where the ratios are taken, `low` and `high` where sizes are compared."""

    slots: tuple[int, ...] = (1, 2, 4)
    sizes: tuple[int, ...] = (1_000, 10_000, 20_000, 100_000, 1_000_000)
    slow_sizes: tuple[int, ...] = (1_000, 20_000)
    low: int = 10_000
    main: int = 20_000
    high: int = 1_000_000
    main_slots: int = 2
    repeats: int = 3
    limit_s: float = 12.0
    in_full: tuple[str, ...] = ("optuna_journal", "jug")
    jobs: int = 5
    pause_s: float = 1.0


SMOKE = Plan(
    slots=(2,), sizes=(100, 2_000), slow_sizes=(20, 100), low=100, main=100, high=2_000, repeats=1, limit_s=2.0, jobs=1,
    pause_s=0.1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """What one measurement gave."""

    n: int
    seconds: float
    peak_mb: float = 0.0

    @property
    def rate(self) -> float:
        """Iterations a second."""
        return self.n / self.seconds


@dataclass(slots=True)
class Bench:
    """A folder with a configuration, the objectives and a spool, and the commands that work on it."""

    folder: Path
    settings: str = ""
    layout: SpoolLayout = field(init=False)

    def __post_init__(self) -> None:
        for kind, text in OBJECTIVES.items():
            (self.folder / f"noop_{kind}.py").write_text(text)
        (self.folder / "arbd.yaml").write_text(
            f"allow: [paper, 'python:*']\nobjective_paths: [{self.folder}]\n{self.settings}"
        )
        self.layout = SpoolLayout(self.folder / "spool")
        self.layout.root.mkdir()
        self.layout.prepare()

    def command(self, module: str, *arguments: str) -> list[str]:
        """A command line of arbd or arbctl without the subcommand's own options."""
        common = ["--config", str(self.folder / "arbd.yaml"), "--spool", str(self.layout.root)]
        if module == "arbd.daemon":
            return [sys.executable, "-m", module, *arguments[:1], *common, *arguments[1:]]
        return [sys.executable, "-m", module, *common, *arguments]

    def write_job(self, path: Path, session_id: str, kind: str, n: int) -> None:
        """A job file with `n` iterations."""
        path.write_text(
            f"session_id: {session_id}\nobjective: {{python: 'noop_{kind}:objective'}}\nmetric: value\n"
            f"tuning: {{method: random, max_iterations: {n}, search_space: {{x: {{type: float, bounds: [0, 1]}}}}}}\n"
        )

    def queue(self, session_id: str) -> SessionQueue:
        """A session's ledger, to read."""
        return SessionQueue(Files(), self.layout.session(session_id))


def peak_mb(pid: int) -> float:
    """The most resident memory that a process had so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def run_arbd(kind: str, n: int, slots: int) -> Run:
    """One session on a fresh spool; from the first claim to the last record."""
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        bench = Bench(Path(name))
        job = bench.folder / "job.yaml"
        bench.write_job(job, "bench", kind, n)
        with idle_daemon(bench, slots) as daemon:
            job.rename(bench.layout.incoming / f"bench{SUBMITTED_SUFFIX}")
            give_up = time.monotonic() + PATIENCE_S
            # Seldom, and without a look at the ledger, which would take processor time from it.
            while not bench.layout.session("bench").results.exists():
                if daemon.poll() is not None or time.monotonic() > give_up:
                    raise SystemExit(f"the session is not complete, exit code {daemon.returncode}")
                time.sleep(MEMORY_LOOK_S)
            memory = peak_mb(daemon.pid)
        state = bench.queue("bench").refresh()
        if state.counts != [n, 0, 0, 0]:
            raise SystemExit(f"the session is not complete: {state.counts}")
        return Run(n, (state.recent[-1][0] - state.started_ns) / 1e9, memory)


def median_run(kind: str, n: int, slots: int, times: int) -> Run:
    """The median of several runs."""
    runs = [run_arbd(kind, n, slots) for _ in range(times)]
    return Run(
        n, statistics.median(run.seconds for run in runs), round(statistics.median(run.peak_mb for run in runs), 1)
    )


def say(benchmark: str, **facts: Any) -> None:
    """Print one line."""
    print(json.dumps({"benchmark": benchmark, **facts}), flush=True)


def say_run(name: str, slots: int, run: Run, **more: Any) -> None:
    """Print the line of one measurement."""
    say(name, n=run.n, slots=slots, seconds=round(run.seconds, 4), per_s=round(run.rate), **more)


def affordable(asked: int, before: Run | None, growth: float, limit_s: float) -> int:
    """`asked`, or fewer iterations when those would take longer than the limit, judged by a smaller run."""
    if before is None or before.seconds * (asked / before.n) ** growth <= limit_s:
        return asked
    fits = before.n * (limit_s / before.seconds) ** (1 / growth)
    return min(asked, max(before.n, int(fits) // 100 * 100))


def run_peer(peer: Peer, asked: int, n: int, slots: int) -> Run:
    """Measure a peer and print its line."""
    run = Run(n, peer.run(n, slots))
    say_run(peer.name, slots, run, **({"n_asked": asked, "reduced": True} if n < asked else {}))
    return run


def measure_peers(plan: Plan) -> dict[str, float]:
    """All peers; the ratios to arbd_scalar at the main size, and `<peer>_n` where that was reduced."""
    ratios: dict[str, float] = {}
    for peer in PEERS:
        if peer.is_missing():
            say(peer.name, skipped=f"pip install {peer.package}")
            continue
        for slots in plan.slots:
            before: Run | None = None
            for asked in plan.slow_sizes if peer.slow else plan.sizes:
                main = (asked, slots) == (plan.main, plan.main_slots)
                in_full = main and peer.name in plan.in_full
                n = asked if in_full else affordable(asked, before, peer.growth, plan.limit_s)
                if before is not None and n == before.n and not main:
                    continue  # a second time the same
                around = [run_arbd("scalar", plan.main, slots)] if main else []
                before = run_peer(peer, asked, n, slots)
                if main:
                    around.append(run_arbd("scalar", plan.main, slots))
                    rate = 2 * plan.main / sum(run.seconds for run in around)
                    ratios[f"to_{peer.name}"] = float(f"{rate / before.rate:.3g}")
                    if n < asked:
                        ratios[f"{peer.name}_n"] = n
    return ratios


def measure_arbd(plan: Plan) -> dict[tuple[str, int, int], Run]:
    """The daemon at all sizes, by objective, N and slots."""
    found = {}
    for kind in OBJECTIVES:
        for slots in plan.slots:
            for n in plan.sizes:
                run = median_run(kind, n, slots, plan.repeats if n <= plan.main else 1)
                say_run(f"arbd_{kind}", slots, run, daemon_peak_mb=run.peak_mb)
                found[kind, n, slots] = run
    return found


def _reached(bench: Bench, session_id: str, *, done: bool) -> bool:
    """True when the session's ledger shows a claim, or with `done` that it is done."""
    try:
        state = bench.queue(session_id).refresh()
    except NotFoundError:
        return False
    return state.done if done else bool(state.started_ns)


def _wait_for(bench: Bench, session_id: str, *, done: bool) -> float:
    """The monotonic time when a look at the ledger first showed a claim, or with `done` the end."""
    give_up = time.monotonic() + PATIENCE_S
    while not _reached(bench, session_id, done=done):
        if time.monotonic() > give_up:
            raise SystemExit(f"session {session_id} has no {'end' if done else 'claim'} after {PATIENCE_S:g} s")
        time.sleep(LEDGER_LOOK_S)
    return time.monotonic()


@contextlib.contextmanager
def idle_daemon(bench: Bench, slots: int) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that has nothing to do."""
    command = bench.command("arbd.daemon", "run", "--slots", str(slots))
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as daemon:
        try:
            give_up = time.monotonic() + PATIENCE_S
            while not list(bench.layout.workers.glob("*.beat")):
                if daemon.poll() is not None or time.monotonic() > give_up:
                    raise SystemExit(f"the daemon did not start, exit code {daemon.returncode}")
                time.sleep(LEDGER_LOOK_S)
            time.sleep(IDLE_S)
            yield daemon
        finally:
            daemon.terminate()


def measure_latency(plan: Plan, watch: str) -> None:
    """From a job that is dropped on an idle daemon to the first claim, by command and by rename."""
    after: dict[str, list[float]] = {"after_submit": [], "from_command": [], "after_rename": []}
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        bench = Bench(Path(name), f"watch: {watch}\n")
        job = bench.folder / "job.yaml"
        submit = bench.command("arbd.cli", "submit", str(job))
        with idle_daemon(bench, plan.main_slots):
            for index in range(plan.jobs):
                bench.write_job(job, f"command-{index}", "scalar", JOB_N)
                started = time.monotonic()
                subprocess.run(submit, check=True, stdout=subprocess.DEVNULL)
                returned = time.monotonic()
                claimed_before = _reached(bench, f"command-{index}", done=False)
                seen = _wait_for(bench, f"command-{index}", done=False)
                after["after_submit"].append(0.0 if claimed_before else seen - returned)
                after["from_command"].append(seen - started)
                _wait_for(bench, f"command-{index}", done=True)
                # Each job comes at another moment between two looks of the daemon.
                time.sleep(plan.pause_s + index / plan.jobs)
                bench.write_job(job, f"rename-{index}", "scalar", JOB_N)
                started = time.monotonic()
                job.rename(bench.layout.incoming / f"rename-{index}{SUBMITTED_SUFFIX}")
                after["after_rename"].append(_wait_for(bench, f"rename-{index}", done=False) - started)
                _wait_for(bench, f"rename-{index}", done=True)
                time.sleep(plan.pause_s + index / plan.jobs)
    for start, times in after.items():
        early = {"claimed_before_return": times.count(0.0)} if start == "after_submit" else {}
        say(
            f"latency_{start}", watch=watch, slots=plan.main_slots, jobs=plan.jobs,
            seconds=round(statistics.median(times), 4), slowest=round(max(times), 4), **early,
        )  # fmt: skip


def _versions() -> dict[str, str]:
    names = sorted({peer.package for peer in PEERS if peer.package and not peer.is_missing()})
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    plan = SMOKE if parser.parse_args().smoke else Plan()
    say("machine", processors=len(os.sched_getaffinity(0)), load=round(os.getloadavg()[0], 2), versions=_versions())
    arbd = measure_arbd(plan)
    for watch in ("auto", "polling"):
        measure_latency(plan, watch)
    ratios = measure_peers(plan)
    low, high = (arbd["scalar", n, plan.main_slots] for n in (plan.low, plan.high))
    say(
        "daemon_memory", slots=plan.main_slots, n_low=low.n, n_high=high.n, low_mb=low.peak_mb, high_mb=high.peak_mb,
        difference_mb=round(high.peak_mb - low.peak_mb, 1),
    )  # fmt: skip
    say(
        "cost_per_iteration", slots=plan.main_slots, n_low=low.n, n_high=high.n,
        ratio_1m_to_10k=round(low.rate / high.rate, 3),
    )  # fmt: skip
    say("ratios", n=plan.main, slots=plan.main_slots, **ratios)


if __name__ == "__main__":
    main()
