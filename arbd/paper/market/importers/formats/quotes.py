"""Any recording of one venue: a time column, bid and ask, perhaps sizes and levels (`bid_2`, ...), as CSV, Parquet, NPZ."""

from __future__ import annotations

from pathlib import Path

from arbd.errors import DataError
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked
from arbd.paper.market.levels import VENUE_LEVEL_COLUMNS, level_names
from arbd.paper.market.readers import read_columns

NAMES = ("bid", "ask", "bid_size", "ask_size")


def read_quotes_of_venue(path: Path, options: VenueOptions) -> Imported:
    """Quotes of one venue. Time columns are those of quotes files (`ts_ns`, `ts_us`, `ts_ms`, `ts_s` or `ts`)."""
    columns = read_columns(path, (*NAMES, *VENUE_LEVEL_COLUMNS), "quotes of one venue")
    missing = [name for name in ("bid", "ask") if name not in columns]
    if missing:
        raise DataError(path, f"no column {', '.join(missing)}; quotes of one venue have a time column, bid and ask")
    kept = {name for level in range(2, options.levels + 1) for name in level_names("", level)}
    columns = {name: column for name, column in columns.items() if name in kept or name not in VENUE_LEVEL_COLUMNS}
    return checked(path, columns, options.on_bad_rows)


IMPORTER = Importer(
    summary="Any recording of one venue: a time column, bid and ask, perhaps sizes and levels.",
    read=read_quotes_of_venue,
    own_clock=True,
)
