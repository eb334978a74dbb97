"""Changes one thing at a time in the code, and runs the tests that stand beside it. A change that no test notices is told.

A copy of the checkout is changed, never the checkout itself. A mutant is killed when a test fails or the tests do not end in
five times their usual time. Survivors that cannot be told from the original are explained in tests/mutation/explained.toml.
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
import tomllib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mirrored import ROOT, beside
from tests.mutation.operators import Mutant, mutants_of

# What decides results: which row counts, which is best, what is claimed, what an iteration earns.
DECIDING = (
    "arbd/spool/ledger.py",
    "arbd/results/segments.py",
    "arbd/results/merge.py",
    "arbd/results/precedence.py",
    "arbd/results/ranking.py",
    "arbd/search/ordering.py",
    "arbd/daemon/core/coordinator.py",
    "arbd/search/constraints.py",
    "arbd/search/generations.py",
    "arbd/paper/kernel/sweep.py",
    "arbd/paper/metrics.py",
    "arbd/cli/commands/summary.py",
    "arbd/mirror/sweep.py",
)
LEAST_SHARE = 0.85
EXPLAINED = ROOT / "tests" / "mutation" / "explained.toml"


@dataclass(frozen=True, slots=True)
class Case:
    """A mutant of a file."""

    file: str
    mutant: Mutant


def main() -> int:
    """Play a sample of mutants; 1 when too many live, or one lives that is not explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="which sample (default 1)")
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="mutants to play (default 200; 0: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="at once")
    parser.add_argument("files", nargs="*", help="files of arbd (default: those that decide results)")
    given = parser.parse_args()
    files = [str(Path(name)) for name in given.files] or [name for name in DECIDING if (ROOT / name).exists()]
    cases = [Case(name, mutant) for name in files for mutant in mutants_of((ROOT / name).read_text())]
    chosen = sampled(cases, given.sample, given.seed) if given.sample else cases
    lived = play(chosen, files, max(1, given.jobs))
    explained = _explained()
    unexplained = [case for case in lived if (case.file, case.mutant.was, case.mutant.change) not in explained]
    share = 1 - len(lived) / len(chosen) if chosen else 1.0
    _say(mutants=len(chosen), killed=len(chosen) - len(lived), share=round(share, 3), unexplained=len(unexplained))
    return int(share < LEAST_SHARE or bool(unexplained))


def sampled(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """`count` cases, of each file as many as its part of all is, at least one."""
    drawn = random.Random(seed)
    sizes = Counter(case.file for case in cases)
    chosen: list[Case] = []
    for name, size in sizes.items():
        mine = [case for case in cases if case.file == name]
        chosen += drawn.sample(mine, min(size, max(1, round(count * size / len(cases)))))
    return chosen


def _explained() -> set[tuple[str, str, str]]:
    if not EXPLAINED.exists():
        return set()
    entries = tomllib.loads(EXPLAINED.read_text()).get("survivor", [])
    return {(entry["file"], entry["was"], entry["change"]) for entry in entries if entry["why"]}


def play(chosen: Sequence[Case], files: Sequence[str], jobs: int) -> list[Case]:
    """The cases that no test noticed."""
    with tempfile.TemporaryDirectory(prefix="arbd-mutation-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(_copied(Path(folder) / str(number)))
        usual_s = {name: _usual_s(Path(folder) / "0", name) for name in files}

        def one(case: Case) -> bool:
            copy = copies.get()
            try:
                return _is_killed(copy, case, usual_s[case.file])
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            killed = list(pool.map(one, chosen))
    return [case for case, is_killed in zip(chosen, killed, strict=True) if not is_killed]


def _copied(target: Path) -> Path:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / ".venv").symlink_to(sys.prefix)
    return target


def _usual_s(copy: Path, name: str) -> float:
    begun = time.monotonic()
    if not beside(Path(name)):
        raise SystemExit(f"{name} has no tests beside it")
    if _tests_fail(copy, name, 1_800.0):
        raise SystemExit(f"the tests beside {name} fail before anything is changed")
    return time.monotonic() - begun


def _is_killed(copy: Path, case: Case, usual_s: float) -> bool:
    path = copy / case.file
    original = path.read_bytes()
    path.write_text(case.mutant.text)
    try:
        killed = _tests_fail(copy, case.file, 30.0 + 5.0 * usual_s)
    finally:
        path.write_bytes(original)
    _say(file=case.file, line=case.mutant.line, was=case.mutant.was, change=case.mutant.change, killed=killed)
    return killed


def _tests_fail(copy: Path, name: str, limit_s: float) -> bool:
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not bed",
        *map(str, beside(Path(name))),
    ]  # fmt: skip
    # Bytecode is known by its time and size alone, which a mutant may share with the one before it.
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            command,
            cwd=copy,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            return process.wait(limit_s) != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            # Whatever the tests started and a change kept them from stopping.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    sys.exit(main())
