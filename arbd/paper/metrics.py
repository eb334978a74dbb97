"""Every metric of the paper engine: unit, direction, meaning; and their computation from what a run counted.

The reference and the compiled engine count the same things; what is derived from the counts is derived here,
once, so that both give the same bits. A metric that is undefined is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from arbd.values import dataclass

FloatArray = npt.NDArray[np.float64]

N_BLOCKS = 64
SECONDS_PER_YEAR = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """One metric; `direction` is what is better."""

    name: str
    unit: str
    direction: str
    doc: str


_UP, _DOWN = "maximize", "minimize"
_ALL = (
    MetricInfo("pnl", "A's currency", _UP, "realised pnl plus the open position valued at the last quote"),
    MetricInfo("realized_pnl", "A's currency", _UP, "of closed quantities, net of fees and transfer costs"),
    MetricInfo("total_fees", "A's currency", _DOWN, "fees of all fills, and transfer costs"),
    MetricInfo("slippage_cost", "A's currency", _DOWN, "how much worse than the touch the fills were"),
    MetricInfo("trades", "count", _UP, "positions closed in full (convergence), pairs of fills (inventory)"),
    MetricInfo("wins", "count", _UP, "trades with a positive result"),
    MetricInfo("losses", "count", _DOWN, "trades with a negative result"),
    MetricInfo("win_rate", "share", _UP, "wins / trades"),
    MetricInfo("avg_pnl_per_trade", "A's currency", _UP, "result of trades / trades"),
    MetricInfo("profit_factor", "ratio", _UP, "sum of wins / sum of losses; infinite without losses"),
    MetricInfo("max_drawdown", "A's currency", _DOWN, "largest fall of observed equity from its peak"),
    MetricInfo("max_drawdown_pct", "%", _DOWN, "the same in percent of that peak"),
    MetricInfo("sharpe", "per sqrt(year)", _UP, "annualised mean / standard deviation of grid returns"),
    MetricInfo("sortino", "per sqrt(year)", _UP, "annualised mean / downside deviation (below 0) of grid returns"),
    MetricInfo("avg_hold_s", "s", _DOWN, "from the later entry fill to the later closing fill, mean over trades"),
    MetricInfo("exposure", "share", _DOWN, "part of the time with an open position"),
    MetricInfo("turnover", "ratio", _DOWN, "notional of all fills / initial capital, of each market by its own"),
    MetricInfo("signals", "count", _UP, "stretches of quotes that called for an entry"),
    MetricInfo("safety_violations", "count", _DOWN, "of those, stretches in which a safety limit refused an entry"),
    MetricInfo("circuit_breaker_active", "0 or 1", _DOWN, "1 when the circuit breaker stopped trading"),
    MetricInfo("orders", "count", _UP, "orders sent, one per leg"),
    MetricInfo("rejected", "count", _DOWN, "of those, orders of which nothing was filled"),
    MetricInfo("funding_paid", "A's currency", _DOWN, "funding paid less received; part of pnl"),
    MetricInfo("borrow_paid", "A's currency", _DOWN, "paid for what was short; part of pnl"),
    MetricInfo(
        "unhedged_pnl",
        "A's currency",
        _UP,
        "what hedging and unwinding made against the touch when the need for it was found",
    ),
    MetricInfo("unhedged_s", "s", _DOWN, "time with unequal legs that were to be hedged or unwound"),
    MetricInfo("largest_unhedged", "A's currency", _DOWN, "largest part of a leg that the other did not match"),
    MetricInfo(
        "margin_low",
        "ratio",
        _UP,
        "least equity over the notional that was open on both venues, on the grid and after fills; undefined for inventory",
    ),
    MetricInfo("capacity", "ratio", _UP, "pnl / max_position, of each market by its own: falls where more finds less"),
    MetricInfo("given_up", "0 or 1", _DOWN, "1 when the run was ended by give_up; its other metrics are undefined"),
)

METRICS: Mapping[str, MetricInfo] = {metric.name: metric for metric in _ALL}

# What a run counts, by position.
(
    REALIZED, FEES, SLIPPAGE, TRADES, WINS, LOSSES, GROSS_PROFIT, GROSS_LOSS, MAX_DRAWDOWN, MAX_DRAWDOWN_PCT,
    HOLD_S, EXPOSURE_S, NOTIONAL, SIGNALS, VIOLATIONS, BREAKER, OPEN_MARK, SPAN_S,
    ORDERS, REJECTED, FUNDING, BORROW, UNHEDGED_PNL, UNHEDGED_S, LARGEST_UNHEDGED, GIVEN_UP, MARGIN_LOW, N_COUNTS,
) = range(28)  # fmt: skip

_LARGEST = (MAX_DRAWDOWN, MAX_DRAWDOWN_PCT, BREAKER, LARGEST_UNHEDGED, GIVEN_UP)


def no_counts(n: int) -> FloatArray:
    """Counts of n runs that met nothing: (n, N_COUNTS)."""
    counts = np.zeros((n, N_COUNTS))
    counts[:, MARGIN_LOW] = np.inf
    return counts


def pool_counts(counts: FloatArray) -> FloatArray:
    """Counts of several markets, shape (markets, n, N_COUNTS), as those of one: sums, or what is worst of them."""
    pooled: FloatArray = counts[0].copy()
    for market in counts[1:]:
        largest = [np.maximum(pooled[:, i], market[:, i]) for i in _LARGEST]
        least = np.minimum(pooled[:, MARGIN_LOW], market[:, MARGIN_LOW])
        pooled += market
        pooled[:, MARGIN_LOW] = least
        for i, column in zip(_LARGEST, largest, strict=True):
            pooled[:, i] = column
    return pooled


def compute_metrics(
    counts: FloatArray,
    returns: FloatArray,
    turnover: FloatArray,
    capacity: FloatArray,
    grid_s: FloatArray,
    *,
    holds: npt.NDArray[np.bool_],
) -> dict[str, FloatArray]:
    """Metrics of n runs. `counts` (n, N_COUNTS), `returns` (n, whole grid steps), `turnover`, `capacity`, `grid_s` (n,).

    `holds` tells the runs whose strategy holds positions; for the others holding time and exposure are undefined.
    """
    trades = counts[:, TRADES]
    given_up = counts[:, GIVEN_UP]
    with np.errstate(divide="ignore", invalid="ignore"):
        metrics = {
            "pnl": counts[:, REALIZED] + counts[:, OPEN_MARK],
            "realized_pnl": counts[:, REALIZED],
            "total_fees": counts[:, FEES],
            "slippage_cost": counts[:, SLIPPAGE],
            "trades": trades,
            "wins": counts[:, WINS],
            "losses": counts[:, LOSSES],
            "win_rate": counts[:, WINS] / trades,
            "avg_pnl_per_trade": (counts[:, GROSS_PROFIT] - counts[:, GROSS_LOSS]) / trades,
            "profit_factor": counts[:, GROSS_PROFIT] / counts[:, GROSS_LOSS],
            "max_drawdown": counts[:, MAX_DRAWDOWN],
            "max_drawdown_pct": counts[:, MAX_DRAWDOWN_PCT],
            "sharpe": _annualised(returns, grid_s, _deviation(returns)),
            "sortino": _annualised(returns, grid_s, _downside(returns)),
            "avg_hold_s": np.where(holds, counts[:, HOLD_S] / trades, np.nan),
            "exposure": np.where(holds, counts[:, EXPOSURE_S] / counts[:, SPAN_S], np.nan),
            "turnover": turnover,
            "signals": counts[:, SIGNALS],
            "safety_violations": counts[:, VIOLATIONS],
            "circuit_breaker_active": counts[:, BREAKER],
            "orders": counts[:, ORDERS],
            "rejected": counts[:, REJECTED],
            "funding_paid": counts[:, FUNDING],
            "borrow_paid": counts[:, BORROW],
            "unhedged_pnl": counts[:, UNHEDGED_PNL],
            "unhedged_s": counts[:, UNHEDGED_S],
            "largest_unhedged": counts[:, LARGEST_UNHEDGED],
            "margin_low": np.where(np.isfinite(counts[:, MARGIN_LOW]), counts[:, MARGIN_LOW], np.nan),
            "capacity": capacity,
        }
    found = {name: np.where(given_up > 0, np.nan, values) for name, values in metrics.items()}
    return found | {"given_up": np.array(given_up, dtype=np.float64)}


def _deviation(returns: FloatArray) -> FloatArray:
    if returns.shape[1] < 2:
        return np.full(returns.shape[0], np.nan)
    deviation: FloatArray = returns.std(axis=1, ddof=1)
    return deviation


def _downside(returns: FloatArray) -> FloatArray:
    if returns.shape[1] < 2:
        return np.full(returns.shape[0], np.nan)
    below = np.minimum(returns, 0.0)
    deviation: FloatArray = np.sqrt((below * below).mean(axis=1))
    return deviation


def _annualised(returns: FloatArray, grid_s: FloatArray, deviation: FloatArray) -> FloatArray:
    if returns.shape[1] < 2:
        return np.full(returns.shape[0], np.nan)
    ratio = returns.mean(axis=1) / deviation * np.sqrt(SECONDS_PER_YEAR / grid_s)
    return np.where(deviation > 0, ratio, np.nan)


def block_counts(n_steps: int, n_blocks: int = N_BLOCKS) -> npt.NDArray[np.int64]:
    """How many of `n_steps` grid returns each block of `return_blocks` sums up: (n_blocks,), as equal as can be."""
    return np.diff([-(-block * n_steps // n_blocks) for block in range(n_blocks + 1)])


def return_blocks(returns: FloatArray) -> FloatArray:
    """Sum and sum of squares of the grid returns in `N_BLOCKS` equal parts of the grid: (n, N_BLOCKS, 2)."""
    n, k = returns.shape
    blocks = np.zeros((n, N_BLOCKS, 2))
    end = 0
    for block, count in enumerate(block_counts(k)):
        start, end = end, end + int(count)
        part = returns[:, start:end]
        blocks[:, block, 0] = part.sum(axis=1)
        blocks[:, block, 1] = (part * part).sum(axis=1)
    return blocks
