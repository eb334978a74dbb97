"""The market-data model: what two venues quoted over time, as columns, and the rules by which rows are good.

Keeps: whoever holds a `Quotes` that `build_quotes` made need not check it again.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.paper.market.ages import AgeColumn
from arbd.paper.market.levels import LEVEL_COLUMNS, Level, level_columns, level_faults, levels_of, named_levels
from arbd.paper.market.times import NEWEST_FIRST, ONE_TIME, is_newest_first
from arbd.values import dataclass

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PRICES = ("bid_a", "ask_a", "bid_b", "ask_b")
SIZES = ("bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b")
AGES = ("age_a_ns", "age_b_ns")
FUNDING = ("funding_a", "funding_b")
# Optional columns, and what every row of them is where the source does not tell.
DEFAULTS = {
    **dict.fromkeys(SIZES, np.inf),
    "fx": 1.0,
    **dict.fromkeys((*AGES, "block"), 0),
    **dict.fromkeys(FUNDING, np.nan),
}
WHOLE = ("ts_ns", *AGES, "block")


def _not_told() -> Any:
    return _NOT_TOLD


_NOT_TOLD: IntArray = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Quotes:
    """What venues A and B quoted, one row per change, all columns of the same length n.

    `ts_ns` is UTC nanoseconds, non-decreasing. Prices are in each venue's own quote currency; sizes are in
    base units, `inf` where the source does not tell; `fx` is units of A's quote currency per unit of B's.

    `age_a_ns` is how long before this row venue A's quote arrived, 0 where it arrived in this row or the source
    does not tell. Rows of one uninterrupted recording share `block`; where it changes, there is a gap between two rows.

    `funding_a` is the rate that venue A's perpetual paid at this row: the share of the notional that who is long pays
    to who is short (0.0001 is 1 bp), NaN where nothing is paid. `levels` is the book below the touch, levels 2, 3, ...

    A column that is the same in all rows because the source does not tell has stride 0: n rows in the room of one.
    """

    ts_ns: IntArray
    bid_a: FloatArray
    ask_a: FloatArray
    bid_b: FloatArray
    ask_b: FloatArray
    bid_size_a: FloatArray
    ask_size_a: FloatArray
    bid_size_b: FloatArray
    ask_size_b: FloatArray
    fx: FloatArray
    age_a_ns: AgeColumn = field(default_factory=_not_told)
    age_b_ns: AgeColumn = field(default_factory=_not_told)
    block: IntArray = field(default_factory=_not_told)
    funding_a: FloatArray = field(default_factory=_not_told)
    funding_b: FloatArray = field(default_factory=_not_told)
    levels: tuple[Level, ...] = ()

    def __post_init__(self) -> None:
        for name in (*AGES, "block", *FUNDING):
            if getattr(self, name) is _NOT_TOLD:
                object.__setattr__(self, name, defaulted(name, len(self)))

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All columns by name; of levels those that the source tells."""
        return {name: getattr(self, name) for name in COLUMNS} | named_levels(self.levels)

    def told(self) -> dict[str, npt.NDArray[Any]]:
        """The columns that a file needs: all but those of which every row is the default, by their stride."""
        return {
            name: column
            for name, column in self.columns().items()
            if name not in DEFAULTS or not is_defaulted(name, column)
        }


COLUMNS = tuple(each.name for each in fields(Quotes) if each.name != "levels")
# What is read of a file.
KNOWN_COLUMNS = (*COLUMNS, *LEVEL_COLUMNS)
REQUIRED = ("ts_ns", *PRICES)


def quotes_of(columns: Mapping[str, Any]) -> Quotes:
    """Quotes from columns that were checked before; what is missing is defaulted."""
    n = len(columns["ts_ns"])
    own = {name: columns[name] if name in columns else defaulted(name, n) for name in COLUMNS}
    return Quotes(**own, levels=levels_of(columns, n))


