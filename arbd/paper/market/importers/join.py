"""Two venues' quotes on one clock: at every time at which either changed, the last quote of each, and its age."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.paper.market.importers.funding import Funding
from arbd.paper.market.importers.rates import Rates
from arbd.paper.market.importers.venue import VenueQuotes
from arbd.paper.market.quotes import IntArray, Quotes, build_piece, quotes_of
from arbd.values import dataclass

# How many quotes of a venue are joined at a time.
SPAN_ROWS = 1 << 18
_SIDE = ("bid", "ask", "bid_size", "ask_size")


def _times_of_change(*times: IntArray) -> IntArray:
    """The distinct times of all, sorted."""
    # A stable sort merges sorted runs in one pass; np.union1d hashes every value, at ten times the time.
    both = np.sort(np.concatenate(times), kind="stable")
    distinct: IntArray = both[np.concatenate([[True], both[1:] != both[:-1]])]
    return distinct


@dataclass(frozen=True, slots=True)
class Joined:
    """Quotes of both venues, and what was left out.

    Counted are times of change that not all files cover (`outside`) and those in which a venue was silent for
    longer than the gap (`silent`); `unpaid` is how many payments of funding lie outside of the rows.
    """

    quotes: Quotes
    outside: int
    silent: int
    blocks: int
    unpaid: int = 0


def join_venues(
    a: VenueQuotes,
    b: VenueQuotes,
    fx: float | Rates,
    source: str,
    max_gap_ns: int | None = None,
    funding: Mapping[str, Funding] | None = None,
) -> Joined:
    """All rows of a `Join` at once."""
    join = Join(a, b, fx, source, max_gap_ns, funding)
    tables = [quotes.told() for quotes in join]
    quotes = quotes_of({name: np.concatenate([columns[name] for columns in tables]) for name in tables[0]})
    return Joined(quotes, join.outside, join.silent, join.blocks, join.unpaid)


class Join:
    """One row for each distinct time at which A or B changed, from when both (and the rate) are known until one ends.

    Iterate once, over quotes of one span of time after the other, for which at most SPAN_ROWS quotes of a venue are
    looked at, unless more are of one time. What was left out (see `Joined`) is known afterwards.

    A payment of `funding`, by venue ("a", "b"), makes a row too; in a gap it is in the first row after it, added to
    what else is paid there. Of several quotes of a venue at one time the last counts. With `max_gap_ns`, rows in which a
    quote is older than that are left out, and `block` grows where a venue is back after a longer silence. DataError when
    nothing is left.
    """

    def __init__(
        self,
        a: VenueQuotes,
        b: VenueQuotes,
        fx: float | Rates,
        source: str,
        max_gap_ns: int | None = None,
        funding: Mapping[str, Funding] | None = None,
    ) -> None:
        self._venues = {"a": a, "b": b}
        self._fx, self._source, self._max_gap_ns = fx, source, max_gap_ns
        begins = [a.ts_ns[0], b.ts_ns[0], *(fx.ts_ns[:1] if isinstance(fx, Rates) else ())]
        self._start, self._end = int(max(begins)), int(min(a.ts_ns[-1], b.ts_ns[-1]))
        self._funding = dict(funding or {})
        self._payments = {
            letter: _Payments(each.between(self._start, self._end)) for letter, each in self._funding.items()
        }
        self.rows = self.outside = self.silent = self.unpaid = 0
        self.levels = 1 + max(len(venue.deeper) // len(_SIDE) for venue in self._venues.values())
        self._first_ns = self._last_ns = 0
        # How often venues came back from a silence, up to this span and up to the last row; the block of that row.
        self._returns, self._returns_then, self._block = 0, 0, 0

    @property
    def blocks(self) -> int:
        """In how many uninterrupted stretches the rows are."""
        return self._block + 1

    def __iter__(self) -> Iterator[Quotes]:
        for spans in self._spans():
            columns = self._joined(spans)
            if not len(columns["ts_ns"]):
                continue
            quotes = self._checked(columns)
            self._first_ns = self._first_ns if self.rows else int(quotes.ts_ns[0])
            self._last_ns = int(quotes.ts_ns[-1])
            self.rows += len(quotes)
            yield quotes
        if not self.rows:
            raise DataError(self._source, self._why_nothing())
        self.unpaid = sum(
            int(((each.ts_ns < self._first_ns) | (each.ts_ns > self._last_ns)).sum()) for each in self._funding.values()
        )

    def _why_nothing(self) -> str:
        if self.silent and self._max_gap_ns is not None:
            return f"no row in which both quotes are at most {self._max_gap_ns / 1e9:g} s old; allow more"
        return _nothing_in_common(self._venues["a"], self._venues["b"], self._fx)

    def _spans(self) -> Iterator[dict[str, slice]]:
        """Rows of both venues that lie in one span of time after the other, until neither has more."""
        times = {letter: venue.ts_ns for letter, venue in self._venues.items()}
        done = dict.fromkeys(times, 0)
        while ends := [
            int(ts[min(done[letter] + SPAN_ROWS, len(ts)) - 1])
            for letter, ts in times.items()
            if done[letter] < len(ts)
        ]:
            before = dict(done)
            done = {letter: int(np.searchsorted(ts, min(ends), side="right")) for letter, ts in times.items()}
            yield {letter: slice(before[letter], done[letter]) for letter in times}

    def _joined(self, spans: Mapping[str, slice]) -> dict[str, npt.NDArray[Any]]:
        """The columns of the rows of a span, of which there may be none."""
        seen = {letter: np.asarray(self._venues[letter].ts_ns[rows]) for letter, rows in spans.items()}
        end_ns = max(int(ts_ns[-1]) for ts_ns in seen.values() if len(ts_ns))
        ts = _times_of_change(*seen.values(), *(each.times_until(end_ns) for each in self._payments.values()))
        inside = ts[(ts >= self._start) & (ts <= self._end)]
        self.outside += len(ts) - len(inside)
        at = {
            letter: np.searchsorted(ts_ns, inside, side="right") - 1 + spans[letter].start
            for letter, ts_ns in seen.items()
        }
        columns = {"ts_ns": inside} | {
            f"age_{letter}_ns": inside - self._venues[letter].ts_ns[rows] for letter, rows in at.items()
        }
        if self._max_gap_ns is not None:
            keep = (columns["age_a_ns"] <= self._max_gap_ns) & (columns["age_b_ns"] <= self._max_gap_ns)
            columns, at = {n: c[keep] for n, c in columns.items()}, {letter: rows[keep] for letter, rows in at.items()}
            columns["block"] = self._blocks(columns["ts_ns"], spans)
        kept = columns["ts_ns"]
        self.silent += len(inside) - len(kept)
        for letter, venue in self._venues.items():
            columns |= _side(venue, at[letter], letter)
        if isinstance(self._fx, Rates):
            columns["fx"] = self._fx.rate[np.searchsorted(self._fx.ts_ns, kept, side="right") - 1]
        elif self._fx != 1.0:
            columns["fx"] = np.full(len(kept), float(self._fx))
        return columns | {f"funding_{letter}": each.column(kept) for letter, each in self._payments.items()}

    def _blocks(self, ts_ns: IntArray, spans: Mapping[str, slice]) -> IntArray:
        """Numbers from 0 that grow where a venue came back since the row above from a silence longer than the gap."""
        assert self._max_gap_ns is not None
        returns = np.full(len(ts_ns), self._returns, dtype=np.int64)
        for letter, rows in spans.items():
            times = self._venues[letter].ts_ns[max(0, rows.start - 1) : rows.stop]
            back = times[1:][np.diff(times) > self._max_gap_ns]
            returns += np.searchsorted(back, ts_ns, side="right")
            self._returns += len(back)
        if not len(ts_ns):
            return returns
        then = self._returns_then if self.rows else returns[0]
        blocks: IntArray = self._block + np.cumsum(np.diff(returns, prepend=then) > 0)
        self._block, self._returns_then = int(blocks[-1]), int(returns[-1])
        return blocks

    def _checked(self, columns: Mapping[str, npt.NDArray[Any]]) -> Quotes:
        try:
            return build_piece(columns, self._source, "refuse")[0]
        except DataError as error:
            raise DataError(self._source, error.reason, None if error.row is None else error.row + self.rows) from None


class _Payments:
    """The funding of a venue, met span by span."""

    def __init__(self, funding: Funding) -> None:
        self._funding = funding
        self._met = self._entered = 0
        self._begun = False

    def times_until(self, end_ns: int) -> IntArray:
        """The times of payments that no span before this one had."""
        before, self._met = self._met, int(np.searchsorted(self._funding.ts_ns, end_ns, side="right"))
        return self._funding.ts_ns[before : self._met]

    def column(self, ts_ns: IntArray) -> npt.NDArray[np.float64]:
        """What is paid in each row, NaN where nothing is: payments since the row above, none before the first of all."""
        column = np.full(len(ts_ns), np.nan)
        if not len(ts_ns):
            return column
        if not self._begun:
            self._begun, self._entered = True, int(np.searchsorted(self._funding.ts_ns, ts_ns[0], side="left"))
        before, self._entered = self._entered, int(np.searchsorted(self._funding.ts_ns, ts_ns[-1], side="right"))
        due = slice(before, self._entered)
        rows = np.searchsorted(ts_ns, self._funding.ts_ns[due], side="left")
        column[rows] = 0.0
        np.add.at(column, rows, self._funding.rate[due])
        return column


def _side(venue: VenueQuotes, at: IntArray, letter: str) -> dict[str, npt.NDArray[Any]]:
    """One venue's columns; sizes that it does not tell stay defaulted."""
    told = {name: column for name in _SIDE if (column := getattr(venue, name)).strides != (0,)}
    named = {f"{name}_{letter}": column[at] for name, column in told.items()}
    for name, column in venue.deeper.items():
        part, _, level = name.rpartition("_")
        named[f"{part}_{letter}_{level}"] = column[at]
    return named


def _nothing_in_common(a: VenueQuotes, b: VenueQuotes, fx: float | Rates) -> str:
    spans = {"venue A": a.ts_ns, "venue B": b.ts_ns} | ({"the rates": fx.ts_ns} if isinstance(fx, Rates) else {})
    told = "; ".join(f"{name} {_iso(ts[0])} to {_iso(ts[-1])}" for name, ts in spans.items())
    return f"there is no time that all of them cover: {told}; name files of the same days"


def _iso(ts_ns: Any) -> str:
    return str(np.datetime64(int(ts_ns), "ns"))[:19] + "Z"
