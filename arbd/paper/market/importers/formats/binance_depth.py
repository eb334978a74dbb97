"""Binance's depth: snapshots and updates of the T_DEPTH dumps as CSV, and recorded snapshots as JSON lines.

CSV: symbol, timestamp (ms), first_update_id, last_update_id, side (b, a), update_type (snap, set), price, qty, pu; the
rows of one message follow one another. JSON: an answer of /depth or a message of the streams @depth5, 10, 20, whose time
is T, E, or (spot tells none) a receive time in ns in front of the line or in `local_timestamp`. Snapshots that ccxt's
fetch_order_book gives are read alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.importers.book import BookReplay
from arbd.paper.market.importers.documents import integer, is_json, lines_of
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.symbols import one_symbol
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked
from arbd.paper.market.texttable import NUMBER, ROWS, TEXT, WHOLE, TextTable
from arbd.paper.market.times import nanoseconds

MARKS = ("symbol", "timestamp", "last_update_id", "side", "update_type", "price", "qty")
_TIMES = {"local_timestamp": 1, "T": 1_000_000, "E": 1_000_000, "timestamp": 1_000_000}


def read_binance_depth(path: Path, options: VenueOptions) -> Imported:
    """The book after each message that changed the levels kept."""
    book = BookReplay(path, options.levels)
    if is_json(path):
        for row, ts_ns, message in _messages(path):
            bids, asks = (message.get(long, message.get(short)) for long, short in (("bids", "b"), ("asks", "a")))
            if not isinstance(bids, list) or not isinstance(asks, list):
                raise DataError(path, "is no depth snapshot: it has no bids and asks", row)
            if message.get("e") == "depthUpdate" and message.get("pu") is not None and not _partial(message):
                raise DataError(path, "is an update of a diff stream (@depth), not a snapshot (@depth20)", row)
            book.message(ts_ns, row, snapshot=True, bids=bids, asks=asks)
    else:
        _play_csv(path, options, book)
    columns, rows = book.columns()
    done = checked(path, columns, options.on_bad_rows, rows=rows)
    return Imported(done.quotes, (*book.notes(), *done.notes))


def _partial(message: dict[str, Any]) -> bool:
    """Whether a depthUpdate is of a stream of 5, 10 or 20 levels: those tell all of them, both sides alike."""
    return len(message["b"]) == len(message["a"]) and len(message["b"]) in (5, 10, 20)


def _messages(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    for row, line in lines_of(path):
        received, _, rest = line.partition(b" ")
        own = int(received) if received.isdigit() and len(received) <= 19 else None
        try:
            message = json.loads(rest if own is not None else line)
        except (ValueError, RecursionError):
            raise DataError(path, "is not JSON in UTF-8", row) from None
        if isinstance(message, dict) and isinstance(message.get("data"), dict):
            message = message["data"] | {k: v for k, v in message.items() if k in _TIMES}
        if not isinstance(message, dict):
            raise DataError(path, "is no depth snapshot: it has no bids and asks", row)
        name = next((name for name in _TIMES if message.get(name) is not None), None)
        if own is None and name is None:
            raise DataError(
                path,
                "tells no time: put when it was received, in ns since 1970, and a blank in front of each line, or into "
                "local_timestamp",
                row,
            )
        ts_ns = own if own is not None or name is None else integer(path, message[name], name, row) * _TIMES[name]
        assert ts_ns is not None
        yield row, ts_ns, message


def _play_csv(path: Path, options: VenueOptions, book: BookReplay) -> None:
    kinds = {"timestamp": WHOLE, "last_update_id": WHOLE, "side": TEXT, "update_type": TEXT, "price": NUMBER}
    with TextTable(path) as table:
        table.require(MARKS, "a T_DEPTH dump")
        where = one_symbol(table, "symbol", options.symbol)
        columns = table.read(kinds | {"qty": NUMBER}, where)
    n = len(columns["price"])
    for name, known in (("side", ("b", "a")), ("update_type", ("snap", "set"))):
        odd = ~np.isin(columns[name], known)
        if odd.any():
            row = int(odd.argmax())
            raise DataError(path, f"{name} is {columns[name][row]!r:.100}, not one of {', '.join(known)}", row + 1)
    snap = columns["update_type"] == "snap"
    if not snap.any():
        raise DataError(path, "holds updates but no snapshot (update_type snap): put the snapshot's rows before them")
    ts, ids = columns["timestamp"], columns["last_update_id"]
    first = int(snap.argmax())
    new = (ts[1:] != ts[:-1]) | (ids[1:] != ids[:-1]) | (snap[1:] != snap[:-1])
    ends = np.append(np.flatnonzero(new) + 1, n)
    begins = np.append(0, ends[:-1])
    kept = begins >= first
    ends, begins = ends[kept] - first, begins[kept]
    numbers = columns.get(ROWS, np.arange(1, n + 1))
    changes = np.stack([(columns["side"] == "b").astype(np.float64), columns["price"], columns["qty"]], axis=1)
    book.arrays(nanoseconds(ts, "ts_ms", path)[begins], numbers[begins], snap[begins], ends, changes[first:])
    if first:
        book.note(f"{first:,} rows before the first snapshot left out")


IMPORTER = Importer(
    summary="Binance's depth snapshots (and updates after one), with levels.", read=read_binance_depth, marks=MARKS
)
