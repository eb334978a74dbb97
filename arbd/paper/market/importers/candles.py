"""A touch for candles and trades, which have none: a price and a half-spread that whoever imports them must name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError, UsageError
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked
from arbd.paper.market.quotes import FloatArray, IntArray


def quotes_of_candles(
    path: Path,
    end_ns: IntArray,
    close: FloatArray,
    options: VenueOptions,
    *,
    sequence: IntArray | None = None,
    volume: FloatArray | None = None,
    length_ns: int | IntArray = 0,
) -> Imported:
    """The close minus and plus the half-spread, from the candle's end on: before that, its close is not known.

    A candle in which nothing was traded (`volume` 0) only repeats the price before it: it is left out, so that the quote's
    age says how old that price is. `length_ns` is how long candles are.
    """
    traded = np.ones(len(close), dtype=np.bool_) if volume is None else ~(volume == 0)
    if len(close) and not traded.any():
        raise DataError(path, f"tells no trade: the volume of all {len(close):,} candles is 0")
    still = int((~traded).sum())
    rows = np.flatnonzero(traded) + 1
    own = None if sequence is None else sequence[traded]
    done = _around(path, end_ns[traded], close[traded], options, sequence=own, rows=rows)
    half = options.half_spread_bps
    note = f"{len(done.quotes):,} candles, each known at its end; bid and ask are its close -/+ {half:g} bps, sizes unlimited"
    notes = [note, *done.notes]
    if still:
        notes.insert(1, f"{still:,} candles without a trade left out: their price is an old one")
    step_ns = int(np.max(length_ns)) if np.size(length_ns) else 0
    return Imported(done.quotes, tuple(notes), step_ns)


def quotes_of_trades(path: Path, ts_ns: IntArray, price: FloatArray, options: VenueOptions) -> Imported:
    """Every trade's price minus and plus the half-spread, in order of time."""
    done = _around(path, ts_ns, price, options, sequence=np.arange(len(price)), what="trades tell")
    note = (
        f"{len(done.quotes):,} trades; bid and ask are their price -/+ {options.half_spread_bps:g} bps, sizes unlimited"
    )
    return Imported(done.quotes, (note, *done.notes))


def _around(
    path: Path,
    ts_ns: IntArray,
    price: FloatArray,
    options: VenueOptions,
    *,
    sequence: IntArray | None = None,
    rows: IntArray | None = None,
    what: str = "candles tell",
) -> Imported:
    half = options.half_spread_bps
    if half is None:
        raise UsageError(
            f"{path}: {what} no bid and ask; say how far they were from the price "
            "(half_spread_bps, --half-spread-a-bps, --half-spread-b-bps), for example half the usual spread"
        )
    if not 0 <= half < 10_000:
        raise UsageError(f"the half-spread is {half:g} bps; it can be 0 to less than 10000 bps")
    columns: Mapping[str, npt.NDArray[np.generic]] = {
        "ts_ns": ts_ns,
        "bid": price * (1 - half / 1e4),
        "ask": price * (1 + half / 1e4),
    }
    return checked(path, columns, options.on_bad_rows, sequence=sequence, rows=rows)


def candle_length_ns(path: Path, start_ns: IntArray, options: VenueOptions) -> int:
    """How long candles that do not tell it are: what was named, else the distance that most neighbours have."""
    if options.candle_s is not None:
        return round(options.candle_s * 1e9)
    steps = np.diff(np.unique(start_ns))
    if not len(steps):
        raise UsageError(f"{path}: a single candle does not tell how long it is; say so (candle_s, --candle-s)")
    found, counts = np.unique(steps, return_counts=True)
    return int(found[counts.argmax()])


def missing_candles(ts_ns: IntArray, step_ns: int) -> str | None:
    """What to say of candles that are not there, None where none are missing."""
    if step_ns <= 0:
        return None
    steps = np.diff(ts_ns)
    holes = steps[steps > step_ns * 1.5]
    if not len(holes):
        return None
    missing = int((np.rint(holes / step_ns) - 1).sum())
    return (
        f"{missing:,} candles are missing in {len(holes):,} places, the longest {holes.max() / 1e9:g} s: the price before "
        "stands there and grows old (age columns, max_quote_age_s); --max-gap-s makes such places gaps"
    )
