"""What one venue quoted over time: the form that every importer gives and the join of two venues takes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.paper.market.growing import growing_table
from arbd.paper.market.levels import level_columns, level_faults
from arbd.paper.market.quotes import REMEDY, FloatArray, IntArray, defaulted, in_time
from arbd.paper.market.times import is_newest_first
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class VenueQuotes:
    """The book of one venue. `ts_ns` is when a quote became known, never decreasing; sizes are in base units.

    `deeper` is the book below the touch by column: `bid_2`, `bid_size_2`, `ask_2`, `ask_size_2`, `bid_3`, ...
    """

    ts_ns: IntArray
    bid: FloatArray
    ask: FloatArray
    bid_size: FloatArray
    ask_size: FloatArray
    deeper: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All columns by name."""
        return {name: getattr(self, name) for name in TOUCH} | dict(self.deeper)


TOUCH = ("ts_ns", "bid", "ask", "bid_size", "ask_size")
COPY_ROWS = 1 << 18


def venue_quotes(columns: Mapping[str, npt.NDArray[Any]]) -> VenueQuotes:
    """The reverse of `VenueQuotes.columns`."""
    deeper = {name: column for name, column in columns.items() if name not in TOUCH}
    return VenueQuotes(**{name: columns[name] for name in TOUCH}, deeper=deeper)


@dataclass(frozen=True, slots=True)
class VenueOptions:
    """How a venue's files are read. `half_spread_bps` and `candle_s` are for candles, `symbol` for files of many.

    `levels` is how much of the book is kept of files that tell more than the touch.
    """

    on_bad_rows: str = "refuse"
    symbol: str | None = None
    half_spread_bps: float | None = None
    candle_s: float | None = None
    levels: int = 5


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """Quotes of one venue and what the reader of the files had to decide or leave out, in words.

    `step_ns` is how long one candle is, 0 where the quotes are none of candles.
    """

    quotes: VenueQuotes
    notes: tuple[str, ...] = ()
    step_ns: int = 0


def checked(
    path: Path,
    columns: Mapping[str, npt.NDArray[Any]],
    on_bad_rows: str,
    *,
    sequence: IntArray | None = None,
    rows: IntArray | None = None,
) -> Imported:
    """Quotes of one file from its columns in the order of the file; DataError with the row that is bad.

    With `sequence` (the venue's own numbering) rows may stand in any order: they are put in order of time, then of it.
    `rows` are the numbers of the rows in the file, where these are not all of it.
    """
    n = len(columns["ts_ns"])
    if n == 0:
        raise no_rows(path)
    number = rows if rows is not None else np.arange(1, n + 1)
    full, number, sequence = good_rows(path, columns, number, sequence, on_bad_rows)
    if not len(number):
        raise all_bad(path, n)
    notes = [dropped_note(n - len(number))] if len(number) < n else []
    full, note = _in_order(path, full, number, sequence, on_bad_rows)
    notes += [note] if note else []
    return Imported(venue_quotes(full), tuple(notes))


def no_rows(path: Path) -> DataError:
    """What to say of a file without rows."""
    return DataError(path, "holds no rows")


def all_bad(path: Path, n: int) -> DataError:
    """What to say of a file of which no row is good."""
    return DataError(path, f"all {n} rows are bad")


def dropped_note(count: int) -> str:
    """What to say of bad rows."""
    return f"{count:,} bad rows dropped"


def order_note(count: int) -> str:
    """What to say of rows that the venue's own numbering put in order."""
    return f"{count:,} rows put in order, which stood after later ones"


def refused_order(path: Path, before_ns: int, after_ns: int, number: int) -> DataError:
    """What to say of a row whose time is before the one above it."""
    return DataError(path, f"time goes backwards, from {before_ns} to {after_ns} ns; {REMEDY}", number)


def good_rows(
    path: Path, columns: Mapping[str, npt.NDArray[Any]], number: IntArray, sequence: IntArray | None, on_bad_rows: str
) -> tuple[dict[str, npt.NDArray[Any]], IntArray, IntArray | None]:
    """All columns of some rows, their numbers and sequence, without the rows that are bad by themselves.

    DataError with the number of such a row, where they are refused.
    """
    n = len(columns["ts_ns"])
    full = {name: columns[name] for name in TOUCH if name in columns} | level_columns(columns, path, ("",))
    full = untold(full, n) | full
    bad = np.zeros(n, dtype=np.bool_)
    for reason, mask in _faults(full):
        bad |= mask
        if on_bad_rows == "refuse" and mask.any():
            row = int(np.flatnonzero(mask)[0])
            values = {name: column[row].item() for name, column in full.items()}
            raise DataError(path, f"{reason.format(**values)}; {REMEDY}", int(number[row]))
    if not bad.any():
        return full, number, sequence
    return _at(full, ~bad), number[~bad], None if sequence is None else sequence[~bad]