def defaulted(name: str, n: int) -> npt.NDArray[Any]:
    """An optional column of n rows of which the source says nothing."""
    return np.broadcast_to(np.array(DEFAULTS[name], dtype=np.int64 if name in WHOLE else np.float64), (n,))


def is_defaulted(name: str, column: npt.NDArray[Any]) -> bool:
    """Whether a column is one that `defaulted` makes."""
    if column.strides != (0,):
        return False
    return len(column) == 0 or column[0] == DEFAULTS[name] or (name in FUNDING and bool(np.isnan(column[0])))


# What to do about a bad row of a file.
REMEDY = "correct the file, or drop such rows (on_bad_rows: drop, --on-bad-rows drop)"


def build_quotes(
    columns: Mapping[str, npt.NDArray[Any]], source: Path | str, on_bad_rows: str = "refuse", remedy: str = REMEDY
) -> tuple[Quotes, int]:
    """Check columns and return quotes, and how many bad rows were dropped (only with `on_bad_rows="drop"`).

    A row is bad when a price or fx is not a positive finite number, a bid is above its ask (equal is a locked
    book, which is allowed), a size is negative or NaN, an age is negative, a funding rate is not between -1 and 1, a
    level is better than the one above it, or its time is out of order among the good ones (`in_time`). What optional
    columns are where they are missing stands in `DEFAULTS`. DataError names the source, the row, the reason and the
    `remedy`.
    """
    n = _rows(columns, source)
    if n == 0:
        raise DataError(source, "holds no rows")
    times = np.asarray(columns["ts_ns"])
    if is_newest_first(times):
        raise DataError(source, NEWEST_FIRST)
    if n > 1 and bool((times == times[0]).all()):
        raise DataError(source, ONE_TIME.format(rows=n, time=times[0]))
    full, bad = _judged(columns, source)
    if on_bad_rows == "refuse":
        _refuse(full, bad, source, remedy)
        return quotes_of(full), 0
    keep = bad < 0
    keep[keep] = in_time(full["ts_ns"][keep])
    dropped = n - int(keep.sum())
    if dropped == n:
        raise DataError(source, f"all {n} rows are bad")
    return quotes_of(_kept(full, columns, keep)), dropped


def build_piece(columns: Mapping[str, npt.NDArray[Any]], source: Path | str, on_bad_rows: str) -> tuple[Quotes, int]:
    """`build_quotes` of some rows of a longer file: there may be none, and dropping leaves times as they are."""
    _rows(columns, source)
    full, bad = _judged(columns, source)
    if on_bad_rows == "refuse":
        _refuse(full, bad, source, REMEDY)
        return quotes_of(full), 0
    keep = bad < 0
    return quotes_of(full if keep.all() else _kept(full, columns, keep)), int((~keep).sum())


def _rows(columns: Mapping[str, npt.NDArray[Any]], source: Path | str) -> int:
    """How many rows there are; DataError for columns that are missing or of several lengths."""
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise DataError(source, f"no column {', '.join(missing)}; needed are {', '.join(REQUIRED)}")
    check_shapes(columns, source)
    return len(columns["ts_ns"])


def _judged(
    columns: Mapping[str, npt.NDArray[Any]], source: Path | str
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int64]]:
    """All columns of quotes in their types, and of each row the number of its first fault (-1: none)."""
    n = len(columns["ts_ns"])
    full: dict[str, npt.NDArray[Any]] = {}
    for name in COLUMNS:
        kind = np.int64 if name in WHOLE else np.float64
        full[name] = np.asarray(columns[name], dtype=kind) if name in columns else defaulted(name, n)
    full |= level_columns(columns, source)
    return full, _first_faults(full)


