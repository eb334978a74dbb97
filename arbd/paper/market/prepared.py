"""A market in the form that both engines walk over, and sets of parameters as rows of numbers.

Keeps: what the engines read is computed here, once, so that both read the same bits; no price in a market's book
is ever NaN, and a quote that may not be traded on has edges that are NaN, which no comparison holds for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import UsageError
from arbd.paper.arguments import as_argument
from arbd.paper.market.ages import AgeColumn
from arbd.paper.market.levels import Level
from arbd.paper.market.loops import fill_chunk, first_quote
from arbd.paper.market.quotes import FloatArray, IntArray, Quotes
from arbd.paper.market.series import UNUSABLE_A, UNUSABLE_B, Series, View, funding_sums, market_salt
from arbd.paper.params import PARAMETERS, Value
from arbd.paper.strategies import convergence, inventory
from arbd.values import dataclass

# Parameters in a row of numbers, by position: the order of PARAMETERS, choices as positions in their values.
FIELDS = tuple(PARAMETERS)
FIELD = {name: position for position, name in enumerate(FIELDS)}
CONVERGENCE, INVENTORY = convergence.STRATEGY.code, inventory.STRATEGY.code
REBALANCE_NONE, REBALANCE_TRANSFER, REBALANCE_REVERSE = range(3)

UNWIND = 1
MARK_MARKET = 1

# What subtraction leaves of a quantity, as a share of what it was taken from, that is rounding and no quantity.
DUST = 1e-9
# Balances and trades of the inventory strategy below this share of the initial capital are what rounding leaves.
DUST_SHARE = 1e-9

BOOK_COLUMNS = ("bid_a", "ask_a", "bid_b", "ask_b", "bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b")
FUNDING_ARRAYS = ("funding_rows", "funding_rates")
CHUNK_ROWS = 1 << 16
MOST_GRID_POINTS = 5_000_000


@dataclass(frozen=True, eq=False)
class Market:
    """Quotes with B's prices converted, and the series that depend on no parameter.

    `book` has a row per quote and the columns BOOK_COLUMNS: what a fill reads lies together. A venue whose quote
    is not one (a price that is no positive number) shows the quote it had before, and its bit in `unusable`.
    Edges are in percent of the price bought; closing a position costs the opposite direction's edge, less than zero.

    `levels`, shape (n, L - 1, 8), is the book below the touch: its second index is level 2, 3, ..., its third as in
    `book`. A level that the book did not have, and all of a quote that is none, has the price of the touch and size 0.
    `funding_rows` are the rows at which a venue paid funding, `funding_rates`, shape (m, 2), what A and B paid at each
    as a share of the notional, 0 for the venue that paid none. `fresh` is that of `Series`. `fx` is as it was quoted.
    """

    ts_ns: IntArray
    book: FloatArray
    edge_ab: FloatArray
    edge_ba: FloatArray
    unusable: npt.NDArray[np.uint8]
    age_a_ns: AgeColumn
    age_b_ns: AgeColumn
    block: IntArray
    fresh: npt.NDArray[np.uint8]
    levels: FloatArray
    funding_rows: IntArray
    funding_rates: FloatArray
    fx: FloatArray

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def column(self, name: str) -> FloatArray:
        """One of BOOK_COLUMNS."""
        values: FloatArray = self.book[:, BOOK_COLUMNS.index(name)]
        return values

    def beginning(self, count: int) -> Market:
        """The first `count` quotes."""
        return self.part(0, count)

    def part(self, first: int, last: int) -> Market:
        """Quotes `first` to `last - 1`."""
        rows, paid = slice(first, last), slice(*np.searchsorted(self.funding_rows, [first, last]).tolist())
        return Market(
            self.ts_ns[rows], self.book[rows], self.edge_ab[rows], self.edge_ba[rows], self.unusable[rows],
            self.age_a_ns[rows], self.age_b_ns[rows], self.block[rows], self.fresh[rows], self.levels[rows],
            self.funding_rows[paid] - first, self.funding_rates[paid], self.fx[rows],
        )  # fmt: skip

    @cached_property
    def _plain(self) -> Series:
        none: FloatArray = np.empty(0)
        sums = funding_sums(self.funding_rows, self.funding_rates, self.book)
        return Series(
            self.ts_ns, self.book, self.edge_ab, self.edge_ba, self.unusable, np.array([len(self) - 1], dtype=np.int64),
            self.fresh, self.edge_ab, self.edge_ba, none, none, self.funding_rows, sums,
            market_salt(self.ts_ns, self.book), self.levels, self._fx_shown(), np.empty((0, 2), dtype=np.int32),
        )  # fmt: skip

    def _fx_shown(self) -> FloatArray:
        """`fx` by which B's prices in the book are converted: of a quote that is none, that of the one shown instead."""
        if self.fx.strides == (0,) or not len(self.unusable):
            return self.fx
        good = self.unusable & UNUSABLE_B == 0
        rows = np.maximum.accumulate(np.where(good, np.arange(len(self)), np.flatnonzero(good)[:1].sum()))
        return self.fx[rows]

    def seen(self, view: View) -> Series:
        """The market by the rules of a view."""
        ages = view.max_quote_age_s, view.max_quote_age_a_s, view.max_quote_age_b_s
        feed_ns = int(view.feed_latency_a_ms * 1e6), int(view.feed_latency_b_ms * 1e6)
        return self.series(
            *ages, carry_over_gaps=view.carry_over_gaps, half_life_s=view.half_life_s, feed_latency_ns=feed_ns
        )

    def series(
        self,
        max_quote_age_s: float,
        max_quote_age_a_s: float = 0.0,
        max_quote_age_b_s: float = 0.0,
        *,
        carry_over_gaps: bool,
        half_life_s: float = 0.0,
        feed_latency_ns: tuple[int, int] = (0, 0),
    ) -> Series:
        """The market under a rule; without a limit of age it is the market itself, and nothing is computed.

        A venue's own limit of age goes before the one of both, which alone says what a gap is. With a half-life, edges
        are less their moving means. With a feed latency they are those that a strategy sees then.
        """
        limit_ns = int(max_quote_age_s * 1e9)
        limit_a_ns, limit_b_ns = int(max_quote_age_a_s * 1e9) or limit_ns, int(max_quote_age_b_s * 1e9) or limit_ns
        found = self._plain
        if max(limit_a_ns, limit_b_ns) > 0:
            found = self._without_old(found, limit_a_ns, limit_b_ns)
        if not carry_over_gaps:
            found = replace(found, ends=self._ends(limit_ns))
        if max(feed_latency_ns) > 0:
            found = found.delayed(*feed_latency_ns)
        return found if half_life_s <= 0 or not len(self) else found.centered(half_life_s)

    def _without_old(self, series: Series, limit_a_ns: int, limit_b_ns: int) -> Series:
        unusable = np.zeros(len(self), dtype=np.uint8)
        for ages, limit_ns, bit in ((self.age_a_ns, limit_a_ns, UNUSABLE_A), (self.age_b_ns, limit_b_ns, UNUSABLE_B)):
            for start in range(0, len(self) if limit_ns > 0 else 0, CHUNK_ROWS):
                rows = slice(start, start + CHUNK_ROWS)
                unusable[rows] |= (np.asarray(ages[rows]) > limit_ns) * np.uint8(bit)
        if len(series.unusable):
            unusable |= series.unusable
        may = unusable == 0
        if may.all():
            return series
        edge_ab, edge_ba = np.where(may, self.edge_ab, np.nan), np.where(may, self.edge_ba, np.nan)
        return replace(
            series, edge_ab=edge_ab, edge_ba=edge_ba, cost_ab=edge_ab, cost_ba=edge_ba, unusable=unusable
        )  # fmt: skip

    def _ends(self, limit_ns: int) -> IntArray:
        gap = np.zeros(max(0, len(self) - 1), dtype=np.bool_)
        if self.block.strides != (0,):
            gap |= self.block[1:] != self.block[:-1]
        if limit_ns > 0:
            gap |= np.diff(self.ts_ns) > limit_ns
        return np.append(np.flatnonzero(gap), len(self) - 1).astype(np.int64)


