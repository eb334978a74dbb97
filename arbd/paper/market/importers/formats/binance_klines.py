"""Binance's public klines (data.binance.vision): candles as CSV or zip, with a header or without.

Layout: https://github.com/binance/binance-public-data. Spot files before 2025 are in ms, since 2025 in us;
futures files have a header and are in ms.
"""

from __future__ import annotations

from pathlib import Path

from arbd.errors import DataError
from arbd.paper.market.importers.binance_times import unit_ns
from arbd.paper.market.importers.candles import quotes_of_candles
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.paper.market.texttable import NUMBER, WHOLE, TextTable

LAYOUT = (
    "open_time", "open", "high", "low", "close", "volume", "close_time",
    "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore",
)  # fmt: skip


def read_binance_klines(path: Path, options: VenueOptions) -> Imported:
    """A file's closes as quotes from the end of each kline on (one unit after its `close_time`)."""
    with TextTable(path, LAYOUT) as table:
        table.require(("open_time", "close", "close_time"), "a file of klines")
        kinds = {"open_time": WHOLE, "close": NUMBER, "close_time": WHOLE}
        columns = table.read(kinds | ({"volume": NUMBER} if table.has("volume") else {}))
    closes, opens = columns["close_time"], columns["open_time"]
    if (closes < opens).any():
        row = int((closes < opens).argmax())
        raise DataError(path, f"close_time {int(closes[row])} is before open_time {int(opens[row])}", row + 1)
    unit = unit_ns(closes, "close_time", path)
    volume, length_ns = columns.get("volume"), (closes + 1 - opens) * unit
    return quotes_of_candles(path, (closes + 1) * unit, columns["close"], options, volume=volume, length_ns=length_ns)


IMPORTER = Importer(
    summary="Binance's public klines: candles.",
    read=read_binance_klines,
    candles=True,
    marks=("open_time", "close", "close_time"),
)