def _kept(
    full: Mapping[str, npt.NDArray[Any]], given: Mapping[str, npt.NDArray[Any]], keep: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    n = int(keep.sum())
    return {name: defaulted(name, n) if name not in given else column[keep] for name, column in full.items()}


def _faults(columns: Mapping[str, npt.NDArray[Any]]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Kinds of faults that a row can have by itself, each with the mask of the rows that have it."""
    for name in (*PRICES, "fx"):
        column = columns[name]
        yield f"{name} is {{{name}}}, not a positive number", ~((column > 0) & (column < np.inf))
    for venue in ("a", "b"):
        crossed = columns[f"bid_{venue}"] > columns[f"ask_{venue}"]
        yield f"the book of venue {venue.upper()} is crossed: bid {{bid_{venue}}} above ask {{ask_{venue}}}", crossed
    for name in SIZES:
        yield f"{name} is {{{name}}}, not a size", ~(columns[name] >= 0)
    for name in AGES:
        yield f"{name} is {{{name}}}, a negative age", columns[name] < 0
    for name in FUNDING:
        far = ~(np.isnan(columns[name]) | (np.abs(columns[name]) < 1))
        yield (
            f"{name} is {{{name}}}, not a rate: a share of the notional, 0.0001 for 1 bp, empty where none is paid",
            far,
        )
    yield from level_faults(columns)


def _first_faults(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Per row the number of its first fault in `_faults`, -1 for a good one."""
    found = np.full(len(columns["ts_ns"]), -1, dtype=np.int64)
    for number, (_, mask) in enumerate(_faults(columns)):
        found[(found < 0) & mask] = number
    return found


def in_time(ts_ns: IntArray) -> npt.NDArray[np.bool_]:
    """Mask of the most rows of which none is before one above it; of two that exclude each other the upper one.

    So a single time far ahead costs its own row, not all that follow.
    """
    if not (ts_ns[1:] < ts_ns[:-1]).any():
        return np.ones(len(ts_ns), dtype=np.bool_)
    # The longest run (Schensted 1961), from the end: `lasts` are the latest times with which runs of each length begin.
    lasts: list[int] = []
    rows: list[int] = []
    following = np.empty(len(ts_ns), dtype=np.int64)
    for row in range(len(ts_ns) - 1, -1, -1):
        earliness = -int(ts_ns[row])
        at = len(lasts) if not lasts or earliness >= lasts[-1] else bisect_right(lasts, earliness)
        following[row] = rows[at - 1] if at else -1
        lasts[at : at + 1], rows[at : at + 1] = [earliness], [row]
    keep = np.zeros(len(ts_ns), dtype=np.bool_)
    row = rows[-1]
    while row >= 0:
        keep[row] = True
        row = int(following[row])
    return keep


def check_shapes(columns: Mapping[str, npt.NDArray[Any]], source: Path | str) -> None:
    """DataError unless all columns have one dimension and one length."""
    for name, column in columns.items():
        if np.ndim(column) != 1:
            raise DataError(source, f"{name} has {np.ndim(column)} dimensions; a column has one")
    lengths = {name: len(column) for name, column in columns.items()}
    for name, length in lengths.items():
        first, expected = next(iter(lengths.items()))
        if length != expected:
            raise DataError(source, f"{name} has {length:,} rows and {first} {expected:,}; all columns have the same")


def _refuse(
    columns: Mapping[str, npt.NDArray[Any]], bad: npt.NDArray[np.int64], source: Path | str, remedy: str
) -> None:
    back = np.flatnonzero(columns["ts_ns"][1:] < columns["ts_ns"][:-1])
    faulty = np.flatnonzero(bad >= 0)
    first_bad = int(faulty[0]) if len(faulty) else len(bad)
    if len(back) and int(back[0]) + 1 <= first_bad:
        row = int(back[0]) + 1
        before, after = int(columns["ts_ns"][row - 1]), int(columns["ts_ns"][row])
        raise DataError(source, f"time goes backwards, from {before} to {after} ns; {remedy}", row + 1)
    if len(faulty):
        values = {name: column[first_bad].item() for name, column in columns.items()}
        text = next(itertools.islice(_faults(columns), int(bad[first_bad]), None))[0].format(**values)
        raise DataError(source, f"{text}; {remedy}", first_bad + 1)
