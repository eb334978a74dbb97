"""What is said of a table without the columns that were looked for: how they are called, and which were meant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from arbd.errors import DataError
from arbd.paper.market.times import TIME_NAMES

MAX_SHOWN = 20
MAX_NAMED = 8
_TIMES = {"time": "ts", "timestamp": "ts", "date": "ts", "datetime": "ts"}
# What stands in a table of one venue, which only together with another's makes quotes of two.
_OF_ONE_VENUE = {
    "bids and asks of one venue": (("bid", "ask"), "quotes"),
    "candles of one venue": (("open", "high", "low", "close"), "ccxt-ohlcv"),
}
# As libraries write an index that has no name, and its column.
_INDEX = "__index_level_0__"
_UNNAMED = ("", "Unnamed: 0", _INDEX, "index")


def none_of(wanted: Sequence[str], given: Sequence[str], what: str, separated_by: str = "") -> str:
    """One line that names what a table has, what was looked for, and what can be renamed or is to be done with it."""
    has = f"has none of the columns of {what}; it has {_listed(given)}{separated_by}"
    if one := _of_one_venue(given, wanted):
        return f"{has}: {one}"
    plain = {_plain(name): name for name in reversed(wanted)}
    meant = {name: plain.get(_plain(name)) or _TIMES.get(_plain(name)) for name in given[:MAX_SHOWN]}
    renamed = [f"{name} to {called}" for name, called in meant.items() if called in wanted]
    more = ", ..." if len(wanted) > MAX_NAMED else ""
    remedy = f"rename {', '.join(renamed)}" if renamed else f"they are called {', '.join(wanted[:MAX_NAMED])}{more}"
    return f"{has}: {remedy}"


def _of_one_venue(given: Sequence[str], wanted: Collection[str]) -> str:
    """What a table is, and the command that takes it, where it is of one venue and quotes of two were looked for."""
    plain = {_plain(name) for name in given}
    for called, (names, format_name) in _OF_ONE_VENUE.items():
        if plain.issuperset(names) and not set(names) & set(wanted):
            pair = "--a FILE_OF_A --b FILE_OF_B --output quotes.parquet"
            half = "" if format_name == "quotes" else " --half-spread-a-bps BPS --half-spread-b-bps BPS"
            return (
                f"these are {called}: join two such files by `arbctl market import --format {format_name} {pair}{half}`"
            )
    return ""


def check_names(wanted: Collection[str], given: Sequence[str], path: Path) -> None:
    """DataError where a table lacks a time, or has columns that are nearly called as those that are `wanted`."""
    times = [name for name in TIME_NAMES if name in wanted]
    if (
        not {"bid_a", "ask_a", "bid_b", "ask_b"} & set(given)
        and "bid_a" in wanted
        and (one := _of_one_venue(given, wanted))
    ):
        raise DataError(path, one)
    if times and not any(name in times for name in given):
        raise DataError(path, _no_time(times, given))
    found = _misspelt([name for name in wanted if name not in times], given)
    if found:
        raise DataError(path, found)


def _no_time(names: Collection[str], given: Sequence[str]) -> str:
    """The same of a table that has columns, and no time that is called as times are (`names`)."""
    plain = {_plain(name): name for name in given}
    if "date" in plain and "time" in plain:
        remedy = f"write {plain['date']} and {plain['time']} into one column ts, as in 2025-01-31 13:45:00"
    else:
        meant = [name for name in given if _plain(name) in (*_TIMES, *names)] or [n for n in given if n in _UNNAMED]
        which = meant[0] if meant else "the time"
        called = f"rename {which}" if which else "name the column without a name"
        if which == _INDEX:
            called = "name the index (pandas: frame.index.name)"
        remedy = f"{called}: ts where it is a date as in 2025-01-31 13:45:00, ts_s, ts_ms, ts_us or ts_ns by its unit"
    return f"needs one time column of {', '.join(names)}; it has none but {_listed(given)}: {remedy}"


def _misspelt(wanted: Collection[str], given: Collection[str]) -> str:
    """What is said of columns that differ from what they are called in letter case or signs alone; '' where none does.

    Passed over, one that is optional would be missed in silence.
    """
    plain = {_plain(name): name for name in given if name not in wanted}
    found = [(plain[_plain(name)], name) for name in wanted if name not in given and _plain(name) in plain]
    if not found:
        return ""
    renamed = ", ".join(f"{name} to {called}" for name, called in found[:MAX_NAMED])
    return f"has columns that are nearly called as those of quotes: rename {renamed}, or to something else"


def _listed(given: Sequence[str]) -> str:
    shown = [name or "one without a name" for name in given[:MAX_SHOWN]]
    return ", ".join([*shown, "..."] if len(given) > MAX_SHOWN else shown)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()
