"""The jobs of a golden spool: between them they write every kind of record, column and status that a spool can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

X: dict[str, Any] = {"type": "float", "bounds": [0.0, 1.0]}
K: dict[str, Any] = {"type": "int", "bounds": [1, 6]}
SIDE: dict[str, Any] = {"type": "choice", "values": ["buy", "sell"]}
SPACE: dict[str, Any] = {"x": X, "k": K, "side": SIDE}
SPREADS: dict[str, Any] = {
    "min_spread_pct": {"type": "float", "bounds": [0.05, 0.30]},
    "exit_spread_pct": {"type": "float", "bounds": [-0.05, 0.10]},
    "strategy": {"type": "choice", "values": ["convergence", "inventory"]},
}
FEES: dict[str, Any] = {"fee_a_bps": 2, "fee_b_bps": 1, "max_position": 10_000_000, "initial_capital": 50_000_000}


def _python(method: str, n: int | None, function: str = "golden_objectives:plain", **tuning: Any) -> dict[str, Any]:
    count = {} if n is None else {"max_iterations": n}
    search = {"method": method, "search_space": SPACE, **count, "seed": 11, **tuning}
    return {"objective": {"python": function}, "metric": "value", "tuning": search}


def finished_jobs(home: Path) -> dict[str, dict[str, Any]]:
    """Jobs by session id that are evaluated to their end, in this order; their files are below `home`."""
    market = {"objective": "paper", "data": [str(home / "market" / "quotes.csv.gz")], "fixed": FEES}
    return {
        "grid": _python("grid", None, "golden_objectives:with_failures", grid_points={"x": 3, "k": 6})
        | {"results": {"csv": True}, "execution": {"retries": 0}},
        "odd-ends": _python(
            "grid", None, "golden_objectives:odd_ends", search_space={"n": {"type": "int", "bounds": [1, 8]}},
            grid_points=8,
        ) | {"execution": {"retries": 1, "timeout_s": 0.5}, "results": {"csv": True}},
        "reports": _python("random", 10, "golden_objectives:with_reports", search_space={"x": X}),
        "batch": _python("sobol", 20, "golden_batch:objective", search_space={"x": X, "k": K}),
        "command": _python("halton", 8, search_space={"a": K, "b": {"type": "int", "bounds": [10, 90], "step": 5}})
        | {"objective": {"command": [str(home / "objectives" / "area.sh")]}},
        "limits": _python("lhs", 24, constraints=["k >= 2", "cost <= 0.25"]) | {"results": {"csv": True}},
        "two-metrics": _python("nsga2", 24, constraints=["cost <= 0.75"])
        | {"metric": ["value", "k_cost"], "direction": ["maximize", "minimize"]}
        | {"objective": {"python": "golden_objectives:two_metrics"}},
        "tpe": _python("tpe", 24),
        "bayesian": _python("bayesian", 24, acquisition_fn="ucb"),
        "cmaes": _python("cmaes", 24, search_space={"x": X, "k": K}),
        "halving": _python("successive_halving", 27, "golden_objectives:with_budget"),
        "warm": _python("bayesian", 16, start_from="tpe", enqueue=[{"x": 0.25, "k": 3, "side": "buy"}, {"k": 5}]),
        "repeats": _python("tpe", 20, search_space={"k": K, "side": SIDE}),
        "stopped": _python("tpe", 40, stop={"target": 0.5, "no_improvement": 30, "max_time_s": 600}),
        "paper": market | {"metric": "pnl", "tuning": {"method": "random", "search_space": SPREADS, "max_iterations": 16, "seed": 7}},
        "paper-front": market
        | {
            "results": {"blocks": False},
            "metric": ["pnl", "max_drawdown"],
            "tuning": {"method": "nsga2", "search_space": SPREADS, "max_iterations": 16, "seed": 7,
                       "constraints": ["exit_spread_pct < min_spread_pct", "trades >= 1"]},
        },
        "scenarios": {
            "metric": "pnl",
            "results": {"blocks": False},
            "tuning": {
                "method": "grid",
                "scenarios": [str(home / "market" / "spread.yaml")],
                "search_space": {
                    "min_spread_pct": {"type": "float", "bounds": [0.1, 0.9]},
                    "max_hold_s": {"type": "int", "bounds": [10, 100]},
                },
                "grid_points": {"min_spread_pct": 3, "max_hold_s": 2},
            },
        },
    }  # fmt: skip


def unfinished_jobs() -> dict[str, dict[str, Any]]:
    """Jobs by session id that are caught half way: paused, killed with claims that are still out, cancelled."""
    return {
        "paused": _python("random", 24),
        "paused-tpe": _python("tpe", 24),
        "killed": _python("sobol", 24),
        "cancelled": _python("random", 24),
    }


REJECTED = "objective: {python: 'golden_objectives:plain'}\ntuning:\n  method: guess\n  search_space: {x: 3}\n"


def waiting_job() -> dict[str, Any]:
    """A job that was submitted and that no worker has taken up."""
    return _python("random", 6)
