"""Bybit's public order book dumps: DAY_SYMBOL_ob500.data(.zip), one message of the stream orderbook.DEPTH.SYMBOL a line.

A message: topic, type (snapshot or delta), ts in ms, data: s, b and a ([price, size] as texts, size 0 removes), u, seq.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arbd.errors import DataError
from arbd.paper.market.importers.book import BookReplay
from arbd.paper.market.importers.documents import documents, integer
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.symbols import chosen_symbol
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked

MARKS = ("topic", "type", "ts", "data")


def read_bybit_orderbook(path: Path, options: VenueOptions) -> Imported:
    """The book after each message that changed the levels kept, by `ts`, when the exchange made the message."""
    book = BookReplay(path, options.levels)
    symbols: set[str] = set()
    update, lost = 0, 0
    for row, message in documents(path):
        data = message.get("data") if isinstance(message, dict) else None
        if not isinstance(data, dict) or message.get("type") not in ("snapshot", "delta"):
            raise DataError(path, "is no message of a Bybit order book: topic, type, ts, data", row)
        symbol = str(data.get("s"))
        symbols.add(symbol)
        if options.symbol is not None and symbol != options.symbol:
            continue
        snapshot = message["type"] == "snapshot"
        number = integer(path, data.get("u", 0), "u", row)
        lost += not snapshot and number != update + 1 and update > 0
        update = number
        ts_ns = integer(path, message.get("ts"), "ts", row) * 1_000_000
        book.message(ts_ns, row, snapshot=snapshot, bids=_levels(data, "b"), asks=_levels(data, "a"))
    chosen_symbol(path, "symbol", sorted(symbols), options.symbol)
    columns, rows = book.columns()
    done = checked(path, columns, options.on_bad_rows, rows=rows)
    gaps = (
        (f"{lost:,} places where updates are missing: the book may be wrong until the next snapshot",) if lost else ()
    )
    return Imported(done.quotes, (*book.notes(), *gaps, *done.notes))


def _levels(data: dict[str, Any], side: str) -> Any:
    return data.get(side) or ()


IMPORTER = Importer(summary="Bybit's public order book dumps, with levels.", read=read_bybit_orderbook, marks=MARKS)
