"""OKX's candles: answers of /api/v5/market/candles and history-candles as JSON, and the CSV of its public dumps.

An answer has data of [start in ms, open, high, low, close, vol, volCcy, volCcyQuote, confirm], newest first. Dumps have
instrument_name, open, high, low, close, vol, vol_ccy, vol_quote, open_time, confirm. A candle that is not confirmed is
not over: it is left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.importers.candles import candle_length_ns, quotes_of_candles
from arbd.paper.market.importers.documents import answer, document, integer, is_json, number
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.symbols import one_symbol
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.market.texttable import NUMBER, WHOLE, TextTable
from arbd.paper.market.times import nanoseconds

MARKS = ("open_time", "close", "vol", "confirm")
Candles = tuple[IntArray, FloatArray, FloatArray, FloatArray]


def read_okx_candles(path: Path, options: VenueOptions) -> Imported:
    """A file's closes as quotes from each candle's end on; rows may stand in any order."""
    starts, close, volume, confirmed = _from_json(path) if is_json(path) else _from_csv(path, options.symbol)
    over = confirmed != 0
    if not over.any():
        raise DataError(path, "holds no candle that is over (confirm 1)")
    start_ns = nanoseconds(starts, "ts_ms", path)
    length_ns = candle_length_ns(path, start_ns, options)
    done = quotes_of_candles(
        path, start_ns[over] + length_ns, close[over], options,
        sequence=np.flatnonzero(over), volume=volume[over], length_ns=length_ns,
    )  # fmt: skip
    left = int((~over).sum())
    notes = (*done.notes, f"{left:,} candles that were not over left out") if left else done.notes
    return Imported(done.quotes, notes, done.step_ns)


def _from_csv(path: Path, symbol: str | None) -> Candles:
    with TextTable(path, short_names=True) as table:
        table.require(MARKS[:3], "an OKX candle dump")
        kinds = {"open_time": WHOLE, "close": NUMBER, "vol": NUMBER}
        if table.has("confirm"):
            kinds["confirm"] = NUMBER
        where = one_symbol(table, "instrument_name", symbol) if table.has("instrument_name") else None
        columns = table.read(kinds, where)
    confirmed = columns.get("confirm", np.ones(len(columns["close"])))
    return columns["open_time"], columns["close"], columns["vol"], confirmed


def _from_json(path: Path) -> Candles:
    times, closes, volumes, confirmed = [], [], [], []
    for row, candle in enumerate(answer(path, document(path), "data"), 1):
        if not isinstance(candle, list) or len(candle) < 6:
            raise DataError(path, "is no OKX candle: [start in ms, open, high, low, close, vol, ..., confirm]", row)
        times.append(integer(path, candle[0], "the start", row))
        closes.append(number(path, candle[4], "close", row))
        volumes.append(number(path, candle[5], "vol", row))
        confirmed.append(number(path, candle[8], "confirm", row) if len(candle) > 8 else 1.0)
    return np.array(times, dtype=np.int64), np.array(closes), np.array(volumes), np.array(confirmed)


IMPORTER = Importer(
    summary="OKX's candles: answers of its API, and public dumps.", read=read_okx_candles, candles=True, marks=MARKS
)
