"""What reading a session of a million rows costs, whole processes. One JSON line each.

    python benchmarks/reading.py            1,000,000 rows, about three minutes
    python benchmarks/reading.py --smoke    a small session, to see that it runs

The session is made by `arbd run --burst` with an objective that does nothing, and is then read by whole processes,
each several times: `seconds` is the least time from start to end, `cpu_s` the least processor time (user and system).
The peers do what `arbctl summary` prints, counts by status and by worker and the five best rows by a metric, with
pandas on the results table of the same session: `pandas` reads the table, `pandas_columns` only the columns needed.
`ratio` and `cpu_ratio` divide a peer's figures by those of `arbctl summary`. A peer that is not installed is skipped
(pip install 'arbd[bench]').
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from whole_process import cost, say

OBJECTIVE = """
import numpy as np
def objective(params):
    return {"pnl": params["x"], "sharpe": 1.0}
def evaluate_batch(columns):
    x = np.asarray(columns["x"])
    return {"pnl": x * (1 - x), "sharpe": np.ones(len(x))}
"""
JOB = """
session_id: million
objective: {{python: "noop:objective"}}
metric: pnl
tuning:
  method: random
  max_iterations: {n}
  search_space:
    x: {{type: float, bounds: [0, 1]}}
    k: {{type: int, bounds: [1, 9]}}
    kind: {{type: choice, values: [up, down]}}
results: {{csv: true}}
"""
PANDAS = """
import sys
import pandas
columns = sys.argv[2].split(",") if len(sys.argv) > 2 else None
table = pandas.read_csv(sys.argv[1], usecols=columns)
print(table["status"].value_counts().to_string())
print(table["worker_id"].value_counts().to_string())
best = table[table["status"] == "completed"].nlargest(5, "metric_pnl")
print(best[["iteration", "metric_pnl", "param_x", "param_k", "param_kind"]].to_string())
"""
NEEDED = "status,worker_id,iteration,metric_pnl,param_x,param_k,param_kind"


def main() -> None:
    """Make the session, then read it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a small session")
    smoke = parser.parse_args().smoke
    n, times = (2_000, 1) if smoke else (1_000_000, 7)
    with tempfile.TemporaryDirectory(prefix="arbd-bench-") as name:
        folder = Path(name)
        (folder / "noop.py").write_text(OBJECTIVE)
        (folder / "job.yaml").write_text(JOB.format(n=n))
        (folder / "spool").mkdir()
        arbctl = [sys.executable, "-m", "arbd.cli"]
        environment = os.environ | {"ARBD_SPOOL": str(folder / "spool")}
        environment.pop("ARBD_CONFIG", None)
        # Installing compiles modules, pandas' and arbd's; a checkout is to be compiled at its first run.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run(
            [*arbctl, "run", str(folder / "job.yaml")], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        table = folder / "spool" / "sessions" / "million" / "results.csv"
        (folder / "peer.py").write_text(PANDAS)

        say("help", n, cost([*arbctl, "--help"], times, environment))
        say("status", n, cost([*arbctl, "status"], times, environment))
        say("status_session", n, cost([*arbctl, "status", "million"], times, environment))
        summary = cost([*arbctl, "summary", "million", "--metric", "pnl"], times, environment)
        say("summary", n, summary)
        if importlib.util.find_spec("pandas") is None:
            print(json.dumps({"benchmark": "pandas", "skipped": "not installed"}))
            return
        peer = [sys.executable, str(folder / "peer.py"), str(table)]
        few = max(1, times // 2)
        say("pandas", n, cost(peer, few, environment), summary)
        say("pandas_columns", n, cost([*peer, NEEDED], few, environment), summary)


if __name__ == "__main__":
    main()
