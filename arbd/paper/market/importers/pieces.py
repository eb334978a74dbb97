"""Quotes of one venue's file from pieces: checked, put in order and kept on disk, in memory that no file's length matters to.

Keeps: what comes of a file, and what is refused, is what `checked` makes of the whole of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.paper.market.growing import GrowingArray, growing_table
from arbd.paper.market.importers.venue import (
    Imported,
    all_bad,
    dropped_note,
    good_rows,
    no_rows,
    order_note,
    refused_order,
    told,
    untold,
    venue_quotes,
)
from arbd.paper.market.quotes import IntArray, in_time
from arbd.values import dataclass

# How many rows are put in order at a time.
ORDER_ROWS = 1 << 18
SAMPLES = 64
_SEQUENCE = "sequence"
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class VenuePiece:
    """Some rows of a file, in its order: the columns that `checked` takes, its `sequence`, its numbers of `rows`."""

    columns: Mapping[str, npt.NDArray[Any]]
    sequence: IntArray | None = None
    rows: IntArray | None = None


class _Order:
    """What the times of a file, looked at piece by piece, tell of its order."""

    def __init__(self) -> None:
        self.back = 0
        self.first_back: tuple[int, int, int] | None = None
        self.sorted = True
        self._falls = True
        self._first: int | None = None
        self._last: tuple[int, int] | None = None

    def look(self, ts_ns: IntArray, number: IntArray, sequence: IntArray | None) -> None:
        """The next rows. `sequence` None: rows of one time stand as they are."""
        own = np.zeros(len(ts_ns), dtype=np.int64) if sequence is None else sequence
        before = [] if self._last is None else [self._last]
        times = np.concatenate([np.array([t for t, _ in before], dtype=np.int64), ts_ns])
        follows = np.concatenate([np.array([s for _, s in before], dtype=np.int64), own])
        down, level = times[1:] < times[:-1], times[1:] == times[:-1]
        self.back += int(down.sum())
        if self.first_back is None and down.any():
            at = int(down.argmax())
            self.first_back = int(times[at]), int(times[at + 1]), int(number[at + 1 - len(before)])
        self.sorted = self.sorted and not bool((down | (level & (follows[1:] < follows[:-1]))).any())
        self._falls = self._falls and bool((times[1:] <= times[:-1]).all())
        self._first = int(ts_ns[0]) if self._first is None else self._first
        self._last = int(ts_ns[-1]), int(own[-1])

    @property
    def newest_first(self) -> bool:
        """Whether the rows of the whole file stand the wrong way round."""
        return self._falls and self._first is not None and self._last is not None and self._first > self._last[0]


def stored_pieces(path: Path, pieces: Generator[VenuePiece, None, None], on_bad_rows: str, folder: Path) -> Imported:
    """`checked` of a whole file, given in pieces. Its arrays are in `folder`, which is made, memory-mapped."""
    seen = good = 0
    order, sequenced = _Order(), False
    folder.mkdir()
    with growing_table(folder / "read") as table, contextlib.closing(pieces):
        for piece in pieces:
            n = len(piece.columns["ts_ns"])
            number = np.arange(seen + 1, seen + n + 1) if piece.rows is None else piece.rows
            seen += n
            if not n:
                continue
            full, number, sequence = good_rows(path, piece.columns, number, piece.sequence, on_bad_rows)
            good += len(number)
            if len(number):
                order.look(full["ts_ns"], number, sequence)
                sequenced = sequence is not None
                table.append(told(full) | ({} if sequence is None else {_SEQUENCE: sequence}))
        if not seen:
            raise no_rows(path)
        if not good:
            raise all_bad(path, seen)
        columns = table.finish()
    notes = [dropped_note(seen - good)] if good < seen else []
    columns, note = _ordered(path, columns, order, sequenced, on_bad_rows, folder)
    columns.pop(_SEQUENCE, None)
    notes += [note] if note else []
    return Imported(venue_quotes(columns | untold(columns, len(columns["ts_ns"]))), tuple(notes))


def _ordered(
    path: Path, columns: Columns, order: _Order, sequenced: bool, on_bad_rows: str, folder: Path
) -> tuple[Columns, str]:
    """The rows in order of time, and what was done to them."""
    n = len(columns["ts_ns"])
    if sequenced:
        note = order_note(order.back) if order.back else ""
        return (columns if order.sorted else _taken(columns, _by_time(columns, folder), folder)), note
    if order.first_back is None:
        return columns, ""
    if order.newest_first:
        last_first = (np.arange(min(n, end), max(0, end - ORDER_ROWS), -1) - 1 for end in range(n, 0, -ORDER_ROWS))
        return _taken(columns, last_first, folder), "is newest first; its rows were put in order of time"
    if on_bad_rows == "refuse":
        raise refused_order(path, *order.first_back)
    keep = in_time(columns["ts_ns"])
    kept = (np.flatnonzero(keep[start : start + ORDER_ROWS]) + start for start in range(0, n, ORDER_ROWS))
    return _taken(columns, kept, folder), f"{int((~keep).sum()):,} rows dropped whose time is out of order"


def _taken(columns: Columns, positions: Iterator[IntArray], folder: Path) -> Columns:
    """Rows by their positions, some at a time, as columns of their own; those that were there are removed."""
    with growing_table(folder / "ordered") as table:
        for at in positions:
            table.append({name: column[at] for name, column in columns.items()})
        ordered = table.finish()
    for name in columns:
        (folder / "read" / f"{name}.npy").unlink()
    return ordered


def _by_time(columns: Columns, folder: Path) -> Iterator[IntArray]:
    """Positions of all rows in order of time, then of the sequence, then as they stand.

    Stretches of the file are sorted by themselves; then, one span of time after the other, what each stretch has of it.
    """
    ts_ns, sequence = columns["ts_ns"], columns[_SEQUENCE]
    starts = range(0, len(ts_ns), ORDER_ROWS)
    empty = np.empty(0, dtype=np.int64)
    places, times = GrowingArray(folder / "places.npy", empty), GrowingArray(folder / "times.npy", empty)
    samples: list[IntArray] = []
    for start in starts:
        stretch = slice(start, start + ORDER_ROWS)
        order = np.lexsort((sequence[stretch], ts_ns[stretch]))
        places.append(order + start)
        times.append(ts_ns[stretch][order])
        samples.append(ts_ns[stretch][order][:: max(1, ORDER_ROWS // SAMPLES)])
    places.finish()
    times.finish()
    at, when = places.mapped(), times.mapped()
    ends = np.sort(np.concatenate(samples))[SAMPLES - 1 :: SAMPLES]
    # Of each stretch, the rows of each span; those after the last end are a span too.
    cuts = []
    for start in starts:
        inner = np.searchsorted(when[start : start + ORDER_ROWS], ends, side="right")
        cuts.append(np.concatenate([[0], inner, [min(ORDER_ROWS, len(ts_ns) - start)]]) + start)
    for span in range(len(ends) + 1):
        rows = np.concatenate([at[cut[span] : cut[span + 1]] for cut in cuts])
        yield rows[np.lexsort((sequence[rows], ts_ns[rows]))]
