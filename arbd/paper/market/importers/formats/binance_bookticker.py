"""Binance's public bookTicker dumps (futures, data.binance.vision): every change of the touch, as CSV or zip."""

from __future__ import annotations

from pathlib import Path

from arbd.paper.market.importers.binance_times import unit_ns
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked
from arbd.paper.market.texttable import NUMBER, WHOLE, TextTable

LAYOUT = (
    "update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "transaction_time", "event_time",
)  # fmt: skip


def read_binance_bookticker(path: Path, options: VenueOptions) -> Imported:
    """Quotes by `transaction_time`, when the matching engine made them. Files mix rows up: `update_id` sorts them."""
    with TextTable(path, LAYOUT) as table:
        table.require(LAYOUT[:6], "a bookTicker dump")
        columns = table.read(
            {name: WHOLE if name in ("update_id", "transaction_time") else NUMBER for name in LAYOUT[:6]}
        )
    times = columns["transaction_time"]
    quotes = {
        "ts_ns": times * unit_ns(times, "transaction_time", path),
        "bid": columns["best_bid_price"],
        "ask": columns["best_ask_price"],
        "bid_size": columns["best_bid_qty"],
        "ask_size": columns["best_ask_qty"],
    }
    return checked(path, quotes, options.on_bad_rows, sequence=columns["update_id"])


IMPORTER = Importer(
    summary="Binance's public bookTicker dumps (futures): every change of the touch.",
    read=read_binance_bookticker,
    marks=LAYOUT[:5],
)
