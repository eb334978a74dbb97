"""A touch for candles, which have none: the close and a half-spread that whoever imports them must name."""

from __future__ import annotations

from pathlib import Path

from arbd.errors import UsageError
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked
from arbd.paper.market.quotes import FloatArray, IntArray


def quotes_of_candles(
    path: Path, end_ns: IntArray, close: FloatArray, options: VenueOptions, *, sequence: IntArray | None = None
) -> Imported:
    """The close minus and plus the half-spread, from the candle's end on: before that, its close is not known."""
    half = options.half_spread_bps
    if half is None:
        raise UsageError(
            f"{path}: candles tell no bid and ask; say how far they were from the close "
            "(half_spread_bps, --half-spread-a-bps, --half-spread-b-bps), for example half the usual spread"
        )
    if not 0 <= half < 10_000:
        raise UsageError(f"the half-spread is {half:g} bps; it can be 0 to less than 10000 bps")
    columns = {"ts_ns": end_ns, "bid": close * (1 - half / 1e4), "ask": close * (1 + half / 1e4)}
    done = checked(path, columns, options.on_bad_rows, sequence=sequence)
    note = f"{len(done.quotes):,} candles, each known at its end; bid and ask are its close -/+ {half:g} bps, sizes unlimited"
    return Imported(done.quotes, (note, *done.notes))
