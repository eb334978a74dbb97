"""A market and a set of parameters in the form that both engines walk over: same numbers, same order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.paper.params import PARAMETERS, Value
from arbd.paper.quotes import FloatArray, IntArray, Quotes

# Parameters in a row of numbers, by position: the order of PARAMETERS, choices as positions in their values.
FIELDS = tuple(PARAMETERS)
FIELD = {name: position for position, name in enumerate(FIELDS)}
CONVERGENCE, INVENTORY = 0, 1
REBALANCE_NONE, REBALANCE_TRANSFER, REBALANCE_REVERSE = range(3)


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Quotes with B's prices converted, and the two edge series in percent of the price bought."""

    ts_ns: IntArray
    bid_a: FloatArray
    ask_a: FloatArray
    bid_b: FloatArray
    ask_b: FloatArray
    bid_size_a: FloatArray
    ask_size_a: FloatArray
    bid_size_b: FloatArray
    ask_size_b: FloatArray
    edge_ab: FloatArray
    edge_ba: FloatArray
    unwind_ab: FloatArray
    unwind_ba: FloatArray
    fx: FloatArray

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """All columns, in the order of the compiled kernel's arguments."""
        return (
            self.ts_ns, self.bid_a, self.ask_a, self.bid_b, self.ask_b,
            self.bid_size_a, self.ask_size_a, self.bid_size_b, self.ask_size_b,
            self.edge_ab, self.edge_ba, self.unwind_ab, self.unwind_ba, self.fx,
        )  # fmt: skip


def prepare(quotes: Quotes) -> Market:
    """Convert B's prices and compute the series that depend on no parameter.

    `unwind_ab` is the cost of closing a position that bought on B and sold on A, in percent: sell on B, buy on A.
    """
    bid_b, ask_b = quotes.bid_b * quotes.fx, quotes.ask_b * quotes.fx
    bid_a, ask_a = quotes.bid_a, quotes.ask_a
    return Market(
        ts_ns=quotes.ts_ns,
        bid_a=bid_a,
        ask_a=ask_a,
        bid_b=bid_b,
        ask_b=ask_b,
        bid_size_a=quotes.bid_size_a,
        ask_size_a=quotes.ask_size_a,
        bid_size_b=quotes.bid_size_b,
        ask_size_b=quotes.ask_size_b,
        edge_ab=(bid_a - ask_b) / ask_b * 100.0,
        edge_ba=(bid_b - ask_a) / ask_a * 100.0,
        unwind_ab=(ask_a - bid_b) / ask_a * 100.0,
        unwind_ba=(ask_b - bid_a) / ask_b * 100.0,
        fx=quotes.fx,
    )


def parameter_rows(columns: Mapping[str, Sequence[Value] | npt.NDArray[Any]], n: int) -> FloatArray:
    """Resolved parameter columns (every one of FIELDS) as rows of numbers, shape (n, fields)."""
    rows = np.empty((n, len(FIELDS)))
    for position, name in enumerate(FIELDS):
        values = columns[name]
        if PARAMETERS[name].kind == "choice":
            codes = {value: code for code, value in enumerate(PARAMETERS[name].values)}
            rows[:, position] = [codes[str(value)] for value in values]
        else:
            rows[:, position] = np.asarray(values, dtype=np.float64)
    return rows


def grid_points(market: Market, grid_s: float) -> int:
    """How many times equity is observed on the grid: at every full `grid_s` after the first quote, and at the last."""
    if len(market) == 0:
        return 0
    span_ns = int(market.ts_ns[-1] - market.ts_ns[0])
    return -(-span_ns // max(1, int(grid_s * 1e9)))
