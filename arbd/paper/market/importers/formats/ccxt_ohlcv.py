"""Candles as ccxt's fetch_ohlcv gives them: lists of [time in ms, open, high, low, close, volume], as JSON or CSV.

The time is a candle's start (https://docs.ccxt.com, "OHLCV structure"). CSV has a header of these names or none; the
candles of other vendors, whose times may be ISO 8601 in a column `date`, with capitals too, are read as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.importers.candles import candle_length_ns, quotes_of_candles
from arbd.paper.market.importers.documents import answer, document, integer, is_json, number
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.market.texttable import NUMBER, TEXT, WHOLE, TextTable
from arbd.paper.market.times import TIME_NAMES, TIME_UNITS, nanoseconds, parsed_texts

LAYOUT = ("timestamp", "open", "high", "low", "close", "volume")
TIMES = ("timestamp", "date", "datetime", "time", *TIME_NAMES)


def read_ccxt_ohlcv(path: Path, options: VenueOptions) -> Imported:
    """A file's closes as quotes from each candle's end on; rows may stand in any order."""
    start_ns, close, volume = _from_json(path) if is_json(path) else _from_csv(path)
    length_ns = candle_length_ns(path, start_ns, options)
    rows = np.arange(len(close))
    return quotes_of_candles(
        path, start_ns + length_ns, close, options, sequence=rows, volume=volume, length_ns=length_ns
    )


def _from_csv(path: Path) -> tuple[IntArray, FloatArray, FloatArray]:
    with TextTable(path, LAYOUT) as table:
        # Vendors and spreadsheets write the same names with capitals.
        called = {name.casefold(): name for name in reversed(table.names)}
        time = next((called[name] for name in TIMES if name in called), "timestamp")
        close, volume = called.get("close", "close"), called.get("volume", "volume")
        table.require((time, close, volume), "a file of candles")
        text = table.read({time: TEXT})[time]
        whole = all(str(each).strip().isdecimal() for each in text[:1])
        columns = table.read({close: NUMBER, volume: NUMBER} | ({time: WHOLE} if whole else {}))
    unit = time.casefold() if time.casefold() in TIME_UNITS else "ts_ms"
    starts = nanoseconds(columns[time], unit, path) if whole else parsed_texts(text.tolist(), time, path)
    return starts, columns[close], columns[volume]


def _from_json(path: Path) -> tuple[IntArray, FloatArray, FloatArray]:
    found = document(path)
    rows: list[Any] = [found] if _is_candle(found) else answer(path, found)
    if rows and all(isinstance(each, list) and each and _is_candle(each[0]) for each in rows):
        rows = [row for page in rows for row in page]  # pages of several calls
    times, closes, volumes = [], [], []
    for row, candle in enumerate(rows, 1):
        if not _is_candle(candle):
            raise DataError(path, "is no ccxt candle: [time in ms, open, high, low, close, volume]", row)
        times.append(integer(path, candle[0], "the time", row))
        closes.append(number(path, candle[4], "close", row))
        volumes.append(number(path, candle[5], "volume", row) if candle[5] is not None else float("nan"))
    return nanoseconds(np.array(times, dtype=np.int64), "ts_ms", path), np.array(closes), np.array(volumes)


def _is_candle(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 6 and not any(isinstance(cell, list | dict) for cell in value)


IMPORTER = Importer(
    summary="Candles of ccxt's fetch_ohlcv, as JSON or CSV; CSV of other vendors with a time, close and volume.",
    read=read_ccxt_ohlcv,
    candles=True,
    marks=LAYOUT,
)
