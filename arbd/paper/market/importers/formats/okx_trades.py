"""OKX's public trade dumps: INSTRUMENT-trades-DAY.zip, as CSV.

Columns: instrument_name, trade_id, side, price, size, created_time (ms); older files have no instrument_name, and every
name twice (`price/...` with the Chinese name behind the stroke).
"""

from __future__ import annotations

from pathlib import Path

from arbd.paper.market.importers.candles import quotes_of_trades
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.symbols import one_symbol
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.paper.market.texttable import NUMBER, WHOLE, TextTable
from arbd.paper.market.times import nanoseconds

MARKS = ("trade_id", "side", "price", "created_time")


def read_okx_trades(path: Path, options: VenueOptions) -> Imported:
    """A file's trades as quotes of their price minus and plus the half-spread."""
    with TextTable(path, short_names=True) as table:
        table.require(MARKS, "an OKX trade dump")
        where = one_symbol(table, "instrument_name", options.symbol) if table.has("instrument_name") else None
        columns = table.read({"created_time": WHOLE, "price": NUMBER}, where)
    return quotes_of_trades(path, nanoseconds(columns["created_time"], "ts_ms", path), columns["price"], options)


IMPORTER = Importer(summary="OKX's public trade dumps.", read=read_okx_trades, candles=True, marks=MARKS)
