"""Fills and rejected orders: one leg of one trade each, as it was executed, or was not."""

from __future__ import annotations

from arbd.values import dataclass

ENTRY, EXIT, TAKE_PROFIT, STOP_LOSS, MAX_HOLD, BREAKER, END, REBALANCE, GAP, HEDGE, UNWIND = range(11)
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
    "hedge",
    "unwind",
)

# Why an order filled nothing.
FILLED, REFUSED, NOTHING_LEFT, BELOW_LOT, BELOW_MINIMUM, BALANCE = range(6)
CAUSES = (
    "",
    "refused by the venue",
    "nothing left of the size shown",
    "below the lot",
    "below the minimum",
    "the balance does not pay for it",
)


@dataclass(frozen=True, slots=True)
class Fill:
    """`venue` is 0 (A) or 1 (B), `side` +1 (buy) or -1 (sell); money in A's currency, size in base units.

    `sent_row` is the row at which it was decided, `ordered` the quantity of the order.
    """

    row: int
    ts_ns: int
    venue: int
    side: int
    price: float
    size: float
    fee: float
    slippage: float
    reason: int
    sent_row: int
    ordered: float


@dataclass(frozen=True, slots=True)
class Reject:
    """An order that filled nothing at its row, and why (`CAUSES`); otherwise as a `Fill`."""

    row: int
    ts_ns: int
    venue: int
    side: int
    price: float
    reason: int
    sent_row: int
    ordered: float
    cause: int
