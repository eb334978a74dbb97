"""What a file is that somebody took for another: told by the columns of its first line, or the keys of its first JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from arbd.errors import ArbdError
from arbd.named_file import MAX_DATA_BYTES, open_named
from arbd.paper.market.importers.documents import JSON_SUFFIXES
from arbd.paper.market.importers.formats import FORMATS
from arbd.paper.market.quotes import REQUIRED
from arbd.paper.market.unpacked import packing_of, unpacked

SAMPLE_BYTES = 1 << 16
# Files that hold no quotes of a venue, by what they are known by.
OTHERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (REQUIRED, "quotes of two venues, which need no import"),
    (("agg_trade_id", "is_buyer_maker"), "Binance's aggTrades, which tell no bid and ask"),
    (("id", "quote_qty", "is_buyer_maker"), "Binance's trades, which tell no bid and ask"),
    (("percentage", "depth", "notional"), "Binance's bookDepth, sums by percentage in which no prices are"),
    (("calc_time", "last_funding_rate"), "funding rates of Binance: name them with --funding-a or --funding-b"),
    (("funding_rate", "funding_time"), "funding rates of OKX: name them with --funding-a or --funding-b"),
    (("fundingRate",), "funding rates: name them with --funding-a or --funding-b"),
)


def recognised(path: Path, taken_for: str) -> str | None:
    """What the file is, with the remedy; None when it is what it was taken for, or unknown."""
    try:
        names = _names(path)
    except (ArbdError, OSError, ValueError, RecursionError, csv.Error):
        return None
    fitting = [name for name in FORMATS.built_in() if (marks := FORMATS.get(name).marks) and names.issuperset(marks)]
    if fitting:
        best = max(fitting, key=lambda name: (len(FORMATS.get(name).marks), name == taken_for))
        return f"it looks like a file of {best}" if best != taken_for else None
    return next((f"it looks like {what}" for marks, what in OTHERS if names.issuperset(marks)), None)


def _names(path: Path) -> set[str]:
    with open_named(path, MAX_DATA_BYTES) as file:
        packing = packing_of(path)
        with unpacked(file, packing, (".csv", *JSON_SUFFIXES)) as place, open(place, "rb") as stream:  # noqa: PTH123
            sample = stream.read(SAMPLE_BYTES).decode("utf-8-sig", errors="replace")
    line = sample.partition("\n")[0].strip()
    if sample.lstrip().startswith(("{", "[")):
        return _keys(sample, line)
    delimiter = max(",;\t|", key=line.count)
    return {cell.strip().partition("/")[0] for cell in next(csv.reader([line], delimiter=delimiter), [])}


def _keys(sample: str, line: str) -> set[str]:
    """Keys of the first object, and of the first object in its lists."""
    for text in (line, sample):
        try:
            found = json.loads(text)
            break
        except (ValueError, RecursionError):
            continue
    else:
        return set()
    names: set[str] = set()
    for _ in range(4):
        while isinstance(found, list) and found:
            found = found[0]
        if not isinstance(found, dict):
            break
        names |= found.keys()
        found = next((found[key] for key in ("result", "data", "list") if key in found), None)
    return names
