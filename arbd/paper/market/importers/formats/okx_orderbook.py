"""OKX's public order book dumps: INSTRUMENT-L2orderbook-400lv-DAY.tar.gz, one JSON message a line.

A message: instId, action (snapshot or update), ts in ms, bids and asks ([price, size, orders] as texts, size 0 removes).
Sizes of derivatives are in contracts.
"""

from __future__ import annotations

from pathlib import Path

from arbd.errors import DataError
from arbd.paper.market.importers.book import BookReplay
from arbd.paper.market.importers.documents import documents, integer
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.symbols import chosen_symbol
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked

MARKS = ("instId", "action", "ts", "bids", "asks")


def read_okx_orderbook(path: Path, options: VenueOptions) -> Imported:
    """The book after each message that changed the levels kept, by `ts`."""
    book = BookReplay(path, options.levels)
    symbols: set[str] = set()
    for row, message in documents(path):
        if not isinstance(message, dict) or message.get("action") not in ("snapshot", "update"):
            raise DataError(path, "is no message of an OKX order book: instId, action, ts, bids, asks", row)
        symbol = str(message.get("instId"))
        symbols.add(symbol)
        if options.symbol is not None and symbol != options.symbol:
            continue
        ts_ns = integer(path, message.get("ts"), "ts", row) * 1_000_000
        bids, asks = message.get("bids") or (), message.get("asks") or ()
        book.message(ts_ns, row, snapshot=message["action"] == "snapshot", bids=bids, asks=asks)
    chosen = chosen_symbol(path, "instId", sorted(symbols), options.symbol)
    columns, rows = book.columns()
    done = checked(path, columns, options.on_bad_rows, rows=rows)
    contracts = ("sizes are in contracts, not in base units",) if chosen.count("-") > 1 else ()
    return Imported(done.quotes, (*book.notes(), *contracts, *done.notes))


IMPORTER = Importer(summary="OKX's public order book dumps, with levels.", read=read_okx_orderbook, marks=MARKS)