def prepare(quotes: Quotes) -> Market:
    """Convert B's prices and compute the edges."""
    return fill_market(quotes, {name: np.empty(*form) for name, form in market_forms(quotes).items()})


def checked_market(quotes: Quotes) -> Market:
    """`prepare` of quotes that `build_quotes` or `build_piece` checked: each one is a quote, so nothing need be compiled.

    A piece cannot tell what is news in its first row: whoever puts pieces together finds what is `fresh`.
    """
    fx = quotes.fx if quotes.fx.strides != (0,) or (len(quotes) and quotes.fx[0] != 1.0) else None
    columns = {name: getattr(quotes, name) for name in BOOK_COLUMNS}
    if fx is not None:
        columns |= {name: columns[name] * fx for name in ("bid_b", "ask_b")}
    book = np.stack(list(columns.values()), axis=1)
    good = np.zeros(len(quotes), dtype=np.uint8)
    every = slice(None)
    levels = [_converted(level, every, quotes.fx, book, good) for level in quotes.levels]
    funding = dict(zip(FUNDING_ARRAYS, _funding(quotes), strict=True))
    arrays = {
        "book": book,
        "edge_ab": (columns["bid_a"] - columns["ask_b"]) / columns["ask_b"] * 100.0,
        "edge_ba": (columns["bid_b"] - columns["ask_a"]) / columns["ask_a"] * 100.0,
        **({"levels": np.stack(levels, axis=1)} if levels else {}),
    }
    return market_of(quotes, {**arrays, **funding})


