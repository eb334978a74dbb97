"""Two venues' quotes on one clock: at every time at which either changed, the last quote of each, and its age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.paper.market.importers.funding import Funding
from arbd.paper.market.importers.rates import Rates
from arbd.paper.market.importers.venue import VenueQuotes
from arbd.paper.market.quotes import IntArray, Quotes, build_quotes


def _times_of_change(*times: IntArray) -> IntArray:
    """The distinct times of all, sorted."""
    # A stable sort merges sorted runs in one pass; np.union1d hashes every value, at ten times the time.
    both = np.sort(np.concatenate(times), kind="stable")
    distinct: IntArray = both[np.concatenate([[True], both[1:] != both[:-1]])]
    return distinct


_SIDE = ("bid", "ask", "bid_size", "ask_size")


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
    """One row for each distinct time at which A or B changed, from when both (and the rate) are known until one ends.

    A payment of `funding`, by venue ("a", "b"), makes a row too; in a gap it is in the first row after it, added to
    what else is paid there. Of several quotes of a venue at one time the last counts. With `max_gap_ns`, rows in which a
    quote is older than that are left out, and `block` grows where a venue is back after a longer silence. DataError when
    nothing is left.
    """
    start, end = (
        max(a.ts_ns[0], b.ts_ns[0], *(fx.ts_ns[:1] if isinstance(fx, Rates) else ())),
        min(a.ts_ns[-1], b.ts_ns[-1]),
    )
    paid = {letter: each.between(int(start), int(end)) for letter, each in (funding or {}).items()}
    ts = _times_of_change(a.ts_ns, b.ts_ns, *(each.ts_ns for each in paid.values()))
    at_a, at_b = (np.searchsorted(v.ts_ns, ts, side="right") - 1 for v in (a, b))
    keep = (at_a >= 0) & (at_b >= 0) & (ts <= min(a.ts_ns[-1], b.ts_ns[-1]))
    at_fx = np.zeros(len(ts), dtype=np.int64)
    if isinstance(fx, Rates):
        at_fx = np.searchsorted(fx.ts_ns, ts, side="right") - 1
        keep &= at_fx >= 0
    if not keep.any():
        raise DataError(source, _nothing_in_common(a, b, fx))
    inside = int(keep.sum())
    age_a, age_b = ts - a.ts_ns[at_a], ts - b.ts_ns[at_b]
    if max_gap_ns is not None:
        keep &= (age_a <= max_gap_ns) & (age_b <= max_gap_ns)
        if not keep.any():
            raise DataError(source, f"no row in which both quotes are at most {max_gap_ns / 1e9:g} s old; allow more")
    ts, at_a, at_b, at_fx = ts[keep], at_a[keep], at_b[keep], at_fx[keep]
    columns = {
        "ts_ns": ts,
        "age_a_ns": age_a[keep],
        "age_b_ns": age_b[keep],
        **_side(a, at_a, "a"),
        **_side(b, at_b, "b"),
    }
    if isinstance(fx, Rates):
        columns["fx"] = fx.rate[at_fx]
    elif fx != 1.0:
        columns["fx"] = np.full(len(ts), float(fx))
    for letter, each in paid.items():
        columns[f"funding_{letter}"] = _paid(each.between(int(ts[0]), int(ts[-1])), ts)
    unpaid = sum(int((each.ts_ns < ts[0]).sum() + (each.ts_ns > ts[-1]).sum()) for each in (funding or {}).values())
    blocks = 1
    if max_gap_ns is not None:
        columns["block"] = _blocks(ts, a, b, max_gap_ns)
        blocks = int(columns["block"][-1]) + 1
    return Joined(build_quotes(columns, source)[0], len(keep) - inside, inside - len(ts), blocks, unpaid)


def _side(venue: VenueQuotes, at: IntArray, letter: str) -> dict[str, npt.NDArray[Any]]:
    """One venue's columns; sizes that it does not tell stay defaulted."""
    told = {name: column for name in _SIDE if (column := getattr(venue, name)).strides != (0,)}
    named = {f"{name}_{letter}": column[at] for name, column in told.items()}
    for name, column in venue.deeper.items():
        part, _, level = name.rpartition("_")
        named[f"{part}_{letter}_{level}"] = column[at]
    return named


def _paid(funding: Funding, ts: IntArray) -> npt.NDArray[np.float64]:
    """The column of payments, all of which are within the rows."""
    rows = np.searchsorted(ts, funding.ts_ns, side="left")
    column = np.full(len(ts), np.nan)
    column[rows] = 0.0
    np.add.at(column, rows, funding.rate)
    return column


def _blocks(ts: IntArray, a: VenueQuotes, b: VenueQuotes, max_gap_ns: int) -> IntArray:
    """Numbers from 0 that grow where a venue came back since the row above from a silence longer than the gap."""
    returns = np.zeros(len(ts), dtype=np.int64)
    for venue in (a, b):
        back = venue.ts_ns[1:][np.diff(venue.ts_ns) > max_gap_ns]
        returns += np.searchsorted(back, ts, side="right")
    return np.concatenate([[0], np.cumsum(np.diff(returns) > 0)]).astype(np.int64)


def _nothing_in_common(a: VenueQuotes, b: VenueQuotes, fx: float | Rates) -> str:
    spans = {"venue A": a.ts_ns, "venue B": b.ts_ns} | ({"the rates": fx.ts_ns} if isinstance(fx, Rates) else {})
    told = "; ".join(f"{name} {_iso(ts[0])} to {_iso(ts[-1])}" for name, ts in spans.items())
    return f"there is no time that all of them cover: {told}; name files of the same days"


def _iso(ts_ns: Any) -> str:
    return str(np.datetime64(int(ts_ns), "ns"))[:19] + "Z"
