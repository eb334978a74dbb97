"""Inside a virtual machine: how a session stands, as one JSON object. `python report.py SPOOL SESSION`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from arbd.analysis.table import load_table
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids


def report(spool: Path, session: str) -> dict[str, object]:
    """Progress; with the rows checked once it is done."""
    layout = SpoolLayout(spool)
    if session not in session_ids(Files(), layout):
        return {"done": False, "workers": {}}
    state = SessionQueue(Files(), layout.session(session)).refresh()
    told: dict[str, object] = {"done": state.done, "workers": {w: sum(c) for w, c in state.worker_counts.items()}}
    if state.done:
        rows = load_table(spool, session).rows
        told["iterations"] = rows.iteration.tolist() == list(range(1, state.n + 1))
        told["metrics"] = bool(np.array_equal(rows.metrics["value"], rows.params["x"]))
        told["duplicates"] = state.duplicates
    return told


if __name__ == "__main__":
    print(json.dumps(report(Path(sys.argv[1]), sys.argv[2])))  # noqa: T201
