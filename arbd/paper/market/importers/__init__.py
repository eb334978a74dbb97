"""Market data in the formats that exchanges and vendors give away, made into quotes of two venues.

One file per format reads one venue (`VenueQuotes`), see `formats`; `join` puts two of them on one clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from arbd.errors import DataError
from arbd.paper.market.importers.formats import FORMATS
from arbd.paper.market.importers.join import Joined, join_venues
from arbd.paper.market.importers.rates import Rates, rates_of_quotes, read_rates
from arbd.paper.market.importers.venue import Imported, VenueOptions, VenueQuotes, in_sequence
from arbd.paper.market.times import clock_note, iso


def import_venue(format_name: str, paths: Sequence[Path], options: VenueOptions | None = None) -> Imported:
    """Quotes of one venue from one or several files, in any order; DataError or UsageError when they are no good."""
    importer, chosen = FORMATS.get(format_name), options or VenueOptions()
    parts = [(Path(path), importer.read(Path(path), chosen)) for path in paths]
    return in_sequence([(path, _dated(path, part, own=importer.own_clock)) for path, part in parts])


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