def untold(columns: Mapping[str, npt.NDArray[Any]], n: int) -> dict[str, npt.NDArray[Any]]:
    """The columns of the touch that are not there, of n rows, as what they are then."""
    return {name: defaulted(f"{name}_a", n) for name in TOUCH if name not in columns}


def told(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The columns that the file tells."""
    return {name: column for name, column in columns.items() if column.strides != (0,)}


def _in_order(
    path: Path, full: dict[str, npt.NDArray[Any]], number: IntArray, sequence: IntArray | None, on_bad_rows: str
) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """The rows in order of time, and what was done to them."""
    ts_ns = full["ts_ns"]
    back = np.flatnonzero(ts_ns[1:] < ts_ns[:-1])
    if sequence is not None and len(ts_ns) > 1:
        full = _at(full, np.lexsort((sequence, ts_ns)))
        return full, order_note(len(back)) if len(back) else ""
    if not len(back):
        return full, ""
    if is_newest_first(ts_ns):
        return _at(full, np.arange(len(ts_ns))[::-1]), "is newest first; its rows were put in order of time"
    if on_bad_rows == "refuse":
        row = int(back[0])
        before, after = ts_ns[row : row + 2].tolist()
        raise refused_order(path, before, after, int(number[row + 1]))
    keep = in_time(ts_ns)
    return _at(full, keep), f"{int((~keep).sum()):,} rows dropped whose time is out of order"


def _at(columns: Mapping[str, npt.NDArray[Any]], index: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Rows by a mask or positions; a column that the file does not tell stays one value for all rows."""
    n = int(index.sum()) if index.dtype == np.bool_ else len(index)
    return {
        name: defaulted(f"{name}_a", n) if column.strides == (0,) else column[index] for name, column in columns.items()
    }


def _faults(columns: Mapping[str, npt.NDArray[Any]]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    bid, ask = columns["bid"], columns["ask"]
    return [
        ("bid is {bid}, not a positive number", ~((bid > 0) & (bid < np.inf))),
        ("ask is {ask}, not a positive number", ~((ask > 0) & (ask < np.inf))),
        ("the book is crossed: bid {bid} above ask {ask}", bid > ask),
        ("bid_size is {bid_size}, not a size", ~(columns["bid_size"] >= 0)),
        ("ask_size is {ask_size}, not a size", ~(columns["ask_size"] >= 0)),
        *level_faults(columns, ("",)),
    ]


def in_sequence(parts: Sequence[tuple[Path, Imported]], folder: Path) -> Imported:
    """Quotes of several files, which follow one another by their times; DataError when two overlap.

    Of more than one the arrays are in `folder`, which is made, memory-mapped.
    """
    ordered = sorted(parts, key=lambda part: int(part[1].quotes.ts_ns[0]))
    for (path, before), (next_path, after) in itertools.pairwise(ordered):
        if after.quotes.ts_ns[0] < before.quotes.ts_ns[-1]:
            raise DataError(next_path, f"begins before {path} ends; files of one venue must not overlap in time")
    notes = tuple(f"{path.name}: {note}" for path, part in ordered for note in part.notes)
    step_ns = max(part.step_ns for _, part in ordered)
    if len(ordered) == 1:
        return Imported(ordered[0][1].quotes, notes, step_ns)
    tables = [part.quotes.columns() for _, part in ordered]
    names = dict.fromkeys(name for columns in tables for name in told(columns))
    with growing_table(folder) as table:
        for columns in tables:
            n = len(columns["ts_ns"])
            for start in range(0, n, COPY_ROWS):
                rows = slice(start, min(n, start + COPY_ROWS))
                table.append({
                    name: columns[name][rows]
                    if name in columns
                    else np.full(rows.stop - start, 0.0 if "size" in name else np.nan)
                    for name in names
                })  # fmt: skip
        joined = table.finish()
    return Imported(venue_quotes(joined | untold(joined, len(joined["ts_ns"]))), notes, step_ns)


def on_disk(part: Imported, folder: Path) -> Imported:
    """The same with its arrays in a folder, which is made, memory-mapped."""
    columns = part.quotes.columns()
    with growing_table(folder) as table:
        table.append(told(columns))
        kept = table.finish()
    return replace(part, quotes=venue_quotes(kept | untold(kept, len(part.quotes))))


def in_memory(quotes: VenueQuotes) -> VenueQuotes:
    """The same with arrays of its own."""
    columns = quotes.columns()
    return venue_quotes(columns | {name: np.array(column) for name, column in told(columns).items()})
