"""Runs of the paper engine: over one market or several, one set of parameters or many, compiled or by the reference engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from arbd.paper import metrics
from arbd.paper.fills import FILLED, Fill, Reject
from arbd.paper.market.prepared import FIELD, Market, grid_rows, parameter_rows, whole_steps
from arbd.paper.market.quotes import FloatArray
from arbd.paper.market.series import Series, View
from arbd.paper.params import Value
from arbd.paper.strategies import by_code
from arbd.values import dataclass

# Which rules this engine plays by: 2 are those without foresight (docs/engine.md). Rows tell by a metric.
RULES = 2
MARK_OF_RULES = "orders"
# Codes of strategies that hold positions.
_HOLDING = tuple(strategy.code for strategy in by_code().values() if strategy.holds)


def rules_of(names: Collection[str]) -> int:
    """By which rules a row was made that has metrics of these names."""
    return RULES if MARK_OF_RULES in names else 1


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What one set of parameters gave: metrics, return blocks (64, 2), fills in order of execution, rejected orders.

    The equity of a run that was given up is NaN.
    """

    metrics: dict[str, float]
    blocks: FloatArray
    fills: tuple[Fill, ...]
    equity: FloatArray
    rejects: tuple[Reject, ...] = ()


def _returns(equity: FloatArray, capital: FloatArray) -> FloatArray:
    """Changes of equity between grid points, as a share of the initial capital."""
    start = np.broadcast_to(capital[:, None], (equity.shape[0], 1))
    change: FloatArray = np.diff(np.concatenate([start, equity], axis=1), axis=1) / capital[:, None]
    return change


def summarise(
    rows: Sequence[FloatArray], counts: Sequence[FloatArray], equity: Sequence[FloatArray], spans_ns: Sequence[int]
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Metrics and blocks of n runs from parameter rows, counts, equity grids and lengths in time, one entry per market.

    Several markets are pooled: counts are added; grid returns, each a share of its own market's capital, are put
    one after the other. The markets have `grid_s` and `strategy` in common (`params.ALIKE`). A market's last grid step
    that is no whole one is in neither deviations nor blocks: both are of the same returns.
    """
    capital = [np.ascontiguousarray(part[:, FIELD["initial_capital"]]) for part in rows]
    grid_s = np.ascontiguousarray(rows[0][:, FIELD["grid_s"]])
    pooled = metrics.pool_counts(np.stack(counts))
    each = [_returns(grid, own) for grid, own in zip(equity, capital, strict=True)]
    returns = np.ascontiguousarray(np.concatenate(each, axis=1))
    returns[pooled[:, metrics.GIVEN_UP] > 0] = 0.0
    own_s = float(grid_s[0]) if len(grid_s) else 1.0
    whole = np.concatenate(
        [np.arange(part.shape[1]) < whole_steps(span, own_s) for part, span in zip(each, spans_ns, strict=True)]
    )
    turnover = sum(part[:, metrics.NOTIONAL] / own for part, own in zip(counts, capital, strict=True))
    pnl = [part[:, metrics.REALIZED] + part[:, metrics.OPEN_MARK] for part in counts]
    capacity = sum(made / part[:, FIELD["max_position"]] for part, made in zip(rows, pnl, strict=True))
    holds = np.isin(rows[0][:, FIELD["strategy"]], _HOLDING)
    steps = np.ascontiguousarray(returns[:, whole])
    values = metrics.compute_metrics(pooled, steps, np.asarray(turnover), np.asarray(capacity), grid_s, holds=holds)
    return values, metrics.return_blocks(steps)


def span_ns(market: Market) -> int:
    """From its first quote to its last."""
    return int(market.ts_ns[-1]) - int(market.ts_ns[0]) if len(market) else 0


def _rows(params: Mapping[str, Value]) -> FloatArray:
    return parameter_rows({name: [value] for name, value in params.items()}, 1)


def run(market: Market, params: Mapping[str, Value], way: str = "events") -> Run:
    """The compiled engine over one market with resolved parameters, fills included.

    `way` is how it goes through the market: from event to event, or ("walk") quote by quote; the result is the same.
    """
    from arbd.paper.kernel.parameter_sets import build_index, run_batch  # noqa: PLC0415 - numba

    rows = _rows(params)
    counts, grid = metrics.no_counts(1), np.empty((1, 0))
    lines: list[tuple[Any, ...]] = []
    if len(market):
        series = series_for(market, params)
        index, at = build_index(series), grid_rows(market.ts_ns, float(params["grid_s"]))
        # Twice: the first run only counts the orders that were done.
        *_, n_done = run_batch(series, index, rows, at, 0, way)
        counts, grid, done, _ = run_batch(series, index, rows, at, n_done, way)
        lines = done.tolist()
    values, blocks = summarise([rows], [counts], [grid], [span_ns(market)])
    fills = tuple(_fill(market, line) for line in lines if line[-1] == FILLED)
    rejects = tuple(_reject(market, line) for line in lines if line[-1] != FILLED)
    return Run(_first(values), blocks[0], fills, _equity(counts, grid), rejects)


def _first(values: Mapping[str, FloatArray]) -> dict[str, float]:
    return {name: float(column[0]) for name, column in values.items()}


def _equity(counts: FloatArray, grid: FloatArray) -> FloatArray:
    return grid[0] if counts[0, metrics.GIVEN_UP] == 0 else np.full_like(grid[0], np.nan)


def _fill(market: Market, line: tuple[Any, ...]) -> Fill:
    row, venue, side, price, size, fee, slippage, reason, sent_row, ordered, _ = line
    return Fill(row, int(market.ts_ns[row]), venue, side, price, size, fee, slippage, reason, sent_row, ordered)


def _reject(market: Market, line: tuple[Any, ...]) -> Reject:
    row, venue, side, price, _, _, _, reason, sent_row, ordered, cause = line
    return Reject(row, int(market.ts_ns[row]), venue, side, price, reason, sent_row, ordered, cause)


def series_for(market: Market, params: Mapping[str, Value]) -> Series:
    """The market as a set of parameters sees it."""
    return market.seen(View.of(params))


def run_reference(market: Market, params: Mapping[str, Value]) -> Run:
    """The tick-by-tick oracle over one market with resolved parameters."""
    from arbd.paper.reference.strategies import reference_run  # noqa: PLC0415 - only tests and verification need it

    done = reference_run(series_for(market, params), params)
    counts, rows = done.counts[None, :], _rows(params)
    points = len(grid_rows(market.ts_ns, float(params["grid_s"])))
    equity = np.full((1, points), np.nan)
    equity[0, : len(done.equity_grid)] = done.equity_grid
    values, blocks = summarise([rows], [counts], [equity], [span_ns(market)])
    return Run(_first(values), blocks[0], tuple(done.fills), _equity(counts, equity), tuple(done.rejects))
