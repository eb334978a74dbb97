"""A market in the form that both engines walk over, and sets of parameters as rows of numbers.

Keeps: what the engines read is computed here, once, so that both read the same bits; no price in a market's book
is ever NaN, and a quote that may not be traded on has edges that are NaN, which no comparison holds for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import UsageError
from arbd.paper.market.quotes import FloatArray, IntArray, Quotes
from arbd.paper.params import PARAMETERS, Value
from arbd.paper.strategies import convergence

# Parameters in a row of numbers, by position: the order of PARAMETERS, choices as positions in their values.
FIELDS = tuple(PARAMETERS)
FIELD = {name: position for position, name in enumerate(FIELDS)}
CONVERGENCE = convergence.STRATEGY.code
REBALANCE_NONE, REBALANCE_TRANSFER, REBALANCE_REVERSE = range(3)

# Balances and trades of the inventory strategy below this share of the initial capital are what rounding leaves.
DUST_SHARE = 1e-9

BOOK_COLUMNS = ("bid_a", "ask_a", "bid_b", "ask_b", "bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b")
UNUSABLE_A, UNUSABLE_B = 1, 2
CHUNK_ROWS = 1 << 16
MOST_GRID_POINTS = 5_000_000


@dataclass(frozen=True, eq=False)
class Series:
    """A market as one rule about gaps and ages sees it.

    `edge_ab` and `edge_ba` are NaN where a venue's quote may not be traded on; `unusable` (uint8, a bit per venue)
    tells whose, and is empty where all quotes may. `ends` are the last rows before each gap, and the last of all.
    """

    ts_ns: IntArray
    book: FloatArray
    edge_ab: FloatArray
    edge_ba: FloatArray
    unusable: npt.NDArray[np.uint8]
    ends: IntArray

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])


@dataclass(frozen=True, eq=False)
class Market:
    """Quotes with B's prices converted, and the series that depend on no parameter.

    `book` has a row per quote and the columns BOOK_COLUMNS: what a fill reads lies together. A venue whose quote
    is not one (a price that is no positive number) shows the quote it had before, and its bit in `unusable`.
    Edges are in percent of the price bought; closing a position costs the opposite direction's edge, less than zero.
    """

    ts_ns: IntArray
    book: FloatArray
    edge_ab: FloatArray
    edge_ba: FloatArray
    unusable: npt.NDArray[np.uint8]
    age_a_ns: IntArray
    age_b_ns: IntArray
    block: IntArray

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def column(self, name: str) -> FloatArray:
        """One of BOOK_COLUMNS."""
        values: FloatArray = self.book[:, BOOK_COLUMNS.index(name)]
        return values

    def beginning(self, count: int) -> Market:
        """The first `count` quotes."""
        return Market(
            self.ts_ns[:count], self.book[:count], self.edge_ab[:count], self.edge_ba[:count], self.unusable[:count],
            self.age_a_ns[:count], self.age_b_ns[:count], self.block[:count],
        )  # fmt: skip

    @cached_property
    def _plain(self) -> Series:
        return self._series(self.unusable, self.edge_ab, self.edge_ba, self._ends(0))

    def series(
        self,
        max_quote_age_s: float,
        max_quote_age_a_s: float = 0.0,
        max_quote_age_b_s: float = 0.0,
        *,
        carry_over_gaps: bool,
    ) -> Series:
        """The market under a rule; without a limit of age it is the market itself, and nothing is computed.

        A venue's own limit goes before the one of both, which alone says what a gap is.
        """
        plain = self._plain
        limit_ns = int(max_quote_age_s * 1e9)
        limit_a_ns, limit_b_ns = int(max_quote_age_a_s * 1e9) or limit_ns, int(max_quote_age_b_s * 1e9) or limit_ns
        if max(limit_a_ns, limit_b_ns) <= 0:
            return plain if not carry_over_gaps else self._carried(plain)
        unusable = self._too_old(limit_a_ns, limit_b_ns)
        if len(plain.unusable):
            unusable |= plain.unusable
        may = unusable == 0
        if may.all():
            found = self._series(plain.unusable, self.edge_ab, self.edge_ba, self._ends(limit_ns))
        else:
            edge_ab, edge_ba = np.where(may, self.edge_ab, np.nan), np.where(may, self.edge_ba, np.nan)
            found = self._series(unusable, edge_ab, edge_ba, self._ends(limit_ns))
        return found if not carry_over_gaps else self._carried(found)

    def _too_old(self, limit_a_ns: int, limit_b_ns: int) -> npt.NDArray[np.uint8]:
        old_a = (self.age_a_ns > limit_a_ns) & (limit_a_ns > 0)
        old_b = (self.age_b_ns > limit_b_ns) & (limit_b_ns > 0)
        return (old_a * np.uint8(UNUSABLE_A) | old_b * np.uint8(UNUSABLE_B)).astype(np.uint8)

    def _series(
        self, unusable: npt.NDArray[np.uint8], edge_ab: FloatArray, edge_ba: FloatArray, ends: IntArray
    ) -> Series:
        return Series(self.ts_ns, self.book, edge_ab, edge_ba, unusable, ends)

    def _carried(self, series: Series) -> Series:
        last = np.array([len(self) - 1], dtype=np.int64)
        return self._series(series.unusable, series.edge_ab, series.edge_ba, last)

    def _ends(self, limit_ns: int) -> IntArray:
        gap = np.zeros(max(0, len(self) - 1), dtype=np.bool_)
        if self.block.strides != (0,):
            gap |= self.block[1:] != self.block[:-1]
        if limit_ns > 0:
            gap |= np.diff(self.ts_ns) > limit_ns
        return np.append(np.flatnonzero(gap), len(self) - 1).astype(np.int64)


def prepare(quotes: Quotes) -> Market:
    """Convert B's prices and compute the edges."""
    n = len(quotes)
    return fill_market(
        quotes, np.empty((n, len(BOOK_COLUMNS))), np.empty(n), np.empty(n), np.empty(n, dtype=np.uint8)
    )  # fmt: skip


