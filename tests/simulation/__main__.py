"""Plays seeds of the simulation on all processors.

bin/simulate --seeds N [--first SEED]    play seeds; exit 1 and print the first failing ones when any fails
bin/simulate --seed SEED                 play one again, and print its story
bin/simulate --upgrade --seeds N         the same with hosts that are upgraded from one version to the next meanwhile
bin/simulate --mutant NAME --seeds N     with a planted bug: says at which seed it was caught, exit 1 if never
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.mutants import MUTANTS
from tests.simulation.scenario import Outcome, Scenario, play, play_upgrade

SHOWN = 10


def play_all(first: int, count: int, processes: int, *, upgrade: bool = False) -> list[Outcome]:
    """Failing outcomes of `count` seeds, in order; progress goes to stderr."""
    failed: list[Outcome] = []
    started = time.monotonic()
    calls = disasters = done = 0
    again = "--upgrade " if upgrade else ""
    with ProcessPoolExecutor(processes) as pool:
        for outcome in pool.map(play_upgrade if upgrade else play, range(first, first + count), chunksize=20):
            done += 1
            calls += outcome.calls
            disasters += outcome.disasters
            if outcome.violation:
                failed.append(outcome)
                if len(failed) <= SHOWN:
                    print(
                        f"bin/simulate {again}--seed {outcome.seed}: {outcome.violation}", file=sys.stderr, flush=True
                    )
            if done % 1_000 == 0 and done < count:
                print(f"{done:,} of {count:,}, {len(failed)} failed", file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "seeds": count,
                "first": first,
                "failed": [outcome.seed for outcome in failed],
                "system_calls": calls,
                "disasters": disasters,
                "seconds": round(time.monotonic() - started, 1),
            }
        )
    )
    return failed


def catch(mutant: str, first: int, count: int) -> Outcome | None:
    """The first seed that notices a planted bug."""
    with MUTANTS[mutant]():
        for seed in range(first, first + count):
            outcome = play(seed)
            if outcome.violation:
                return outcome
    return None


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2_000, metavar="N", help="how many (default: 2000)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them (default: 0)")
    parser.add_argument("--seed", type=int, metavar="SEED", help="play this one and tell its story")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant a bug")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), metavar="P")
    parser.add_argument("--upgrade", action="store_true", help="hosts of two versions, upgraded in the middle")
    options = parser.parse_args()
    if options.seeds < 1 or options.processes < 1:
        parser.error("--seeds and --processes are 1 or more")
    if options.mutant:
        outcome = catch(options.mutant, options.first, options.seeds)
        caught = {"seed": outcome.seed, "violation": outcome.violation} if outcome is not None else None
        print(json.dumps({"mutant": options.mutant, "seeds": options.seeds, "caught": caught}))
        return 0 if outcome is not None else 1
    if options.seed is not None:
        outcome = Scenario(options.seed, upgrade=options.upgrade).play()
        print("\n".join(outcome.story))
        print(json.dumps({"seed": outcome.seed, "system_calls": outcome.calls, "digest": outcome.digest}))
        print(outcome.violation or "every invariant holds")
        return 1 if outcome.violation else 0
    return 1 if play_all(options.first, options.seeds, options.processes, upgrade=options.upgrade) else 0


if __name__ == "__main__":
    sys.exit(main())
