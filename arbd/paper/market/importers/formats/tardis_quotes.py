"""Tardis' downloadable quotes (and book_ticker) CSV files: top of book of one symbol, times in microseconds.

Columns: exchange, symbol, timestamp, local_timestamp, ask_amount, ask_price, bid_price, bid_amount
(https://docs.tardis.dev/downloadable-csv-files). Rows are in order of `local_timestamp`.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.pieces import VenuePiece
from arbd.paper.market.importers.symbols import one_symbol
from arbd.paper.market.importers.venue import VenueOptions
from arbd.paper.market.readers import text_pieces
from arbd.paper.market.texttable import NUMBER, ROWS, WHOLE, TextTable

COLUMNS = (
    "exchange", "symbol", "timestamp", "local_timestamp", "ask_amount", "ask_price", "bid_price", "bid_amount",
)  # fmt: skip
_US_NS = 1_000


def pieces_of_tardis_quotes(path: Path, options: VenueOptions) -> Generator[VenuePiece, None, None]:
    """Quotes by `local_timestamp`, when they arrived where they were recorded: who trades sees no earlier time.

    A side of the book that was empty (no price) makes a bad row.
    """
    with TextTable(path) as table:
        table.require(COLUMNS, "a Tardis file of quotes")
        where = one_symbol(table, "symbol", options.symbol)
        numbers = dict.fromkeys(COLUMNS[4:], NUMBER)
        empty = tuple(numbers) if options.on_bad_rows == "drop" else ()
        seen = 0
        for columns in text_pieces(table, {"local_timestamp": WHOLE, **numbers}, where, empty):
            times = columns["local_timestamp"]
            rows = columns.get(ROWS, np.arange(seen + 1, seen + len(times) + 1))
            seen += len(times)
            limit = np.iinfo(np.int64).max // _US_NS
            if len(times) and int(np.abs(times).max()) > limit:
                at = int(np.abs(times).argmax())
                raise DataError(path, f"local_timestamp is {int(times[at])}, beyond the year 2262 in us", int(rows[at]))
            quotes = {
                "ts_ns": times * _US_NS,
                "bid": columns["bid_price"],
                "ask": columns["ask_price"],
                "bid_size": columns["bid_amount"],
                "ask_size": columns["ask_amount"],
            }
            yield VenuePiece(quotes, rows=rows)


IMPORTER = Importer(summary="Tardis' quotes and book_ticker files.", pieces=pieces_of_tardis_quotes)