def fill_market(
    quotes: Quotes, book: FloatArray, edge_ab: FloatArray, edge_ba: FloatArray, unusable: npt.NDArray[np.uint8]
) -> Market:
    """`prepare` into arrays that the caller made, perhaps memory-mapped: the compiled loops never see those."""
    from arbd.paper.compiled import as_argument  # noqa: PLC0415 - numba
    from arbd.paper.market.prepare_kernel import fill_chunk, first_quote  # noqa: PLC0415 - numba

    columns = [quotes.columns()[name] for name in (*BOOK_COLUMNS, "fx")]
    chunks = [slice(start, start + CHUNK_ROWS) for start in range(0, len(quotes), CHUNK_ROWS)]
    before = np.full(len(BOOK_COLUMNS), np.nan)
    for chunk in chunks:
        if first_quote(tuple(as_argument(column[chunk], np.float64) for column in columns), before):
            break
    faults = False
    rows = min(CHUNK_ROWS, len(quotes))
    fresh: list[npt.NDArray[Any]] = [np.empty((rows, len(BOOK_COLUMNS))), np.empty(rows), np.empty(rows)]
    fresh.append(np.empty(rows, dtype=np.uint8))
    targets: list[npt.NDArray[Any]] = [book, edge_ab, edge_ba, unusable]
    for chunk in chunks:
        part = tuple(as_argument(column[chunk], np.float64) for column in columns)
        faults |= fill_chunk(part, before, *fresh)
        for target, filled in zip(targets, fresh, strict=True):
            target[chunk] = filled[: len(part[0])]
    return Market(
        quotes.ts_ns, book, edge_ab, edge_ba, unusable if faults else unusable[:0],
        quotes.age_a_ns, quotes.age_b_ns, quotes.block,
    )  # fmt: skip


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


def grid_points(ts_ns: IntArray, grid_s: float) -> int:
    """At how many points the equity of a run is observed; UsageError for more than a slot has room for."""
    span_ns = int(ts_ns[-1]) - int(ts_ns[0]) if len(ts_ns) else 0
    points = -(-span_ns // max(1, int(grid_s * 1e9)))
    if points > MOST_GRID_POINTS:
        raise UsageError(
            f"grid_s is {grid_s:g}, which makes {points:,} grid points of {span_ns / 1e9:,.0f} s of quotes; "
            f"the maximum is {MOST_GRID_POINTS:,}: make it {span_ns / 1e9 / MOST_GRID_POINTS:.3g} or more"
        )
    return points


def grid_rows(ts_ns: IntArray, grid_s: float) -> IntArray:
    """At which rows equity is observed for the grid: the last at or before every full `grid_s`, and the last of all."""
    points = grid_points(ts_ns, grid_s)
    grid_ns = max(1, int(grid_s * 1e9))
    if points == 0:
        return np.empty(0, dtype=np.int64)
    times = int(ts_ns[0]) + np.arange(1, points, dtype=np.int64) * grid_ns
    rows = np.searchsorted(ts_ns, times, side="right") - 1
    return np.append(rows, len(ts_ns) - 1).astype(np.int64)
