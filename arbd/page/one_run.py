"""One iteration run again in this process, for the page: `python -m arbd.page.one_run`, with what to do on standard input.

Series of its markets are kept in the folder that is named; what is printed says how many there are, and whether it gave
what was recorded.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

from arbd.analysis.replay import replay
from arbd.analysis.run_series import run_series
from arbd.analysis.trades import run_markets
from arbd.errors import ArbdError, DamageWarning
from arbd.named_file import ReadRule
from arbd.objective.protocol import Settings

NICENESS = 10


def main() -> int:
    """Run it; 1 with one line on standard error when it cannot be."""
    asked = json.load(sys.stdin)
    cache_dir = None if asked["cache_dir"] is None else Path(asked["cache_dir"])
    reading = ReadRule(tuple(Path(folder) for folder in asked["data_dirs"]))
    os.nice(NICENESS)
    # Whoever serves the page has said what is damaged.
    warnings.simplefilter("ignore", DamageWarning)
    try:
        done = replay(
            Path(asked["spool"]), asked["session_id"], asked["iteration"],
            cache_dir=cache_dir, allow=("paper",), reading=reading,
        )  # fmt: skip
        row = done.recorded
        setting = Settings(done.spec).of(row.duplicate_of or row.iteration)
        runs = run_markets(done.spec, row.params, cache_dir, row.budget, reading, setting)
    except (ArbdError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for number, each in enumerate(runs):
        run_series(each).save(Path(asked["folder"]) / str(number))
    differing = [each.metric for each in done.differences]
    sys.stdout.write(json.dumps({"markets": len(runs), "equal": done.equal, "differences": differing}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
