"""Exchange rates over time: a constant, a file of rates, or what a market quoted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.growing import growing_table
from arbd.paper.market.importers.venue import COPY_ROWS, VenueQuotes
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.market.readers import read_columns
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """Units of A's quote currency per unit of B's, each from its time until the next."""

    ts_ns: IntArray
    rate: FloatArray


def read_rates(path: Path) -> Rates:
    """A file with a time column and `rate`."""
    columns = read_columns(path, ("rate",), "exchange rates")
    if "rate" not in columns:
        raise DataError(path, "no column rate; exchange rates have a time column and rate")
    ts_ns, rate = columns["ts_ns"], columns["rate"]
    if len(rate) == 0:
        raise DataError(path, "holds no rows")
    bad = ~((rate > 0) & (rate < np.inf))
    if bad.any():
        row = int(bad.argmax())
        raise DataError(path, f"rate is {rate[row]}, not a positive number", row + 1)
    back = np.flatnonzero(np.diff(ts_ns) < 0)
    if len(back):
        raise DataError(path, "time goes backwards; sort the file by time", int(back[0]) + 2)
    return Rates(ts_ns, rate)


def rates_of_quotes(quotes: VenueQuotes, folder: Path) -> Rates:
    """The mid of a market that trades B's currency against A's, in a folder, which is made, memory-mapped."""
    with growing_table(folder) as table:
        for start in range(0, len(quotes), COPY_ROWS):
            rows = slice(start, start + COPY_ROWS)
            table.append({"rate": (quotes.bid[rows] + quotes.ask[rows]) / 2})
        return Rates(quotes.ts_ns, table.finish()["rate"])
