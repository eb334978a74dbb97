"""What a report says first: the winner's numbers as a trader reads them, its neighbours, and its equity over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis.activity import never_traded, trades_notice
from arbd.analysis.neighbours import nearest
from arbd.analysis.table import ResultTable
from arbd.errors import ArbdError
from arbd.plain_json import shown_parameters
from arbd.results.result import TuningResult

NEIGHBOURS = 10
OTHER_METRICS = 8
EQUITY_STRETCHES = 600
_FIRST = ("pnl", "sharpe", "max_drawdown", "max_drawdown_pct", "trades", "win_rate", "exposure")
_TEXTS = {
    "max_drawdown": "drawdown",
    "max_drawdown_pct": "drawdown of peak",
    "win_rate": "win rate",
    "sharpe": "Sharpe ratio",
}


def headline(table: ResultTable, winner: TuningResult, metric: str) -> list[dict[str, Any]]:
    """The winner's numbers, the metric first: name, value, unit, and a text for people."""
    if table.spec.objective.kind != "paper":
        names = list(dict.fromkeys([metric, *(goal.name for goal in table.spec.metrics), *winner.metrics]))
        return [_number(name, winner.metrics[name], "") for name in names if name in winner.metrics][:OTHER_METRICS]
    from arbd.paper.metrics import METRICS  # noqa: PLC0415 - sessions of other objectives have no use for it

    names = [name for name in dict.fromkeys([metric, *_FIRST]) if name in winner.metrics]
    found = [_number(name, winner.metrics[name], METRICS[name].unit if name in METRICS else "") for name in names]
    if "pnl" in names:
        share = {"name": "pnl_pct", "value": pnl_pct(table, winner), "unit": "%", "text": "pnl of capital"}
        found.insert(names.index("pnl") + 1, share)
    return found


def _number(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "text": _TEXTS.get(name, name)}


def pnl_pct(table: ResultTable, winner: TuningResult) -> float:
    """Profit in percent of the capital of all markets together."""
    from arbd.paper.params import PARAMETERS  # noqa: PLC0415 - as above

    given: dict[str, Any] = {**table.spec.fixed, **winner.params}
    capital = float(given.get("initial_capital", PARAMETERS["initial_capital"].default))
    return 100 * winner.metrics["pnl"] / (capital * max(1, len(table.spec.data) + len(table.spec.scenarios)))


def traded(table: ResultTable) -> dict[str, Any] | None:
    """How many completed iterations never traded, where any did not; None of objectives that count no trades."""
    never, of = never_traded(table)
    return {"never": never, "of": of, "text": f"{trades_notice(table)}."} if never else None


def neighbours(table: ResultTable, position: int, metric: str) -> list[dict[str, Any]]:
    """The completed rows nearest to the winner: iteration, metric, distance as a share of the ranges, parameters."""
    values = table.source.metric(metric)
    near, reach = nearest(table, position, NEIGHBOURS)
    return [
        {
            "iteration": result.iteration,
            "metric": float(values[at]) if np.isfinite(values[at]) else None,
            "reach": float(away),
            "params": shown_parameters(result.params),
        }
        for result, at, away in zip(table.results(near.tolist()), near.tolist(), reach.tolist(), strict=True)
    ]


def equity(table: ResultTable, winner: TuningResult, cache_dir: Path | None) -> dict[str, Any] | None:
    """The winner's equity and drawdown, market by market, by running it again here; None of objectives that have none.

    `missing` is the reason where that cannot be, as where the data is on other hosts only.
    """
    if table.spec.objective.kind != "paper":
        return None
    from arbd.analysis.run_series import run_series  # noqa: PLC0415 - compiled code, for paper sessions alone
    from arbd.analysis.trades import run_markets  # noqa: PLC0415
    from arbd.objective.protocol import Settings  # noqa: PLC0415

    try:
        setting = Settings(table.spec).of(winner.iteration)
        runs = run_markets(table.spec, winner.params, cache_dir, winner.budget, setting=setting)
    except (ArbdError, OSError) as error:
        return {"missing": str(error)}
    kept = ("source", "whole", "window", "equity", "drawdown", "grid_s")
    cuts = [run_series(each).cut(stretches=EQUITY_STRETCHES) for each in runs]
    return {"missing": None, "markets": [{name: cut[name] for name in kept} for cut in cuts]}
