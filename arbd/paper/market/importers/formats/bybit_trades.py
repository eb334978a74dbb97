"""Bybit's public trade dumps (public.bybit.com): `trading/` of derivatives, in s, and `spot/`, in ms.

Derivatives: timestamp,symbol,side,size,price,...; old files are newest first. Spot: id,timestamp,price,volume,side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.importers.candles import quotes_of_trades
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.symbols import one_symbol
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.paper.market.quotes import IntArray
from arbd.paper.market.texttable import NUMBER, TEXT, TextTable

MARKS = ("timestamp", "price", "side")


def read_bybit_trades(path: Path, options: VenueOptions) -> Imported:
    """A file's trades as quotes of their price minus and plus the half-spread."""
    with TextTable(path) as table:
        table.require((*MARKS, "volume" if table.has("volume") else "size"), "a Bybit trade dump")
        where = one_symbol(table, "symbol", options.symbol) if table.has("symbol") else None
        columns = table.read({"timestamp": TEXT, "price": NUMBER}, where)
    ts_ns = _times(path, columns["timestamp"].tolist())
    price = columns["price"]
    if len(ts_ns) > 1 and ts_ns[0] > ts_ns[-1]:
        # Newest first: of trades at one time the upper one is the later one.
        ts_ns, price = ts_ns[::-1], price[::-1]
    return quotes_of_trades(path, ts_ns, price, options)


def _times(path: Path, texts: list[str | None]) -> IntArray:
    """Exact: a time in seconds with decimals has more digits than a float keeps."""
    found = np.empty(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        whole, _, decimals = (text or "").strip().partition(".")
        # Seconds have 10 digits, milliseconds 13.
        unit = {10: 9, 13: 6}.get(len(whole), -1)
        if unit < 0 or not whole.isdecimal() or (decimals and not decimals.isdecimal()):
            raise DataError(path, f"timestamp is {text!r:.100}, a time neither in s nor in ms since 1970", row + 1)
        found[row] = int(whole) * 10**unit + int(decimals[:unit].ljust(unit, "0") or 0)
    return found


IMPORTER = Importer(
    summary="Bybit's public trade dumps (derivatives and spot).", read=read_bybit_trades, candles=True, marks=MARKS
)
