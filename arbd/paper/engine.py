"""Runs of the paper engine: over one market or several, one set of parameters or many, compiled or by the book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arbd.paper import metrics
from arbd.paper.fills import Fill
from arbd.paper.params import PARAMETERS, Value
from arbd.paper.prepared import FIELD, Market, grid_points, parameter_rows
from arbd.paper.quotes import FloatArray


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
    rows: FloatArray, counts: Sequence[FloatArray], equity: Sequence[FloatArray]
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Metrics and blocks of n runs from counts and equity grids, one entry per market.

    Several markets are pooled: counts are added, grid returns are put one after the other.
    """
    capital = np.ascontiguousarray(rows[:, FIELD["initial_capital"]])
    grid_s = np.ascontiguousarray(rows[:, FIELD["grid_s"]])
    returns = np.ascontiguousarray(np.concatenate([_returns(grid, capital) for grid in equity], axis=1))
    holds = rows[:, FIELD["strategy"]] == PARAMETERS["strategy"].values.index("convergence")
    pooled = metrics.pool_counts(np.stack(counts))
    return metrics.compute_metrics(pooled, returns, capital, grid_s, holds=holds), metrics.return_blocks(returns)


def _rows(params: Mapping[str, Value]) -> FloatArray:
    return parameter_rows({name: [value] for name, value in params.items()}, 1)


def run(market: Market, params: Mapping[str, Value]) -> Run:
    """The compiled engine over one market with resolved parameters, fills included."""
    from arbd.paper.kernel import walk  # noqa: PLC0415 - numba
    from arbd.paper.kernel_state import FILL_FIELDS  # noqa: PLC0415 - as above

    rows = _rows(params)
    grid = np.empty(grid_points(market, float(params["grid_s"])))
    columns = market.columns()
    out = np.empty((0, FILL_FIELDS))
    # Twice: the first walk only counts the fills.
    n_fills = walk(columns, rows[0], np.zeros(metrics.N_COUNTS), grid, out)
    out = np.empty((n_fills, FILL_FIELDS))
    counts = np.zeros(metrics.N_COUNTS)
    walk(columns, rows[0], counts, grid, out)
    values, blocks = summarise(rows, [counts[None, :]], [grid[None, :]])
    fills = tuple(_fill(market, line) for line in out)
    return Run({name: float(column[0]) for name, column in values.items()}, blocks[0], fills, grid)


def _fill(market: Market, line: Any) -> Fill:
    row = int(line[0])
    return Fill(
        row, int(market.ts_ns[row]), int(line[1]), int(line[2]),
        float(line[3]), float(line[4]), float(line[5]), float(line[6]), int(line[7]),
    )  # fmt: skip


def run_reference(market: Market, params: Mapping[str, Value]) -> Run:
    """The tick-by-tick oracle over one market with resolved parameters."""
    from arbd.paper.reference_strategies import reference_run  # noqa: PLC0415 - only tests and doubters need it

    done = reference_run(market, params)
    equity = np.array(done.equity_grid, dtype=np.float64)
    values, blocks = summarise(_rows(params), [done.counts[None, :]], [equity[None, :]])
    return Run({name: float(column[0]) for name, column in values.items()}, blocks[0], tuple(done.fills), equity)
