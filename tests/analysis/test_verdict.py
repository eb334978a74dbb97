"""arbctl verdict: what is said of real sessions, with every key that scripts rely on."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.analysis.verdict import session_verdict
from arbd.job.spec import ObjectiveSpec
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.paper.metrics import block_counts
from arbd.paper.objective import PaperObjective
from arbd.results.columns import RowBatch
from arbd.results.compaction import compact
from arbd.search.problem import MetricGoal
from arbd.search.space import FloatDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.validation.sharpe import expected_max_sharpe
from tests.conftest import Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

N = 48
KEYS = {
    "session_id", "verdict", "rule", "reasons", "trials", "trials_on_data", "effective_trials", "best_iteration",
    "luck_line", "psr", "dsr", "min_track_record_steps", "pbo", "spa", "null_searches", "out_of_sample", "plateau",
    "stress", "missing",
}  # fmt: skip
SPACE = SearchSpace((FloatDimension("min_spread_pct", 0.02, 0.10), FloatDimension("exit_spread_pct", -0.05, 0.05)))
FIXED = {"fee_a_bps": 0, "fee_b_bps": 0, "slippage_bps": 0, "max_position": 5_000, "initial_capital": 20_000}


def _market(edge: bool) -> Quotes:
    """Four days whose premium comes back within minutes, or never does."""
    rng = np.random.default_rng(4)
    n = 17_280
    moves = rng.standard_normal(n)
    premium = np.zeros(n)
    for row in range(1, n):
        premium[row] = (0.97 if edge else 1.0) * premium[row - 1] + 1e-4 * moves[row] * (1.0 if edge else 0.1)
    mid = 100 * np.exp(np.cumsum(rng.standard_normal(n)) * 1e-4)
    columns: dict[str, Any] = {
        "ts_ns": np.arange(n) * 20 * 10**9, "bid_a": mid * 0.99999, "ask_a": mid * 1.00001,
        "bid_b": mid * np.exp(premium) * 0.99999, "ask_b": mid * np.exp(premium) * 1.00001,
    }  # fmt: skip
    return build_quotes(columns, "test")[0]


def _session(layout: SpoolLayout, name: str, grid_s: float, *, edge: bool = True, **changed: Any) -> str:
    """A finished session of the paper engine with what the engine really gave."""
    fixed = {**FIXED, "grid_s": grid_s}
    points = np.random.default_rng(1).random((N, 2))
    params = SPACE.from_unit(points)
    metrics, blocks = PaperObjective([_market(edge)], fixed).evaluate_batch(SPACE.decode(params))
    rows = replace(rows_of(1, N), params=params, metrics=metrics, blocks=blocks)
    given = {"objective": ObjectiveSpec("paper", ()), "space": SPACE, "fixed": fixed, "method": "random"}
    return _written(layout, name, rows, **{**given, "metrics": (MetricGoal("pnl", "maximize"),), **changed})


def _written(layout: SpoolLayout, name: str, rows: RowBatch, *, done: bool = True, **job: Any) -> str:
    paths = make_session(layout, len(rows), name, **job)
    write_rows(paths, "w", rows)
    if done:
        exhaust(paths, len(rows), (len(rows), 0, 0, 0))
        compact(Files(), paths)
    return name


def _judged(arbctl: Arbctl, *words: str) -> dict[str, Any]:
    code, out, err = arbctl("verdict", *words, "--json")
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def test_a_market_with_an_edge_is_skill_and_all_keys_are_there(arbctl: Arbctl, layout: SpoolLayout) -> None:
    found = _judged(arbctl, _session(layout, "s", 300.0))
    assert found.keys() >= KEYS
    assert found["verdict"] == "skill"
    assert found["pbo"].keys() >= {"value", "se", "valid", "reason"}
    assert found["spa"].keys() >= {"p_consistent", "statistic"}
    assert found["pbo"]["valid"]
    assert found["trials"] == found["trials_on_data"] == N
    for key in KEYS - {"missing", "out_of_sample"}:
        assert found[key] is not None
    assert set(found["missing"]) == {"null_searches", "out_of_sample", "stress"}


def test_a_market_without_an_edge_is_not(arbctl: Arbctl, layout: SpoolLayout) -> None:
    assert _judged(arbctl, _session(layout, "s", 300.0, edge=False))["verdict"] != "skill"


@pytest.mark.parametrize("grid_s", [60.0, 300.0, 1_000.0, 3_600.0])
def test_the_number_of_steps_follows_from_what_was_recorded(layout: SpoolLayout, grid_s: float) -> None:
    evidence = session_verdict(layout.root, _session(layout, "s", grid_s)).evidence
    assert evidence is not None
    steps = int(17_279 * 20 // grid_s) + 1
    assert evidence.counts is not None
    # The last step is no whole one, of which the Sharpe ratio that was recorded knows nothing.
    assert abs(int(evidence.counts.sum()) - steps) <= max(1, 0.01 * steps)
    assert evidence.counts.tolist() == block_counts(int(evidence.counts.sum())).tolist()
    assert evidence.step_s == grid_s


def test_too_few_steps_of_the_grid_are_said(arbctl: Arbctl, layout: SpoolLayout) -> None:
    found = _judged(arbctl, _session(layout, "s", 86_400.0))
    assert found["verdict"] == "not enough data"
    assert "3 of 3 blocks of time, and it takes 10: 3.3 times as much data" in found["rule"]
    assert "or a finer grid_s" in found["rule"]
    assert "at least 6 blocks" in found["missing"]["pbo"]


@pytest.mark.parametrize("method", ["tpe", "bayesian", "cmaes", "nsga2", "successive_halving"])
def test_pbo_of_adaptive_searches_is_marked(arbctl: Arbctl, layout: SpoolLayout, method: str) -> None:
    _session(layout, "s", 300.0, generation_size=8, method=method)
    if method == "successive_halving":
        found = session_verdict(layout.root, "s").document()
    else:
        found = _judged(arbctl, "s")
        assert "NOT VALID" in arbctl("verdict", "s")[1]
    assert (found["pbo"]["valid"], "by their results" in found["pbo"]["reason"]) == (False, True)


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        (rows_of(1, 12), "no return blocks were kept"),
        (rows_of(1, 12, status=1), "no iteration is completed"),
        (replace(rows_of(1, 12), metrics={"value": np.full(12, np.nan)}), "no result has a number for value"),
        (replace(rows_of(1, 12), blocks=np.full((12, 64, 2), np.nan)), "not finite"),
    ],
    ids=["no blocks", "all failed", "no number", "broken blocks"],
)
def test_sessions_that_cannot_be_judged_say_why(arbctl: Arbctl, layout: SpoolLayout, rows: RowBatch, rule: str) -> None:
    name = _written(layout, "s", rows)
    found = _judged(arbctl, name)
    assert (found["verdict"], found.keys() >= KEYS) == ("not enough data", True)
    assert rule in found["rule"]
    for key in ("psr", "dsr", "luck_line", "effective_trials", "min_track_record_steps", "plateau"):
        assert found[key] is None
        assert found["missing"][key]
    code, out, _ = arbctl("verdict", name)
    assert (code, "NOT ENOUGH DATA" in out, "nan" in out.lower().replace("finance", "")) == (0, True, False)


def test_blocks_of_an_objective_of_ones_own_are_judged_without_steps(arbctl: Arbctl, layout: SpoolLayout) -> None:
    rng = np.random.default_rng(2)
    s = rng.standard_normal((30, 32)) + 0.2
    rows = replace(rows_of(1, 30), blocks=np.stack([s, s * s], axis=2), metrics={"value": s.sum(axis=1)})
    found = _judged(arbctl, _written(layout, "s", rows))
    assert found["psr"] is not None
    assert found["sharpe_unit"] == "per block"
    assert found["min_track_record_steps"] is None
    assert "paper engine only" in found["missing"]["min_track_record_steps"]


def test_a_running_session_is_judged_by_what_it_has(arbctl: Arbctl, layout: SpoolLayout) -> None:
    fixed = {**FIXED, "grid_s": 300.0}
    params = SPACE.from_unit(np.random.default_rng(1).random((N, 2)))
    metrics, blocks = PaperObjective([_market(True)], fixed).evaluate_batch(SPACE.decode(params))
    rows = replace(rows_of(1, N), params=params, metrics=metrics, blocks=blocks)
    job = {"objective": ObjectiveSpec("paper", ()), "space": SPACE, "fixed": fixed, "method": "random"}
    name = _written(layout, "s", rows, done=False, metrics=(MetricGoal("pnl", "maximize"),), **job)
    assert _judged(arbctl, name)["verdict"] == "skill"


def test_another_metric_is_judged_by_its_own_winner(arbctl: Arbctl, layout: SpoolLayout) -> None:
    _session(layout, "s", 300.0)
    found = _judged(arbctl, "s", "--metric", "sharpe")
    assert (found["metric"], found["pbo"]["chosen_by"]) == ("sharpe", "sharpe")
    code, _, err = arbctl("verdict", "s", "--metric", "nothing")
    assert (code, "metrics are:" in err) == (2, True)
    assert arbctl("verdict", "nowhere")[0] == 3


def test_summary_best_and_report_say_it_too(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    _session(layout, "s", 300.0)
    line = re.compile(r"^verdict: skill: .* \(`arbctl verdict s`\)$", re.MULTILINE)
    assert line.search(arbctl("summary", "s")[1])
    assert json.loads(arbctl("summary", "s", "--json")[1])["verdict"]["verdict"] == "skill"
    code, out, err = arbctl("best", "s")
    assert (code, "verdict" in out) == (0, False)
    assert line.search(err)
    assert arbctl("report", "s", "--output", tmp_path / "s.html")[0] == 0
    page = (tmp_path / "s.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["verdict"]["verdict"] == "skill"


def test_trials_of_other_sessions_on_the_same_data_are_said(arbctl: Arbctl, layout: SpoolLayout) -> None:
    data = {"data": ("/d",), "digests": {"/d": "a" * 64}}
    _session(layout, "s", 300.0, **data)
    _session(layout, "t", 300.0, seed=2, **data)
    assert arbctl("purge", "t", "--results", "--claims", "--yes")[0] == 0
    found = _judged(arbctl, "s")
    assert (found["trials"], found["trials_on_data"]) == (N, 2 * N)
    assert f"{2 * N} trials were made on this data in all" in found["reasons"][0]


LEFT_OUT: dict[str, dict[str, Any]] = {
    "a constraint": {"constraints": ("value >= 4",)},
    "no number": {},
    "failed": {},
    "no blocks": {},
}


@pytest.mark.parametrize("way", LEFT_OUT)
def test_leaving_out_what_did_badly_makes_no_winner_better(arbctl: Arbctl, layout: SpoolLayout, way: str) -> None:
    n = 400
    s = np.random.default_rng(3).standard_normal((n, 32))
    values = s.sum(axis=1)
    rows = replace(rows_of(1, n), blocks=np.stack([s, s * s], axis=2), metrics={"value": values})
    metrics = (MetricGoal("value", "maximize"),)
    everything = _judged(arbctl, _written(layout, "all", rows, metrics=metrics))
    bad = values < np.sort(values)[-3]
    if way == "no number":
        rows = replace(rows, metrics={"value": np.where(bad, np.nan, values)})
    elif way == "failed":
        rows = replace(rows, status=np.where(bad, 1, 0).astype(np.uint8))
    elif way == "no blocks":
        rows = replace(rows, blocks=np.where(bad[:, None, None], np.nan, rows.blocks))
    found = _judged(arbctl, _written(layout, "some", rows, metrics=metrics, **LEFT_OUT[way]))
    assert found["best_iteration"] == everything["best_iteration"]
    assert found["verdict"] != "skill"
    if way in ("a constraint", "no number"):
        assert [found["spa"][key] for key in ("p_winner", "p_best", "iteration")] == [
            everything["spa"][key] for key in ("p_winner", "p_best", "iteration")
        ]
    else:
        assert found["spa"]["level"] == pytest.approx(0.05 * 3 / n)
        assert f"{n - 3} trials of the search left no returns to compare" in " ".join(found["reasons"])


def test_a_luck_line_is_that_of_noise_and_not_of_what_the_trials_came_to(layout: SpoolLayout) -> None:
    s = np.random.default_rng(4).standard_normal((50, 64)) * 0.1 + np.linspace(-1, 1, 50)[:, None]
    rows = replace(rows_of(1, 50), blocks=np.stack([s, s * s], axis=2), metrics={"value": s.sum(axis=1)})
    _written(layout, "s", rows, metrics=(MetricGoal("value", "maximize"),))
    found = session_verdict(layout.root, "s").document()
    assert found["verdict"] == "skill"
    assert found["luck_line"] == pytest.approx(expected_max_sharpe(50) / 8)
    assert found["sharpe"] > found["luck_line"]
