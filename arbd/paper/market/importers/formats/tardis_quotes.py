"""Tardis' downloadable quotes (and book_ticker) CSV files: top of book of one symbol, times in microseconds.

Columns: exchange, symbol, timestamp, local_timestamp, ask_amount, ask_price, bid_price, bid_amount
(https://docs.tardis.dev/downloadable-csv-files). Rows are in order of `local_timestamp`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.symbols import one_symbol
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked
from arbd.paper.market.texttable import NUMBER, ROWS, WHOLE, TextTable

COLUMNS = (
    "exchange", "symbol", "timestamp", "local_timestamp", "ask_amount", "ask_price", "bid_price", "bid_amount",
)  # fmt: skip
_US_NS = 1_000


def read_tardis_quotes(path: Path, options: VenueOptions) -> Imported:
    """Quotes by `local_timestamp`, when they arrived where they were recorded: who trades sees no earlier time.

    A side of the book that was empty (no price) makes a bad row.
    """
    with TextTable(path) as table:
        table.require(COLUMNS, "a Tardis file of quotes")
        where = one_symbol(table, "symbol", options.symbol)
        numbers = dict.fromkeys(COLUMNS[4:], NUMBER)
        empty_sides = options.on_bad_rows == "drop"
        columns = table.read({"local_timestamp": WHOLE, **numbers}, where, empty=numbers if empty_sides else ())
    times = columns["local_timestamp"]
    limit = np.iinfo(np.int64).max // _US_NS
    if len(times) and int(np.abs(times).max()) > limit:
        row = int(np.abs(times).argmax())
        raise DataError(path, f"local_timestamp is {int(times[row])}, beyond the year 2262 in us", row + 1)
    quotes = {
        "ts_ns": times * _US_NS,
        "bid": columns["bid_price"],
        "ask": columns["ask_price"],
        "bid_size": columns["bid_amount"],
        "ask_size": columns["ask_amount"],
    }
    return checked(path, quotes, options.on_bad_rows, rows=columns.get(ROWS))


IMPORTER = Importer(summary="Tardis' quotes and book_ticker files.", read=read_tardis_quotes)
