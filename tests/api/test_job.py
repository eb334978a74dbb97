"""A job in Python: the checks and messages of a job file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import arbd
from arbd.errors import JobError, UsageError
from arbd.job.file import load_job
from arbd.job.resolve import resolve_job
from tests.conftest import REPOSITORY

SPACE = {"min_spread_pct": {"type": "float", "bounds": [0.05, 0.5]}}
GRID = REPOSITORY / "etc" / "jobs" / "grid.yaml"


def test_the_same_fields_make_the_same_job_as_a_file() -> None:
    loaded = arbd.Job.load(GRID)
    by_hand = resolve_job(load_job(GRID), base_dirs=(GRID.parent, Path.cwd()))
    assert loaded.resolve().to_plain() == by_hand.to_plain()
    nested = loaded.fields["tuning"]
    again = arbd.Job(**{name: value for name, value in loaded.fields.items() if name != "tuning"}, **nested)
    again.folder = GRID.parent
    assert again.resolve().to_plain() == by_hand.to_plain()


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(JobError) as told:
        arbd.Job(search_space={"x": {"type": "flot", "bounds": [0, 1]}}, method="tpee", max_iterations=0)
    text = str(told.value)
    assert "arbd.Job: 3 problems" in text
    assert "tuning.method: unknown method 'tpee'" in text
    assert "tuning.search_space.x: type must be float, int, choice or bool, not 'flot'" in text


def test_a_job_can_be_changed_written_and_shown() -> None:
    job = arbd.Job(search_space=SPACE, method="tpe", max_iterations=10)
    other = job.but(seed=7)
    assert (other.fields["tuning"]["seed"], job.fields["tuning"].get("seed")) == (7, None)
    assert "method: tpe" in job.to_yaml()
    assert "min_spread_pct" in job._repr_html_()
    with pytest.raises(UsageError, match="no file"):
        arbd.Job(objective=lambda params: {"a": 1.0}, search_space=SPACE, method="random", max_iterations=1).to_yaml()


def test_what_a_job_names_is_no_markup_in_a_notebook() -> None:
    job = arbd.Job(
        search_space={"<b>": {"type": "choice", "values": ["<i>"]}}, method="grid", objective={"python": "m:f"}
    )
    assert "<b>" not in job._repr_html_()
    assert "<i>" not in job._repr_html_()


def test_importing_arbd_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import arbd; print(sorted(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['__future__', 'arbd']" or out.strip() == "['arbd']"
    assert set(arbd.__all__) <= set(dir(arbd))


def test_repeats_and_robust_metrics_stand_beside_the_other_fields() -> None:
    space = {"x": {"type": "float", "bounds": [0, 1]}}
    job = arbd.Job(
        objective=lambda params, trial: params["x"], metric="value", method="tpe", max_iterations=20, search_space=space,
        repeats=3, robust={"over": "neighbourhood", "use": "worst"},
    )  # fmt: skip
    spec = job.resolve()
    assert (spec.metrics[0].name, spec.aggregation.repeats) == ("value_worst_neighbour", 3)
    assert job.but(robust=None).resolve().metrics[0].name == "value"
