"""Changes one thing at a time in the code, and runs the tests that stand beside it. A change that no test notices is told.

A copy of the checkout is changed, never the checkout itself. A mutant is killed when a test fails or the tests do not end in
five times their usual time. Survivors that cannot be told from the original are explained in tests/mutation/explained.toml.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.mirrored import ROOT, beside
from tests.mutation.explained import why_it_lives
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
    "arbd/paper/kernel/search.py",
    "arbd/paper/metrics.py",
    "arbd/cli/commands/summary.py",
    "arbd/mirror/sweep.py",
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way of running tests: which (default: those beside the file), with what options and environment.

    `traces` where it pays to know which test runs which line.
    """

    tests: Sequence[str] = ()
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    traces: bool = True


INTERPRETED = ("-p", "tests.mutation.interpreted")
ENGINE = (
    Way(
        ("tests/paper/test_search.py", "tests/paper/test_engine_by_hand.py"),
        INTERPRETED,
        {"NUMBA_DISABLE_JIT": "1"},
        traces=False,
    ),
    # As few markets as have trades enough.
    Way(
        ("tests/paper/test_engine_equality.py",),
        (*INTERPRETED, "-k", "sets_of_random or nothing_rare or smallest"),
        {"NUMBA_DISABLE_JIT": "1", "ARBD_EQUALITY_MARKETS": "6"},
        traces=False,
    ),
    Way(("tests/paper/test_engine_equality.py",), ("-k", "windows or realistic"), traces=False),
)
# What lives through one way is tried by the next. The engine is tried in the interpreter first, where a mutant costs no
# compilation; all that a worker does is simulated, which costs more than tests of one part of it.
WAYS: Mapping[str, Sequence[Way]] = {
    "arbd/paper/kernel/sweep.py": ENGINE,
    "arbd/paper/kernel/search.py": ENGINE,
    "arbd/paper/metrics.py": (
        Way(
            ("tests/paper/test_metrics.py", "tests/paper/test_engine_by_hand.py"),
            INTERPRETED,
            {"NUMBA_DISABLE_JIT": "1"},
            traces=False,
        ),
    ),
    "arbd/search/generations.py": (
        Way(tests=("tests/search/test_generations.py", "tests/search/test_seen.py")),
        Way(tests=("tests/search/test_guided.py",)),
    ),
    "arbd/daemon/core/coordinator.py": (
        Way(tests=("tests/daemon/core/test_coordinator.py",)),
        Way(
            tests=("tests/simulation/test_simulation.py",), options=("-k", "calendar or spoils or everywhere or kills")
        ),
    ),
}
LEAST_SHARE = 0.85


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
    lived = play(chosen, max(1, given.jobs))
    explained = why_it_lives()
    unexplained = [case for case in lived if (case.file, case.mutant.was, case.mutant.change) not in explained]
    share = 1 - len(lived) / len(chosen) if chosen else 1.0
    _say(mutants=len(chosen), killed=len(chosen) - len(lived), share=round(share, 3), unexplained=len(unexplained))
    return int(share < LEAST_SHARE or bool(unexplained))


def sampled(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """`count` cases, of each file as many as its part of all is, at least one. A change of one file draws none of another anew."""
    sizes = Counter(case.file for case in cases)
    chosen: list[Case] = []
    for name, size in sizes.items():
        mine = [case for case in cases if case.file == name]
        drawn = random.Random(f"{seed} {name}").sample(mine, len(mine))
        chosen += drawn[: max(1, math.ceil(count * size / len(cases)))]
    return chosen


def play(chosen: Sequence[Case], jobs: int) -> list[Case]:
    """The cases that no test noticed, in order of file and place."""
    files = sorted({case.file for case in chosen}, key=lambda name: -sum(case.file == name for case in chosen))
    with tempfile.TemporaryDirectory(prefix="arbd-mutation-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(_copied(Path(folder) / str(number)))

        def one(name: str) -> list[Case]:
            copy = copies.get()
            try:
                return _lived(copy, name, [case for case in chosen if case.file == name])
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            lived = [case for cases in pool.map(one, files) for case in cases]
    return sorted(lived, key=lambda case: (case.file, case.mutant.line, case.mutant.change))


def _copied(target: Path) -> Path:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / ".venv").symlink_to(sys.prefix)
    return target


def _lived(copy: Path, name: str, cases: list[Case]) -> list[Case]:
    """Those of a file's cases that live through each way of running the tests beside it."""
    numbers = {mutant: number for number, mutant in enumerate(mutants_of((ROOT / name).read_text()))}
    tests = [str(test) for test in beside(Path(name))]
    if not tests:
        raise SystemExit(f"{name} has no tests beside it")
    left = {numbers[case.mutant]: case for case in cases}
    for way in WAYS.get(name, (Way(),)):
        if not left:
            break
        arguments = [*(way.tests or tests), *way.options]
        job = {"file": name, "arguments": arguments, "indices": sorted(left), "traces": way.traces}
        for told in _played(copy, job, way.environment):
            mutant = left[told["index"]].mutant
            _say(file=name, line=mutant.line, was=mutant.was, change=mutant.change, **told)
            if told["killed"]:
                del left[told["index"]]
    return list(left.values())


def _played(copy: Path, job: Mapping[str, object], environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.mutation.player"], cwd=copy, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(copy), "OPENBLAS_NUM_THREADS": "1", **environment}, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise SystemExit(f"the tests beside {job['file']} could not be played")


def _say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    sys.exit(main())
