"""Binance's public bookTicker dumps (futures, data.binance.vision): every change of the touch, as CSV or zip."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from arbd.paper.market.importers.binance_times import unit_ns
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.pieces import VenuePiece
from arbd.paper.market.importers.venue import VenueOptions
from arbd.paper.market.readers import text_pieces
from arbd.paper.market.texttable import NUMBER, WHOLE, TextTable

LAYOUT = (
    "update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "transaction_time", "event_time",
)  # fmt: skip


def pieces_of_binance_bookticker(path: Path, options: VenueOptions) -> Generator[VenuePiece, None, None]:
    """Quotes by `transaction_time`, when the matching engine made them. Files mix rows up: `update_id` sorts them."""
    kinds = {name: WHOLE if name in ("update_id", "transaction_time") else NUMBER for name in LAYOUT[:6]}
    with TextTable(path, LAYOUT) as table:
        table.require(LAYOUT[:6], "a bookTicker dump")
        seen = 0
        for columns in text_pieces(table, kinds):
            times = columns["transaction_time"]
            quotes = {
                "ts_ns": times * unit_ns(times, "transaction_time", path, seen),
                "bid": columns["best_bid_price"],
                "ask": columns["best_ask_price"],
                "bid_size": columns["best_bid_qty"],
                "ask_size": columns["best_ask_qty"],
            }
            seen += len(times)
            yield VenuePiece(quotes, sequence=columns["update_id"])


IMPORTER = Importer(
    summary="Binance's public bookTicker dumps (futures): every change of the touch.",
    pieces=pieces_of_binance_bookticker,
    marks=LAYOUT[:5],
)
