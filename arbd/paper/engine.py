"""Runs of the paper engine: over one market or several, one set of parameters or many, compiled or by the book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arbd.paper import metrics
from arbd.paper.fills import Fill
from arbd.paper.market.prepared import FIELD, Market, Series, grid_rows, parameter_rows
from arbd.paper.market.quotes import FloatArray
from arbd.paper.params import Value
from arbd.paper.strategies import by_code

AGE_LIMITS = ("max_quote_age_s", "max_quote_age_a_s", "max_quote_age_b_s")


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What one set of parameters gave: metrics, return blocks (64, 2), fills in order of execution."""

    metrics: dict[str, float]
    blocks: FloatArray
    fills: tuple[Fill, ...]
    equity: FloatArray


def _returns(equity: FloatArray, capital: FloatArray) -> FloatArray:
    """Changes of equity between grid points, as a share of the initial capital."""
    start = np.broadcast_to(capital[:, None], (equity.shape[0], 1))
    change: FloatArray = np.diff(np.concatenate([start, equity], axis=1), axis=1) / capital[:, None]
    return change


def summarise(
    rows: Sequence[FloatArray], counts: Sequence[FloatArray], equity: Sequence[FloatArray]
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Metrics and blocks of n runs from parameter rows, counts and equity grids, one entry per market.

    Several markets are pooled: counts are added; grid returns, each a share of its own market's capital, are put
    one after the other. The markets have `grid_s` and `strategy` in common (`params.ALIKE`).
    """
    capital = [np.ascontiguousarray(part[:, FIELD["initial_capital"]]) for part in rows]
    grid_s = np.ascontiguousarray(rows[0][:, FIELD["grid_s"]])
    returns = np.ascontiguousarray(
        np.concatenate([_returns(grid, own) for grid, own in zip(equity, capital, strict=True)], axis=1)
    )
    turnover = sum(part[:, metrics.NOTIONAL] / own for part, own in zip(counts, capital, strict=True))
    holding = [strategy.code for strategy in by_code().values() if strategy.holds]
    holds = np.isin(rows[0][:, FIELD["strategy"]], holding)
    pooled = metrics.pool_counts(np.stack(counts))
    values = metrics.compute_metrics(pooled, returns, np.asarray(turnover), grid_s, holds=holds)
    return values, metrics.return_blocks(returns)


def _rows(params: Mapping[str, Value]) -> FloatArray:
    return parameter_rows({name: [value] for name, value in params.items()}, 1)


def run(market: Market, params: Mapping[str, Value], way: str = "count") -> Run:
    """The compiled engine over one market with resolved parameters, fills included.

    `way` is how it goes through the market: "events", "walk", or "count", which chooses; the result is the same.
    """
    from arbd.paper.kernel.parameter_sets import build_index, run_batch  # noqa: PLC0415 - numba

    rows = _rows(params)
    counts, grid = np.zeros((1, metrics.N_COUNTS)), np.empty((1, 0))
    fills: tuple[Fill, ...] = ()
    if len(market):
        series = series_for(market, params)
        index, at = build_index(series), grid_rows(market.ts_ns, float(params["grid_s"]))
        # Twice: the first run only counts the fills.
        *_, n_fills = run_batch(series, index, rows, at, 0, way)
        counts, grid, lines, _ = run_batch(series, index, rows, at, n_fills, way)
        fills = tuple(Fill(line[0], int(market.ts_ns[line[0]]), *line[1:]) for line in lines.tolist())
    values, blocks = summarise([rows], [counts], [grid])
    return Run({name: float(column[0]) for name, column in values.items()}, blocks[0], fills, grid[0])


def series_for(market: Market, params: Mapping[str, Value]) -> Series:
    """The market as a set of parameters sees it."""
    limits = [float(params[name]) for name in AGE_LIMITS]
    return market.series(*limits, carry_over_gaps=params["carry_over_gaps"] == "yes")


def run_reference(market: Market, params: Mapping[str, Value]) -> Run:
    """The tick-by-tick oracle over one market with resolved parameters."""
    from arbd.paper.reference.strategies import reference_run  # noqa: PLC0415 - only tests and doubters need it

    done = reference_run(series_for(market, params), params)
    equity = np.array(done.equity_grid, dtype=np.float64)
    values, blocks = summarise([_rows(params)], [done.counts[None, :]], [equity[None, :]])
    return Run({name: float(column[0]) for name, column in values.items()}, blocks[0], tuple(done.fills), equity)
