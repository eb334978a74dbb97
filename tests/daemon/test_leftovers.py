"""What an objective does to its process belongs to its iteration, by every way to run a job; nothing is left running."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons, wait_until
from tests.daemon.leftovers import KINDS, running_with, write_module
from tests.jobs import write_job

pytestmark = pytest.mark.bed

GAP = 3
FULL = bool(os.environ.get("ARBD_FULL"))
COMBINATIONS = 200 if FULL else 3
DRAIN_S = 5.0
# More than a daemon may take after its drain time, because the machine may be busy with other tests.
PATIENCE_S = 40.0


@dataclass
class Ways:
    """The ways to have a job evaluated."""

    arbctl: Arbctl
    daemons: Daemons
    layout: SpoolLayout
    objectives: Path
    mark: str
    sessions: int = 0

    def evaluate(self, way: str, left: Mapping[int, str], n: int, pause_s: float = 0.0) -> dict[int, tuple[str, str]]:
        """Status and value of every iteration of a job whose iterations leave something behind."""
        self.sessions += 1
        name = f"s{self.sessions}"
        write_module(self.objectives / f"left_{name}.py", left, pause_s)
        job = write_job(
            self.objectives.parent / f"{name}.yaml", f"left_{name}:objective", n,
            execution={"retries": 0, "memory_mb": 2048}, session_id=name,
        )  # fmt: skip
        getattr(self, f"_{way}")(name, job)
        rows = load_table(self.layout.root, name).rows
        assert rows.iteration.tolist() == list(range(1, n + 1)), self.daemons.log()[-3000:]
        statuses = [("completed", "failed", "timeout", "crashed")[code] for code in rows.status.tolist()]
        values = [rows.errors.get(i, "") or float(v).hex() for i, v in zip(rows.iteration.tolist(), rows.metrics["value"].tolist(), strict=True)]  # fmt: skip
        self.nothing_runs()
        return dict(zip(rows.iteration.tolist(), zip(statuses, values, strict=True), strict=True))

    def nothing_runs(self) -> None:
        """A helper of the interpreter's ends a moment after the last process that used it."""
        wait_until(lambda: not running_with(self.mark), within_s=10, what="the end of all processes")

    def _run(self, name: str, job: Path) -> None:
        command = [sys.executable, "-m", "arbd.cli", "--spool", str(self.layout.root), "--config", str(self.arbctl.config),
                   "run", str(job), "--workers", "2"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stderr

    def _burst(self, name: str, job: Path) -> None:
        assert self.arbctl("submit", job)[0] == 0
        assert self.daemons.start(name, "--burst").wait(250) == 0

    def _daemon(self, name: str, job: Path) -> None:
        self._with_daemon(name, job, lambda daemon: None)

    def _reload(self, name: str, job: Path) -> None:
        self._with_daemon(name, job, lambda daemon: daemon.send_signal(signal.SIGHUP))

    def _sigterm(self, name: str, job: Path) -> None:
        assert self.arbctl("submit", job)[0] == 0
        first = self.daemons.start(f"{name}a")
        wait_until(lambda: self._counted(name) > 5)
        first.send_signal(signal.SIGTERM)
        assert first.wait(DRAIN_S + PATIENCE_S) == 0
        self.nothing_runs()
        assert self.daemons.start(f"{name}b", "--burst").wait(250) == 0

    def _with_daemon(self, name: str, job: Path, meanwhile: Callable[[subprocess.Popen[bytes]], None]) -> None:
        assert self.arbctl("submit", job)[0] == 0
        daemon = self.daemons.start(name)
        wait_until(lambda: self._counted(name) > 5)
        meanwhile(daemon)
        wait_until(lambda: self.layout.session(name).results.exists(), within_s=250)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(DRAIN_S + PATIENCE_S) == 0

    def _counted(self, name: str) -> int:
        return len(load_table(self.layout.root, name)) if self.layout.session(name).ledger.exists() else 0


@pytest.fixture
def ways(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Ways:  # fmt: skip
    mark = f"mark={tmp_path}"
    monkeypatch.setenv("ARBD_TEST_MARK", mark)
    return Ways(arbctl, daemons, layout, objectives, f"ARBD_TEST_MARK={mark}")


def assert_others_are_equal(
    found: Mapping[int, tuple[str, str]], undisturbed: Mapping[int, tuple[str, str]], left: Mapping[int, str]
) -> None:
    different = {i: (found[i], undisturbed[i]) for i in undisturbed if i not in left and found[i] != undisturbed[i]}
    assert different == {}
    assert {status for status, _ in undisturbed.values()} == {"completed"}


WAYS = ("run", "burst", "daemon", "reload", "sigterm")


@pytest.mark.parametrize("way", WAYS)
def test_every_other_iteration_is_equal_to_an_undisturbed_run_whatever_is_left_behind(ways: Ways, way: str) -> None:
    # Everything by one way; the others share it among them, or do all of it too where there is time.
    kinds = KINDS if FULL or way == "burst" else KINDS[WAYS.index(way) :: len(WAYS)]
    left = {GAP * (position + 1): kind for position, kind in enumerate(kinds)}
    n = GAP * len(kinds) + 6
    undisturbed = ways.evaluate("burst", {}, n)
    assert_others_are_equal(ways.evaluate(way, left, n, 0.02 if way == "sigterm" else 0.0), undisturbed, left)


@pytest.mark.parametrize("seed", range(COMBINATIONS))
def test_random_combinations_of_leftovers_disturb_no_other_iteration(ways: Ways, seed: int) -> None:
    rng = random.Random(seed)
    n = 60
    left = {rng.randint(1, n): rng.choice(KINDS) for _ in range(rng.randint(1, 6))}
    way = rng.choice(WAYS)
    pause_s = rng.choice([0.0, 0.0005, 0.02]) if way != "sigterm" else 0.02
    undisturbed = ways.evaluate("burst", {}, n)
    assert_others_are_equal(ways.evaluate(way, left, n, pause_s), undisturbed, left)


def test_two_sigterms_end_a_daemon_whose_objective_ignores_signals_and_keeps_a_thread(
    ways: Ways, arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "deaf.py").write_text(
        "import atexit, os, signal, threading, time\n"
        "def objective(params):\n"
        "    for n in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(n, signal.SIG_IGN)\n"
        "    threading.Thread(target=time.sleep, args=(3600,)).start()\n"
        "    atexit.register(time.sleep, 3600)\n"
        f"    open({str(tmp_path / 'began')!r}, 'w').close()\n"
        "    while True: time.sleep(3600)\n"
    )
    arbctl("submit", write_job(tmp_path / "deaf.yaml", "deaf:objective", 5), "--session-id", "deaf")
    daemon = daemons.start("a")
    wait_until((tmp_path / "began").exists)
    daemon.send_signal(signal.SIGTERM)
    wait_until(lambda: "draining" in daemons.log())
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(PATIENCE_S) == 0
    ways.nothing_runs()
