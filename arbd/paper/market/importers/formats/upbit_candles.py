"""Upbit candles as its API gives them: JSON (one array, or one object per line) or the same fields as CSV.

Fields: https://docs.upbit.com/kr/reference (market, candle_date_time_utc, opening_price, trade_price, unit ...).
The API gives the newest first and no candle where nothing was traded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from arbd.errors import DataError, UsageError
from arbd.paper.market.importers.candles import quotes_of_candles
from arbd.paper.market.importers.documents import document, is_json
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.symbols import chosen_symbol, one_symbol
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.market.texttable import NUMBER, TEXT, WHOLE, TextTable
from arbd.paper.market.times import parsed_texts

MAX_UNIT_MINUTES = 1_000_000
NEEDED = ("market", "candle_date_time_utc", "trade_price")


def read_upbit_candles(path: Path, options: VenueOptions) -> Imported:
    """A file's closes (`trade_price`) as quotes from each candle's end on; rows may stand in any order.

    The length of a candle is its `unit` in minutes; for seconds, days and weeks, which have none, `candle_s`.
    """
    if is_json(path):
        start_ns, close, minutes = _from_json(path, options.symbol)
    else:
        start_ns, close, minutes = _from_csv(path, options.symbol)
    if options.candle_s is not None:
        length_ns = np.full(len(start_ns), round(options.candle_s * 1e9), dtype=np.int64)
    elif minutes is not None:
        if bool((minutes > MAX_UNIT_MINUTES).any()):
            row = int((minutes > MAX_UNIT_MINUTES).argmax())
            raise DataError(path, f"unit is {int(minutes[row])}, no number of minutes", row + 1)
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
    return quotes_of_candles(
        path, start_ns + length_ns, close, options, sequence=np.arange(len(close)), length_ns=length_ns
    )


def _from_csv(path: Path, symbol: str | None) -> tuple[IntArray, FloatArray, IntArray | None]:
    with TextTable(path) as table:
        table.require(NEEDED, "a file of Upbit candles")
        kinds = {"candle_date_time_utc": TEXT, "trade_price": NUMBER}
        if table.has("unit"):
            kinds["unit"] = WHOLE
        columns = table.read(kinds, one_symbol(table, "market", symbol))
    starts = parsed_texts(columns["candle_date_time_utc"].tolist(), "candle_date_time_utc", path)
    return starts, columns["trade_price"], columns.get("unit")


def _from_json(path: Path, symbol: str | None) -> tuple[IntArray, FloatArray, IntArray | None]:
    found = document(path)
    candles = found if isinstance(found, list) else [found]
    if not candles:
        raise DataError(path, "holds no candles")
    for row, candle in enumerate(candles, 1):
        missing = [name for name in NEEDED if name not in candle] if isinstance(candle, dict) else list(NEEDED)
        if missing:
            raise DataError(path, f"is no Upbit candle: no {', '.join(missing)}", row)
    market = chosen_symbol(path, "market", sorted({str(candle["market"]) for candle in candles}), symbol)
    texts: list[Any] = []
    rows: list[int] = []
    closes: list[float] = []
    units: list[int] = []
    for row, candle in enumerate(candles, 1):
        if str(candle["market"]) != market:
            continue
        try:
            closes.append(float(candle["trade_price"]))
            units.append(int(candle.get("unit", 0)))
        except (TypeError, ValueError, OverflowError):
            raise DataError(path, "candle_date_time_utc, trade_price or unit cannot be read", row) from None
        texts.append(candle["candle_date_time_utc"])
        rows.append(row)
        if not 0 <= units[-1] <= MAX_UNIT_MINUTES:
            raise DataError(path, f"unit is {units[-1]}, no number of minutes", row)
    try:
        starts = parsed_texts(texts, "candle_date_time_utc", path)
    except DataError as error:
        raise DataError(path, error.reason, rows[(error.row or 1) - 1]) from None
    whole = np.array(units, dtype=np.int64)
    return starts, np.array(closes), whole if bool((whole > 0).all()) else None


IMPORTER = Importer(
    summary="Upbit's candles, as its API gives them.", read=read_upbit_candles, candles=True, marks=NEEDED
)
