"""Bybit's candles: answers of /v5/market/kline as JSON, and the files of kline_for_metatrader4 of public.bybit.com.

An answer has result.list of [start in ms, open, high, low, close, volume, turnover], newest first. The other files have
no header, times like `2022.01.01 00:03`, and their clock is three hours ahead of UTC.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.importers.candles import candle_length_ns, quotes_of_candles
from arbd.paper.market.importers.documents import answer, document, integer, is_json, number
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.market.texttable import NUMBER, TEXT, TextTable
from arbd.paper.market.times import nanoseconds, parsed_texts

LAYOUT = ("time", "open", "high", "low", "close", "volume")
AHEAD_NS = 3 * 3600 * 10**9
_TIME = re.compile(r"(\d{4})\.(\d\d)\.(\d\d) (\d\d:\d\d)", re.ASCII)


def read_bybit_klines(path: Path, options: VenueOptions) -> Imported:
    """A file's closes as quotes from each candle's end on; rows may stand in any order."""
    start_ns, close, volume = _from_json(path) if is_json(path) else _from_csv(path)
    length_ns = candle_length_ns(path, start_ns, options)
    rows = np.arange(len(close))
    return quotes_of_candles(
        path, start_ns + length_ns, close, options, sequence=rows, volume=volume, length_ns=length_ns
    )


def _from_json(path: Path) -> tuple[IntArray, FloatArray, FloatArray]:
    times, closes, volumes = [], [], []
    for row, candle in enumerate(answer(path, document(path), "result", "list"), 1):
        if not isinstance(candle, list) or len(candle) < 6:
            raise DataError(path, "is no Bybit candle: [start in ms, open, high, low, close, volume, turnover]", row)
        times.append(integer(path, candle[0], "the start", row))
        closes.append(number(path, candle[4], "close", row))
        volumes.append(number(path, candle[5], "volume", row))
    return nanoseconds(np.array(times, dtype=np.int64), "ts_ms", path), np.array(closes), np.array(volumes)


def _from_csv(path: Path) -> tuple[IntArray, FloatArray, FloatArray]:
    with TextTable(path, LAYOUT, headless=True) as table:
        columns = table.read({"time": TEXT, "close": NUMBER, "volume": NUMBER})
    texts = []
    for row, text in enumerate(columns["time"].tolist(), 1):
        found = _TIME.fullmatch(str(text).strip())
        if found is None:
            raise DataError(path, f"the time is {text!r:.100}, not like 2022.01.01 00:03", row)
        texts.append(f"{found[1]}-{found[2]}-{found[3]}T{found[4]}")
    return parsed_texts(texts, "time", path) - AHEAD_NS, columns["close"], columns["volume"]


IMPORTER = Importer(
    summary="Bybit's candles: answers of its API, and dumps for MetaTrader 4.", read=read_bybit_klines, candles=True
)
