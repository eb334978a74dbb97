"""`bin/fuzz`: hostile job files, ledgers, segments and heartbeats by the thousand, each from a seed that plays it again."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.corpus import make_corpus
from tests.fuzz.play import Outcome, play_all, play_range
from tests.fuzz.targets import TARGETS


def _tell(found: Outcome, total: Outcome) -> None:
    for number, reason, _ in found.failures:
        print(f"case {number}: {reason}", file=sys.stderr, flush=True)
    if total.cases % 10_000 == 0:
        print(f"{total.cases:,} cases, {len(total.failures)} failures", file=sys.stderr, flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="bin/fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="how many, by default 20,000")
    parser.add_argument("--seed", type=int, default=1, help="where they come from, by default 1")
    parser.add_argument("--case", type=int, action="append", help="play only this case, with its story")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes, by default one per processor"
    )
    parser.add_argument(
        "--target",
        action="append",
        choices=list(TARGETS),
        metavar="TARGET",
        help=f"only these readers, of {', '.join(TARGETS)}",
    )
    options = parser.parse_args()
    targets = options.target or list(TARGETS)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="arbd-fuzz-") as temporary:
        folder = Path(temporary) / "corpus"
        if options.case:
            outcome = play_range(make_corpus(folder).folder, options.seed, options.case, targets, show=True)
            print(*(trace for _, _, trace in outcome.failures), sep="\n")
        else:
            outcome = play_all(options.seed, options.cases, options.jobs, folder, _tell, targets)
    for name in TARGETS:
        words = {word: count for (target, word), count in sorted(outcome.words.items()) if target == name}
        if words:
            told = ", ".join(f"{count:,} {word}" for word, count in words.items())
            slowest, number = outcome.slowest[name]
            print(f"{name:12} {told}; the slowest {slowest * 1000:.0f} ms (case {number})")
    for number, reason, _ in outcome.failures:
        only = "".join(f" --target '{target}'" for target in options.target or [])
        print(f"bin/fuzz --seed {options.seed}{only} --case {number}: {reason}")
    print(f"{outcome.cases:,} cases, {len(outcome.failures)} failures, {time.monotonic() - started:.0f} s")
    sys.exit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()