def side_bit(venue: int, side: int) -> int:
    """Which bit of `fresh` is a venue's side: that of the ask for a buyer (+1), of the bid for a seller (-1)."""
    return 2 * venue + (1 if side > 0 else 0)


def fresh_rows(
    levels: Sequence[Sequence[npt.NDArray[Any]]], ages: Sequence[AgeColumn], rows: slice
) -> npt.NDArray[np.uint8]:
    """Where what a venue's side shows is news: its quote arrived in this row, or, where ages are not told, it changed.

    `levels` are those of the book from the touch on: prices, then sizes, in the order of `side_bit`, as they were quoted.
    """
    before = slice(max(0, rows.start - 1), rows.stop)
    found = np.zeros(rows.stop - rows.start, dtype=np.uint8)
    for venue in range(2):
        for side in (-1, 1):
            at = side_bit(venue, side)
            if ages[venue].strides != (0,):
                news = np.asarray(ages[venue][rows]) == 0
            else:
                news = np.ones(len(found), dtype=np.bool_)
                pairs = [column[before] for level in levels for column in (level[at], level[4 + at])]
                news[1 if rows.start == 0 else 0 :] = np.logical_or.reduce([_changes(pair) for pair in pairs])
            found |= news.astype(np.uint8) << np.uint8(at)
    return found


def _changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which values, from the second on, are not the one before; NaN (no such level) is NaN."""
    changed: npt.NDArray[np.bool_] = (values[1:] != values[:-1]) & ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
    return changed


def market_forms(quotes: Quotes) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of the arrays that `fill_market` fills."""
    n, width = len(quotes), len(BOOK_COLUMNS)
    forms: dict[str, tuple[tuple[int, ...], type]] = {
        "book": ((n, width), np.float64),
        "edge_ab": ((n,), np.float64),
        "edge_ba": ((n,), np.float64),
        "unusable": ((n,), np.uint8),
        "fresh": ((n,), np.uint8),
    }
    return forms | ({"levels": ((n, len(quotes.levels), width), np.float64)} if quotes.levels else {})


