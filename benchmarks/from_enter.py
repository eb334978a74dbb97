"""From Enter to the ranking: an everyday job, whole processes, beside Optuna. One JSON line each.

    python benchmarks/from_enter.py            2,000 parameter sets over 25,000 rows, about a minute
    python benchmarks/from_enter.py --smoke    a small job, to see that it runs

`arbd_cold` is `arbctl run` with two slots on a host that has run nothing yet, so that it compiles the engine and
converts the quotes; `arbd_warm` the same command again. `optuna` draws as many sets at random (`RandomSampler`, ask and
tell, in memory) and has a process pool of two evaluate each by the same engine, on quotes that are converted already;
what it keeps is lost when it ends. `seconds` is the least time of several runs from start to end, `cpu_s` the least
processor time of all processes together; the ratios are those of the peer by those of `arbd_warm`.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from whole_process import cost, say

_PR_SET_CHILD_SUBREAPER = 36
JOB = """
data: [quotes.parquet]
fixed: {{fee_a_bps: 1, fee_b_bps: 1, slippage_bps: 0.2, latency_a_ms: 50, latency_b_ms: 20, max_position: 10000,
  initial_capital: 100000, grid_s: 60}}
metric: pnl
tuning:
  method: sobol
  search_space:
    min_spread_pct: {{type: float, bounds: [1.0, 3.0]}}
    exit_spread_pct: {{type: float, bounds: [-0.5, 1.0]}}
    stop_loss_pct: {{type: float, bounds: [0.0, 5.0]}}
    max_hold_s: {{type: int, bounds: [600, 20000], log: true}}
    participation: {{type: float, bounds: [0.2, 1.0]}}
  max_iterations: {n}
  seed: 42
"""
PEER = """
import logging, os, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

FIXED = dict(fee_a_bps=1, fee_b_bps=1, slippage_bps=0.2, latency_a_ms=50, latency_b_ms=20, max_position=10000,
             initial_capital=100000, grid_s=60)
_objective = None

def prepare(quotes):
    global _objective
    from arbd.paper.code_cache import use_cache
    use_cache(Path(os.environ["XDG_CACHE_HOME"]) / "arbd")
    from arbd.paper.market.readers import read_quotes
    from arbd.paper.objective import PaperObjective
    _objective = PaperObjective([read_quotes(Path(quotes))[0]], FIXED)

def evaluate(params):
    return _objective.evaluate(params)[0]["pnl"]

def main():
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quotes, n = sys.argv[1], int(sys.argv[2])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=42))
    with ProcessPoolExecutor(2, initializer=prepare, initargs=(quotes,)) as pool:
        trials, sets = [], []
        for _ in range(n):
            trial = study.ask()
            sets.append({
                "min_spread_pct": trial.suggest_float("min_spread_pct", 1.0, 3.0),
                "exit_spread_pct": trial.suggest_float("exit_spread_pct", -0.5, 1.0),
                "stop_loss_pct": trial.suggest_float("stop_loss_pct", 0.0, 5.0),
                "max_hold_s": trial.suggest_int("max_hold_s", 600, 20000, log=True),
                "participation": trial.suggest_float("participation", 0.2, 1.0),
            })
            trials.append(trial)
        for trial, value in zip(trials, pool.map(evaluate, sets, chunksize=50), strict=True):
            study.tell(trial, value)
    print(study.best_value)

if __name__ == "__main__":
    main()
"""


def main() -> None:
    """Make quotes and a job, then run it both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a small job")
    smoke = parser.parse_args().smoke
    n, ticks, times = (64, 2_000, 1) if smoke else (2_000, 25_000, 5)
    # Whatever processes leave behind comes here, to be waited for.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        (folder / "job.yaml").write_text(JOB.format(n=n))
        (folder / "peer.py").write_text(PEER)
        (folder / "spool").mkdir()
        (folder / "cache").mkdir()
        environment = os.environ | {"ARBD_SPOOL": str(folder / "spool"), "XDG_CACHE_HOME": str(folder / "cache")}
        for variable in ("ARBD_CONFIG", "NUMBA_CACHE_DIR", "PYTHONDONTWRITEBYTECODE", "CACHE_DIRECTORY"):
            environment.pop(variable, None)
        arbctl = [sys.executable, "-m", "arbd.cli"]
        quotes = folder / "quotes.parquet"
        synth = [*arbctl, "market", "synth", "--output", str(quotes), "--ticks", str(ticks), "--seed", "7"]
        subprocess.run(synth, check=True, env=environment, stdout=subprocess.DEVNULL)
        run = [*arbctl, "run", str(folder / "job.yaml"), "--workers", "2"]
        say("arbd_cold", n, cost(run, 1, environment))
        warm = cost(run, times, environment)
        say("arbd_warm", n, warm)
        if importlib.util.find_spec("optuna") is None:
            print(json.dumps({"benchmark": "optuna", "skipped": "not installed"}))
            return
        say("optuna", n, cost([sys.executable, str(folder / "peer.py"), str(quotes), str(n)], times, environment), warm)


if __name__ == "__main__":
    main()
