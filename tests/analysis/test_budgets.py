"""A search of several budgets says when the small ones do not tell what the large ones would."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from arbd.analysis.budgets import rank_correlation
from tests.conftest import Arbctl
from tests.jobs import write_job

OBJECTIVES = """
def telling(params, budget): return {"value": params["x"] * budget}
def silent(params, budget): return {"value": params["x"] if budget == 1 else 0.0}
def contrary(params, budget): return {"value": params["x"] if budget == 1 else -params["x"]}
"""


REMEDY = ", or have new sets begin on more of the data too (options: {brackets: 2})"


@pytest.mark.parametrize(
    ("name", "notices"),
    [
        ("telling", []),
        (
            "silent",
            [
                f"results have the same value (0): which sets rose from there was hardly chosen; raise min_budget{REMEDY}"
            ],
        ),
        ("contrary", [f"hardly agrees (rank correlation -1.00): raise min_budget{REMEDY}"]),
    ],
)
def test_summary_says_that_small_budgets_do_not_tell(
    arbctl: Arbctl, objectives: Path, tmp_path: Path, name: str, notices: list[str]
) -> None:
    (objectives / "budgets.py").write_text(OBJECTIVES)
    space = {"x": {"type": "float", "bounds": [0, 1]}}
    job = write_job(tmp_path / "job.yaml", f"budgets:{name}", 60, space=space, method="successive_halving")
    text = job.read_text().replace("seed: 3", "seed: 3\n  min_budget: 0.3333333333")
    job.write_text(text)
    code, _, err = arbctl("run", job, "--session-id", name, "--worker-id", "w")
    assert code == 0, err
    code, out, _ = arbctl("summary", name, "--json")
    assert code == 0
    document = json.loads(out)
    found = [notice for notice in document["notices"] if "min_budget" in notice]
    assert len(found) == len(notices)
    assert all(notice.endswith(expected) for notice, expected in zip(found, notices, strict=True))
    (agreement,) = document["budget_agreement"]
    assert (round(agreement["budget"], 3), agreement["next_budget"], agreement["sets"] >= 8) == (0.333, 1.0, True)
    told = {"telling": 1.0, "silent": None, "contrary": -1.0}[name]
    assert agreement["rank_correlation"] == (told if told is None else pytest.approx(told))
    shown = "not known" if told is None else f"{told:.2f}"
    assert f"rank correlation of budgets: {shown} between 0.333 and 1 (" in arbctl("summary", name)[1]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 1, 2, 2], [1, 2, 3, 4], 2 / math.sqrt(5)),
        ([1, 1, 1, 1], [1, 2, 3, 4], math.nan),
    ],
)
def test_equals_share_a_rank(one: list[float], other: list[float], expected: float) -> None:
    found = rank_correlation(np.array(one, dtype=float), np.array(other, dtype=float))
    assert found == pytest.approx(expected, nan_ok=True)