def fill_market(quotes: Quotes, targets: Mapping[str, npt.NDArray[Any]]) -> Market:
    """`prepare` into arrays of `market_forms`, perhaps memory-mapped: the compiled loops never see those."""
    columns = [getattr(quotes, name) for name in (*BOOK_COLUMNS, "fx")]
    n = len(quotes)
    chunks = [slice(start, min(n, start + CHUNK_ROWS)) for start in range(0, n, CHUNK_ROWS)]
    shown = [columns, *([getattr(level, name) for name in BOOK_COLUMNS] for level in quotes.levels)]
    before = np.full(len(BOOK_COLUMNS), np.nan)
    for chunk in chunks:
        if first_quote(tuple(as_argument(column[chunk], np.float64) for column in columns), before):
            break
    faults = False
    rows = min(CHUNK_ROWS, len(quotes))
    parts: list[npt.NDArray[Any]] = [np.empty((rows, len(BOOK_COLUMNS))), np.empty(rows), np.empty(rows)]
    parts.append(np.empty(rows, dtype=np.uint8))
    for chunk in chunks:
        part = tuple(as_argument(column[chunk], np.float64) for column in columns)
        faults |= fill_chunk(part, before, *parts)
        book, *_, unusable = filled = [array[: len(part[0])] for array in parts]
        for name, values in zip(("book", "edge_ab", "edge_ba", "unusable"), filled, strict=True):
            targets[name][chunk] = values
        targets["fresh"][chunk] = fresh_rows(shown, (quotes.age_a_ns, quotes.age_b_ns), chunk)
        for number, level in enumerate(quotes.levels):
            targets["levels"][chunk, number] = _converted(level, chunk, quotes.fx[chunk], book, unusable)
    funding = dict(zip(FUNDING_ARRAYS, _funding(quotes), strict=True))
    return market_of(quotes, {**targets, **funding, "unusable": targets["unusable"][: len(quotes) if faults else 0]})


def _converted(
    level: Level, chunk: slice, fx: FloatArray, touch: FloatArray, unusable: npt.NDArray[np.uint8]
) -> FloatArray:
    """Rows of a level, in the order of BOOK_COLUMNS, with B's prices converted."""
    lines = np.stack([getattr(level, name)[chunk] for name in BOOK_COLUMNS], axis=1)
    for at, name in enumerate(BOOK_COLUMNS[:4]):
        venue_b = name.endswith("_b")
        if venue_b:
            lines[:, at] *= fx
        absent = np.isnan(lines[:, at]) | (unusable & (UNUSABLE_B if venue_b else UNUSABLE_A) != 0)
        lines[absent, at] = touch[absent, at]
        lines[absent, at + 4] = 0.0
    return lines


def _funding(quotes: Quotes) -> tuple[IntArray, FloatArray]:
    """FUNDING_ARRAYS."""
    columns = quotes.funding_a, quotes.funding_b
    if all(column.strides == (0,) for column in columns):
        return np.empty(0, dtype=np.int64), np.empty((0, 2))
    rows = np.flatnonzero(~np.isnan(columns[0]) | ~np.isnan(columns[1])).astype(np.int64)
    return rows, np.stack([np.nan_to_num(column[rows]) for column in columns], axis=1)


def market_of(quotes: Quotes, arrays: Mapping[str, npt.NDArray[Any]]) -> Market:
    """A market from its arrays, of which those that hold nothing may be missing."""
    none: dict[str, npt.NDArray[Any]] = {
        "unusable": np.empty(0, np.uint8),
        "fresh": np.zeros(len(quotes), np.uint8),
        "levels": np.empty((len(quotes), 0, len(BOOK_COLUMNS))),
        "funding_rows": np.empty(0, np.int64),
        "funding_rates": np.empty((0, 2)),
    }
    own = {name: arrays[name] if name in arrays else none[name] for name in ("book", "edge_ab", "edge_ba", *none)}
    return Market(
        ts_ns=quotes.ts_ns, age_a_ns=quotes.age_a_ns, age_b_ns=quotes.age_b_ns, block=quotes.block, fx=quotes.fx, **own
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
    for position, name in enumerate(FIELDS):
        if follows := PARAMETERS[name].follows:
            own = rows[:, position]
            rows[:, position] = np.where(np.isnan(own), rows[:, FIELD[follows]], own)
    return rows


def whole_steps(span_ns: int, grid_s: float) -> int:
    """How many whole grid steps a market of this length in time has."""
    return span_ns // max(1, int(grid_s * 1e9))


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
