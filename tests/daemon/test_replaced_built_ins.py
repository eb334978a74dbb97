"""Whatever an objective puts in the place of a built-in: no other iteration is lost, doubled or another, and nobody stumbles."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arbd.analysis.table import load_table
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl

pytestmark = [pytest.mark.bed, pytest.mark.slow]

# More than are looked at one by one after something was found: each is found in the middle of others.
GAP = 1_150
NAMES = sorted(
    name
    for name, value in vars(builtins).items()
    if callable(value) and not (isinstance(value, type) and issubclass(value, BaseException)) and name != "__debug__"
)
SPOILT = {
    "raises": "lambda *a, **k: 1 / 0",
    "a wrong answer": "lambda *a, **k: 3",
    "no answer": "lambda *a, **k: None",
}
MODULE = """
import builtins
NAMES = {names!r}
def objective(params, trial):
    number, rest = divmod(trial.iteration, {gap})
    value = 2.0 * params["x"]
    if rest == {gap} // 2 and number < len(NAMES):
        vars(builtins)[NAMES[number]] = {spoilt}
    return {{"value": value}}
"""
PLAIN = """
import builtins
NAMES = {names!r}
def objective(params):
    number, rest = divmod(int(params["i"]), {gap})
    value = 2.0 * params["x"]
    if rest == {gap} // 2 and number < len(NAMES):
        vars(builtins)[NAMES[number]] = {spoilt}
    return {{"value": value}}
"""
JOB = """
session_id: spoilt
objective: {{python: "spoilt:objective"}}
metric: value
execution: {{retries: 0}}
tuning:
  method: grid
  grid_points: {{i: {n}}}
  search_space:
    i: {{type: int, bounds: [1, {n}]}}
    x: {{type: choice, values: [0.25]}}
"""


@pytest.mark.parametrize("module", [MODULE, PLAIN], ids=["called with a trial", "called plainly"])
@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=list(SPOILT))
def test_an_iteration_that_replaces_a_built_in_harms_no_other(
    arbctl: Arbctl, layout: SpoolLayout, objectives: Path, spoilt: str, module: str
) -> None:
    assert {"len", "isinstance", "zip", "any", "type", "float", "__import__"} <= set(NAMES)
    # Each name in one of the three ways, by both kinds of call; all of them where there is time.
    names = NAMES if os.environ.get("ARBD_FULL") else NAMES[list(SPOILT.values()).index(spoilt) :: len(SPOILT)]
    n = GAP * len(names)
    (objectives / "spoilt.py").write_text(module.format(names=names, gap=GAP, spoilt=spoilt))
    job = objectives.parent / "spoilt.yaml"
    job.write_text(JOB.format(n=n))
    command = [sys.executable, "-m", "arbd.cli", "--spool", str(layout.root), "--config", str(arbctl.config), "run",
               str(job), "--workers", "1"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = load_table(layout.root, "spoilt").rows
    assert rows.iteration.tolist() == list(range(1, n + 1))
    others = rows.iteration % GAP != GAP // 2
    assert np.flatnonzero(others & (rows.metrics["value"] != 0.5)).tolist() == []
    assert np.flatnonzero(others & (rows.status != 0)).tolist() == []
