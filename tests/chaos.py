"""Runs daemons on one spool, kills, stops and starves them at random, and compares with an undisturbed run.

bin/chaos --daemons 4 --minutes 2             on a spool of its own in the temporary folder
bin/chaos --spool /mnt/a/x --spool /mnt/b/x   one shared folder as seen through several mounts: daemons take turns
Exit code 0 when the results are the same to the bit, 1 when anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from arbd.analysis.table import ResultTable, load_table
from arbd.objective.processes import descendants
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids

REPOSITORY = Path(__file__).resolve().parent.parent
SESSION = "chaos"
MEAN_GAP_S = 0.3
OBJECTIVE = """
import time
def objective(params):
    time.sleep({seconds})
    if params["k"] == 3 and params["x"] < 0.05:
        raise ValueError(f"no luck at {{params['x']:.4f}}")
    return {{"value": params["x"] * params["k"], "square": params["x"] ** 2}}
"""
JOB = """
session_id: {session}
objective: {{python: "chaos_objective:objective"}}
metric: value
execution: {{retries: 1}}
tuning:
  method: lhs
  max_iterations: {iterations}
  seed: {seed}
  search_space:
    x: {{type: float, bounds: [0, 1]}}
    k: {{type: int, bounds: [1, 9]}}
"""


class ChaosError(Exception):
    """The disturbed run did not come to its end, or differs."""


@dataclass
class Victim:
    """A daemon that has much to bear."""

    name: str
    spool: Path
    folder: Path
    slots: int
    process: subprocess.Popen[bytes] | None = None
    back_at: float = 0.0
    stopped_until: float = 0.0
    starved_until: float = 0.0

    def start(self) -> None:
        """A fresh daemon under the old name."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                _command(self.folder, self.spool, self.name, self.slots),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def signal(self, number: int) -> None:
        """To the daemon, and for stopping to its slots as well."""
        assert self.process is not None
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL to the daemon alone: its slots have to follow by themselves."""
        assert self.process is not None
        below = descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        self.process = None
        # One that was stopped between its fork and its start has the daemon's files open, the locked one among them,
        # until it goes on; a stopped host would not have it outlive the daemon.
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@dataclass
class Tally:
    """What was done to them."""

    kills: int = 0
    stops: int = 0
    starvations: int = 0


@dataclass
class Storm:
    """One run: daemons, dice, and what happens next."""

    victims: list[Victim]
    rng: random.Random
    tally: Tally = field(default_factory=Tally)

    def blow(self, seconds: float, state: SessionQueue) -> None:
        """Until time is up: a blow every `MEAN_GAP_S` on average, then everybody gets up again."""
        end = time.monotonic() + seconds
        next_blow = time.monotonic()
        next_word = time.monotonic() + 10.0
        while (now := time.monotonic()) < end:
            self._tend(now)
            if now >= next_blow:
                next_blow = now + self.rng.expovariate(1.0 / MEAN_GAP_S)
                self._strike(now)
            if now >= next_word:
                next_word = now + 10.0
                print(f"{_refreshed(state).counted:,} recorded; {self.tally}", file=sys.stderr, flush=True)
            time.sleep(0.01)
        for victim in self.victims:
            victim.back_at = victim.stopped_until = victim.starved_until = 0.0
        self._tend(time.monotonic())

    def _tend(self, now: float) -> None:
        for victim in self.victims:
            if victim.process is None:
                if now >= victim.back_at:
                    victim.start()
            elif victim.process.poll() is not None:
                raise ChaosError(f"{victim.name} ended by itself with status {victim.process.returncode}: see its log")
            elif now < victim.starved_until:
                # A tenth of the time to run, as on a host that swaps.
                running = int(now * 20) % 10 == 0
                victim.signal(signal.SIGCONT if running else signal.SIGSTOP)
            elif victim.stopped_until <= now:
                victim.signal(signal.SIGCONT)

    def _strike(self, now: float) -> None:
        victim = self.rng.choice(self.victims)
        if victim.process is None:
            return
        dice = self.rng.random()
        if dice < 0.5:
            victim.kill()
            victim.back_at = now + self.rng.uniform(0.0, 2.0)
            victim.stopped_until = victim.starved_until = 0.0
            self.tally.kills += 1
        elif dice < 0.9:
            victim.signal(signal.SIGSTOP)
            victim.stopped_until = now + self.rng.choice((self.rng.uniform(0.1, 1.0), self.rng.uniform(1.0, 9.0)))
            self.tally.stops += 1
        else:
            victim.starved_until = now + self.rng.uniform(1.0, 5.0)
            self.tally.starvations += 1


def _command(folder: Path, spool: Path, name: str, slots: int, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "arbd.daemon", "run", "--config", str(folder / "arbd.yaml"), "--spool", str(spool),
        "--worker-id", name, "--slots", str(slots), *more,
    ]  # fmt: skip


def _refreshed(queue: SessionQueue) -> LedgerState:
    names = session_ids(Files(), SpoolLayout(queue.paths.folder.parent.parent))
    return queue.refresh() if queue.paths.session_id in names else queue.state


def _prepare(spool: Path, job: str) -> SpoolLayout:
    spool.mkdir(parents=True, exist_ok=True)
    layout = SpoolLayout(spool)
    layout.prepare()
    Files().publish(layout.incoming / f"{SESSION}.submitted.yaml", job.encode())
    return layout


def _undisturbed(folder: Path, job: str) -> ResultTable:
    spool = folder / "undisturbed"
    _prepare(spool, job)
    with (folder / "undisturbed.log").open("wb") as log:
        subprocess.run(_command(folder, spool, "calm", 8, "--burst"), check=True, stdin=subprocess.DEVNULL, stderr=log)
    return load_table(spool, SESSION)


def differences(found: ResultTable, expected: ResultTable) -> list[str]:
    """In what two tables of results differ, but for who made the rows and when."""
    a, b = found.rows, expected.rows
    if not np.array_equal(a.iteration, b.iteration):
        return [f"iterations: {len(a)} rows, {len(np.unique(a.iteration))} of them different, instead of {len(b)}"]
    told = [] if np.array_equal(a.status, b.status) else ["statuses"]
    for kind, ours, theirs in (("parameter", a.params, b.params), ("metric", a.metrics, b.metrics)):
        told += [
            f"{kind} {name}"
            for name in sorted({*ours, *theirs})
            if name not in ours or name not in theirs or ours[name].tobytes() != theirs[name].tobytes()
        ]
    return told + ([] if a.errors == b.errors else ["errors"])


def run(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """One storm and its comparison; ChaosError when it went wrong."""
    (folder / "chaos_objective.py").write_text(OBJECTIVE.format(seconds=options.milliseconds / 1000))
    (folder / "arbd.yaml").write_text(
        f"allow: ['python:*']\nobjective_paths: [{folder}]\nlease_s: 6\ncache_dir: {folder / 'cache'}\n"
    )
    job = JOB.format(session=SESSION, iterations=options.iterations, seed=options.seed)
    spools = [Path(spool) for spool in options.spool] or [folder / "spool"]
    layout = _prepare(spools[0], job)
    queue = SessionQueue(Files(), layout.session(SESSION))
    names = [f"w{number}" for number in range(options.daemons)]
    victims = [Victim(name, spools[i % len(spools)], folder, options.slots) for i, name in enumerate(names)]
    storm = Storm(victims, random.Random(options.seed))
    started = time.monotonic()
    try:
        storm.blow(60 * options.minutes, queue)
        during = _refreshed(queue).counted
        give_up = time.monotonic() + options.patience
        while not _refreshed(queue).done:
            if time.monotonic() > give_up:
                raise ChaosError(f"not done {options.patience:g} s after the storm: {queue.state}")
            time.sleep(0.2)
    finally:
        for victim in victims:
            if victim.process is not None:
                victim.signal(signal.SIGCONT)
                victim.process.terminate()
        for victim in victims:
            if victim.process is not None:
                victim.process.wait(30)
    seconds = time.monotonic() - started
    told = differences(load_table(spools[0], SESSION), _undisturbed(folder, job))
    if told:
        raise ChaosError(f"the results differ from an undisturbed run's in {', '.join(told)}")
    tally = storm.tally
    return {
        "seed": options.seed, "daemons": options.daemons, "iterations": options.iterations, "kills": tally.kills,
        "stops": tally.stops, "starvations": tally.starvations, "recorded_in_the_storm": during,
        "rows_written_twice": queue.state.duplicates, "seconds": round(seconds, 1), "same": True,
    }  # fmt: skip


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--daemons", type=int, default=4)
    parser.add_argument("--slots", type=int, default=2, help="of each daemon (default: 2)")
    parser.add_argument("--minutes", type=float, default=2.0, help="of storm (default: 2)")
    parser.add_argument("--iterations", type=int, default=50_000, help="of the job (default: 50000)")
    parser.add_argument("--milliseconds", type=float, default=5.0, help="that each takes (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the job and of the blows (default: 1)")
    parser.add_argument("--spool", action="append", default=[], metavar="DIR", help="new shared folder, once per mount")
    parser.add_argument("--patience", type=float, default=600.0, metavar="S", help="after the storm (default: 600)")
    parser.add_argument("--keep", action="store_true", help="keep logs and spool, and say where")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="arbd-chaos-"))
    failed = True
    try:
        print(json.dumps(run(options, folder)), flush=True)
        failed = False
    except ChaosError as error:
        print(f"chaos: {error}\n  logs and spool: {folder}", file=sys.stderr)
    finally:
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        elif not failed:
            shutil.rmtree(folder)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
