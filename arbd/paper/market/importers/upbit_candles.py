"""Upbit candles as its API gives them: JSON (one array, or one object per line) or the same fields as CSV.

Fields: https://docs.upbit.com/kr/reference (market, candle_date_time_utc, opening_price, trade_price, unit ...).
The API gives the newest first and no candle where nothing was traded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from arbd.errors import DataError, UsageError
from arbd.paper.market.importers.candles import quotes_of_candles
from arbd.paper.market.importers.symbols import chosen_symbol, one_symbol
from arbd.paper.market.importers.texttable import NUMBER, TIME, WHOLE, TextTable
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.paper.market.quotes import FloatArray, IntArray

NEEDED = ("market", "candle_date_time_utc", "trade_price")


def read_upbit_candles(path: Path, options: VenueOptions) -> Imported:
    """A file's closes (`trade_price`) as quotes from each candle's end on; rows may stand in any order.

    The length of a candle is its `unit` in minutes; for seconds, days and weeks, which have none, `candle_s`.
    """
    if path.suffix in (".json", ".jsonl", ".ndjson"):
        start_ns, close, minutes = _from_json(path, options.symbol)
    else:
        start_ns, close, minutes = _from_csv(path, options.symbol)
    if options.candle_s is not None:
        length_ns = np.full(len(start_ns), round(options.candle_s * 1e9), dtype=np.int64)
    elif minutes is not None:
        length_ns = minutes * 60_000_000_000
    else:
        raise UsageError(f"{path}: these candles have no unit; say how long one is (candle_s, --candle-s)")
    order = np.argsort(start_ns, kind="stable")
    again = np.flatnonzero(np.diff(start_ns[order]) == 0)
    for position in again:
        first, second = order[position], order[position + 1]
        if close[first] != close[second]:
            raise DataError(
                path,
                f"tells another trade_price ({close[second]}) than row {first + 1} ({close[first]}) of the same candle",
                int(second) + 1,
            )
    return quotes_of_candles(path, start_ns + length_ns, close, options, sequence=np.arange(len(close)))


def _from_csv(path: Path, symbol: str | None) -> tuple[IntArray, FloatArray, IntArray | None]:
    with TextTable(path) as table:
        table.require(NEEDED, "a file of Upbit candles")
        kinds = {"candle_date_time_utc": TIME, "trade_price": NUMBER}
        if table.has("unit"):
            kinds["unit"] = WHOLE
        columns = table.read(kinds, one_symbol(table, "market", symbol))
    return columns["candle_date_time_utc"], columns["trade_price"], columns.get("unit")


def _from_json(path: Path, symbol: str | None) -> tuple[IntArray, FloatArray, IntArray | None]:
    candles = _objects(path)
    for row, candle in enumerate(candles, 1):
        missing = [name for name in NEEDED if name not in candle] if isinstance(candle, dict) else list(NEEDED)
        if missing:
            raise DataError(path, f"is no Upbit candle: no {', '.join(missing)}", row)
    market = chosen_symbol(path, "market", sorted({str(candle["market"]) for candle in candles}), symbol)
    starts, closes, units = [], [], []
    for row, candle in enumerate(candles, 1):
        if str(candle["market"]) != market:
            continue
        try:
            starts.append(int(np.datetime64(candle["candle_date_time_utc"], "ns").astype(np.int64)))
            closes.append(float(candle["trade_price"]))
            units.append(int(candle.get("unit", 0)))
        except (TypeError, ValueError) as error:
            raise DataError(path, f"candle_date_time_utc, trade_price or unit cannot be read: {error}", row) from error
    whole = np.array(units, dtype=np.int64)
    return np.array(starts, dtype=np.int64), np.array(closes), whole if bool((whole > 0).all()) else None


def _objects(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if text.lstrip().startswith("[") else [json.loads(t) for t in text.splitlines() if t]
    except FileNotFoundError as error:
        raise DataError(path, "no such file") from error
    except ValueError as error:
        raise DataError(path, f"is not JSON: {error}") from error
    if not found:
        raise DataError(path, "holds no candles")
    return list(found)
