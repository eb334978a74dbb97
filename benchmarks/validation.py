"""What the overfitting statistics cost, and verdicts as whole commands. One JSON line per measurement.

    python benchmarks/validation.py             100,000 and 2,048 trials of 64 blocks; 10,000 trials of 1,250 steps
    python benchmarks/validation.py --smoke     small sizes, to see that it runs
    python benchmarks/validation.py --data brl_two_venue_book.parquet     sessions on these quotes, not on made-up ones

`cpu_s` is user and system time of the process over all its threads, `peak_mb` the most memory that it held from its
start, interpreter, numpy and the returns themselves included. Each measurement runs in a process of its own. `run` is a
session of so many sets, `run_nulls` the same with 19 null searches of as many, and `verdict` the command on either.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from whole_process import cost, say

from arbd.validation import (
    effective_trials,
    overfitting_error,
    probability_of_backtest_overfitting,
    step_m,
    superior_predictive_ability,
)

GROUPS, BLOCKS, REPS = 16, 64, 2_000
NULL_SEARCHES = 19
JOB = Path(__file__).parents[1] / "etc" / "jobs" / "recorded_brl.yaml"


def block_sums(n_trials: int) -> dict[str, Any]:
    """Sums of 64 blocks of 100 returns, without an edge."""
    rng = np.random.default_rng(1)
    s = rng.standard_normal((n_trials, BLOCKS))
    q = 0.01 * s * s + rng.chisquare(99, (n_trials, BLOCKS)) / 100
    return {"s": s, "q": q, "counts": np.full(BLOCKS, 100)}


def returns(n_trials: int, n_steps: int) -> Any:
    """Returns step by step, without an edge."""
    return np.random.default_rng(1).normal(0, 0.01, (n_steps, n_trials))


def measure(name: str, n_trials: int, n_steps: int = 0) -> dict[str, Any]:
    """One measurement, in this process."""
    data: Any = returns(n_trials, n_steps) if n_steps else block_sums(n_trials)
    runs: dict[str, Callable[[], Any]] = {
        "pbo": lambda: probability_of_backtest_overfitting(groups=GROUPS, **data).pbo,
        "pbo_error": lambda: overfitting_error(groups=GROUPS, **data),
        "spa": lambda: superior_predictive_ability(data, 10, REPS).p_consistent,
        "step_m": lambda: len(step_m(data, 0.05, 10, REPS)),
        "effective_trials": lambda: effective_trials(data),
    }
    start = time.process_time()
    found = runs[name]()
    took_s = time.process_time() - start
    line: dict[str, Any] = {"statistic": name, "trials": n_trials}
    line |= {"steps": n_steps} if n_steps else {"blocks": BLOCKS, "groups": GROUPS}
    line |= {"resamples": REPS} if name in ("spa", "step_m") else {}
    return {
        **line,
        "value": round(float(found), 4),
        "cpu_s": round(took_s, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def sessions(n: int, data: Path | None, times: int) -> None:
    """Whole sessions and the verdicts on them, through the commands."""
    arbctl = [sys.executable, "-m", "arbd.cli"]
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        spool = Path(name) / "spool"
        spool.mkdir()
        environment = os.environ | {"ARBD_SPOOL": str(spool)}
        environment.pop("ARBD_CONFIG", None)
        if data is None:
            data = Path(name) / "quotes.parquet"
            made = [*arbctl, "market", "synth", "--output", str(data), "--ticks", "25000", "--span-s", "52000"]
            subprocess.run(made, check=True, env=environment, stdout=subprocess.DEVNULL)
        run = [*arbctl, "run", str(JOB), "--set", f"data=[{data.absolute()}]", "--set", f"tuning.max_iterations={n}"]
        nulls = ["--set", f"validation={{null_searches: {NULL_SEARCHES}}}"]
        for session, told, options, runs in (
            ("alone", "run", [], n),
            ("nulls", "run_nulls", nulls, n * NULL_SEARCHES + n),
        ):
            say(told, runs, cost([*run, *options, "--session-id", session], 1, environment))
            say("verdict", n, cost([*arbctl, "verdict", session], times, environment))


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--data", type=Path, help="quotes of the sessions")
    given = parser.parse_args()
    smoke = given.smoke
    most, some, few = (2_000, 300, 200) if smoke else (100_000, 10_000, 2_048)
    steps = 100 if smoke else 1_250
    cases: list[tuple[Any, ...]] = [("pbo", few), ("pbo_error", few), ("pbo", most)]
    cases += [(name, some, steps) for name in ("spa", "step_m", "effective_trials")]
    # Before any pool: whoever measures a command waits for all processes that it leaves behind.
    sessions(64 if smoke else 2_048, given.data, 1 if smoke else 3)
    context = multiprocessing.get_context("spawn")
    for case in cases:
        with context.Pool(1) as pool:
            print(json.dumps(pool.apply(measure, case)), flush=True)


if __name__ == "__main__":
    main()
