"""Any recording of one venue: a time column, bid and ask, perhaps sizes and levels (`bid_2`, ...), as CSV, Parquet, NPZ."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

from arbd.errors import DataError
from arbd.named_file import opened
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.pieces import VenuePiece
from arbd.paper.market.importers.venue import VenueOptions
from arbd.paper.market.levels import VENUE_LEVEL_COLUMNS, level_names
from arbd.paper.market.quotes import check_shapes
from arbd.paper.market.readers import column_chunks

NAMES = ("bid", "ask", "bid_size", "ask_size")


def pieces_of_quotes_of_venue(path: Path, options: VenueOptions) -> Generator[VenuePiece, None, None]:
    """Quotes of one venue. Time columns are those of quotes files (`ts_ns`, `ts_us`, `ts_ms`, `ts_s` or `ts`)."""
    kept = {name for level in range(2, options.levels + 1) for name in level_names("", level)}
    names = (*NAMES, *VENUE_LEVEL_COLUMNS)
    with opened(path) as file, contextlib.closing(column_chunks(file, names, "quotes of one venue")) as chunks:
        for columns in chunks:
            check_shapes(columns, path)
            missing = [name for name in ("bid", "ask") if name not in columns]
            if missing:
                raise DataError(
                    path, f"no column {', '.join(missing)}; quotes of one venue have a time column, bid and ask"
                )
            yield VenuePiece(
                {name: column for name, column in columns.items() if name in kept or name not in VENUE_LEVEL_COLUMNS}
            )


IMPORTER = Importer(
    summary="Any recording of one venue: a time column, bid and ask, perhaps sizes and levels.",
    pieces=pieces_of_quotes_of_venue,
    own_clock=True,
)
