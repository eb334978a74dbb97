"""Market data in the formats that exchanges and vendors give away, made into quotes of two venues.

One file per format reads one venue (`VenueQuotes`); `join` puts two of them on one clock.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from arbd.errors import DataError, UsageError
from arbd.paper.market.importers.binance_bookticker import read_binance_bookticker
from arbd.paper.market.importers.binance_klines import read_binance_klines
from arbd.paper.market.importers.join import Joined, join_venues
from arbd.paper.market.importers.rates import Rates, rates_of_quotes, read_rates
from arbd.paper.market.importers.single_venue import read_single_venue
from arbd.paper.market.importers.tardis_quotes import read_tardis_quotes
from arbd.paper.market.importers.upbit_candles import read_upbit_candles
from arbd.paper.market.importers.venue import Imported, VenueOptions, VenueQuotes, in_sequence
from arbd.paper.market.times import clock_note, iso

FORMATS: Mapping[str, Callable[[Path, VenueOptions], Imported]] = {
    "binance-bookticker": read_binance_bookticker,
    "binance-klines": read_binance_klines,
    "quotes": read_single_venue,
    "tardis-quotes": read_tardis_quotes,
    "upbit-candles": read_upbit_candles,
}


def import_venue(format_name: str, paths: Sequence[Path], options: VenueOptions | None = None) -> Imported:
    """Quotes of one venue from one or several files, in any order; DataError or UsageError when they are no good."""
    if format_name not in FORMATS:
        near = difflib.get_close_matches(format_name, FORMATS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"unknown format {format_name!r}; {hint}known are {', '.join(FORMATS)}")
    read = FORMATS[format_name]
    parts = [(Path(path), read(Path(path), options or VenueOptions())) for path in paths]
    return in_sequence([(path, _dated(path, part, own=format_name == "quotes")) for path, part in parts])


def _dated(path: Path, part: Imported, *, own: bool) -> Imported:
    """An exchange's own times are dates; a recording of one's own may count from any time, which is told."""
    note = clock_note(part.quotes.ts_ns)
    if note is None:
        return part
    if not own:
        raise DataError(
            path, f"its times begin at {iso(int(part.quotes.ts_ns[0]))}, when no such market was: is it whole?"
        )
    return Imported(part.quotes, (*part.notes, note))


__all__ = [
    "FORMATS",
    "Imported",
    "Joined",
    "Rates",
    "VenueOptions",
    "VenueQuotes",
    "import_venue",
    "join_venues",
    "rates_of_quotes",
    "read_rates",
]
