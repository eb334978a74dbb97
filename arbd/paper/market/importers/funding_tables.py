"""Funding rates out of tables and of answers of exchanges: a symbol, a time in ms, a rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.importers.documents import answer, document, integer, number
from arbd.paper.market.importers.funding import Funding
from arbd.paper.market.importers.symbols import chosen_symbol, one_symbol
from arbd.paper.market.texttable import NUMBER, WHOLE, TextTable
from arbd.paper.market.times import nanoseconds

Names = tuple[str, str, str]


def funding_of_table(path: Path, symbol: str | None, names: Names, what: str) -> Funding:
    """Of a CSV with the columns symbol (which may be missing), time and rate, so called by `names`."""
    of, time, rate = names
    with TextTable(path, short_names=True) as table:
        table.require((time, rate), what)
        where = one_symbol(table, of, symbol) if table.has(of) else None
        columns = table.read({time: WHOLE, rate: NUMBER}, where)
    return Funding(nanoseconds(columns[time], "ts_ms", path), columns[rate])


def funding_of_answers(
    path: Path, symbol: str | None, keys: Sequence[str], names: Names, first: str | None = None
) -> Funding:
    """Of JSON that has rows below `keys`. The rate is field `first` where a row has one that is not empty."""
    of, time, rate = names
    rows = answer(path, document(path), *keys)
    for place, row in enumerate(rows, 1):
        missing = [name for name in names if not isinstance(row, dict) or name not in row]
        if missing:
            raise DataError(path, f"is no row of funding: no {', '.join(missing)}", place)
    chosen = chosen_symbol(path, of, sorted({str(row[of]) for row in rows}), symbol)
    times: list[int] = []
    rates: list[float] = []
    for place, row in enumerate(rows, 1):
        if str(row[of]) == chosen:
            name = first if first is not None and row.get(first) not in (None, "") else rate
            times.append(integer(path, row[time], time, place))
            rates.append(number(path, row[name], name, place))
    return Funding(nanoseconds(np.array(times, dtype=np.int64), "ts_ms", path), np.array(rates))
