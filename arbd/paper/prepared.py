"""A market and a set of parameters in the form that both engines walk over: same numbers, same order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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

# Balances and trades of the inventory strategy below this share of the initial capital are what rounding leaves.
DUST_SHARE = 1e-9


# Rows of a market's table.
(
    BID_A, ASK_A, BID_B, ASK_B, BID_SIZE_A, ASK_SIZE_A, BID_SIZE_B, ASK_SIZE_B,
    EDGE_AB, EDGE_BA, UNWIND_AB, UNWIND_BA, N_ROWS,
) = range(13)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Market:
    """Quotes with B's prices converted, and the series that depend on no parameter, in one table of N_ROWS x n.

    Edges are in percent of the price bought. `unwind_ab` is the cost of closing a position that bought on B and
    sold on A, in percent: sell on B, buy on A. One table rather than many columns, because what the compiled
    functions pass to each other costs by the number of arrays.
    """

    ts_ns: IntArray
    table: FloatArray

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def _row(self, row: int) -> FloatArray:
        values: FloatArray = self.table[row]
        return values

    @cached_property
    def bid_a(self) -> FloatArray:
        """Row BID_A."""
        return self._row(BID_A)

    @cached_property
    def ask_a(self) -> FloatArray:
        """Row ASK_A."""
        return self._row(ASK_A)

    @cached_property
    def bid_b(self) -> FloatArray:
        """Row BID_B."""
        return self._row(BID_B)

    @cached_property
    def ask_b(self) -> FloatArray:
        """Row ASK_B."""
        return self._row(ASK_B)

    @cached_property
    def bid_size_a(self) -> FloatArray:
        """Row BID_SIZE_A."""
        return self._row(BID_SIZE_A)

    @cached_property
    def ask_size_a(self) -> FloatArray:
        """Row ASK_SIZE_A."""
        return self._row(ASK_SIZE_A)

    @cached_property
    def bid_size_b(self) -> FloatArray:
        """Row BID_SIZE_B."""
        return self._row(BID_SIZE_B)

    @cached_property
    def ask_size_b(self) -> FloatArray:
        """Row ASK_SIZE_B."""
        return self._row(ASK_SIZE_B)

    @cached_property
    def edge_ab(self) -> FloatArray:
        """Row EDGE_AB."""
        return self._row(EDGE_AB)

    @cached_property
    def edge_ba(self) -> FloatArray:
        """Row EDGE_BA."""
        return self._row(EDGE_BA)

    @cached_property
    def unwind_ab(self) -> FloatArray:
        """Row UNWIND_AB."""
        return self._row(UNWIND_AB)

    @cached_property
    def unwind_ba(self) -> FloatArray:
        """Row UNWIND_BA."""
        return self._row(UNWIND_BA)

    def columns(self) -> tuple[IntArray, FloatArray]:
        """What the compiled engine walks over."""
        return self.ts_ns, self.table


def prepare(quotes: Quotes) -> Market:
    """Convert B's prices and compute the series."""
    table = np.empty((N_ROWS, len(quotes)))
    table[BID_A], table[ASK_A] = quotes.bid_a, quotes.ask_a
    table[BID_B], table[ASK_B] = quotes.bid_b * quotes.fx, quotes.ask_b * quotes.fx
    table[BID_SIZE_A], table[ASK_SIZE_A] = quotes.bid_size_a, quotes.ask_size_a
    table[BID_SIZE_B], table[ASK_SIZE_B] = quotes.bid_size_b, quotes.ask_size_b
    bid_a, ask_a, bid_b, ask_b = table[:4]
    table[EDGE_AB] = (bid_a - ask_b) / ask_b * 100.0
    table[EDGE_BA] = (bid_b - ask_a) / ask_a * 100.0
    table[UNWIND_AB] = (ask_a - bid_b) / ask_a * 100.0
    table[UNWIND_BA] = (ask_b - bid_a) / ask_b * 100.0
    return Market(quotes.ts_ns, table)


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
