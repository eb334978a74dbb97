"""A fill: one leg of one trade, as it was executed."""

from __future__ import annotations

from dataclasses import dataclass

ENTRY, EXIT, TAKE_PROFIT, STOP_LOSS, MAX_HOLD, BREAKER, END, REBALANCE, GAP = range(9)
REASONS = (
    "entry",
    "exit",
    "take_profit",
    "stop_loss",
    "max_hold",
    "circuit_breaker",
    "end_of_data",
    "rebalance",
    "gap",
)


@dataclass(frozen=True, slots=True)
class Fill:
    """`venue` is 0 (A) or 1 (B), `side` +1 (buy) or -1 (sell); money in A's currency, size in base units."""

    row: int
    ts_ns: int
    venue: int
    side: int
    price: float
    size: float
    fee: float
    slippage: float
    reason: int
