"""Quotes of a file piece by piece, checked: what a file of any length holds passes through bounded memory.

Keeps: pieces put together are what `read_quotes` gives, and what is refused is told with the row of the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.named_file import NamedFile
from arbd.paper.market.quotes import KNOWN_COLUMNS, REMEDY, IntArray, Quotes, build_piece
from arbd.paper.market.readers import column_chunks
from arbd.paper.market.times import NEWEST_FIRST, is_newest_first


class QuoteChunks:
    """Iterate once; afterwards `dropped` says how many bad rows were left out.

    With `on_bad_rows="drop"` rows that are bad by themselves are left out, and `ordered` tells whether the times of the
    others never go backwards: if they do, which rows go is for whoever has all times to say (`in_time`).
    """

    def __init__(self, file: NamedFile, on_bad_rows: str) -> None:
        self._file = file
        self._on_bad_rows = on_bad_rows
        self.dropped = 0
        self.ordered = True

    def __iter__(self) -> Iterator[Quotes]:
        rows, last = 0, None
        # Of the times of all rows, good and bad ones.
        descending, times = True, (0, 0)
        for columns in self._columns():
            ts_ns: IntArray = columns["ts_ns"]
            if self._on_bad_rows == "refuse":
                self._check_time(ts_ns, rows, last)
            elif len(ts_ns):
                falls = bool((ts_ns[1:] <= ts_ns[:-1]).all()) and (not rows or int(ts_ns[0]) <= times[1])
                descending, times = descending and falls, (times[0] if rows else int(ts_ns[0]), int(ts_ns[-1]))
            quotes = self._checked(columns, rows)
            rows += len(ts_ns)
            if len(quotes):
                backwards = last is not None and int(quotes.ts_ns[0]) < last
                self.ordered = self.ordered and not backwards and not bool((np.diff(quotes.ts_ns) < 0).any())
                last = int(quotes.ts_ns[-1])
                yield quotes
        if not rows:
            raise DataError(self._file.path, "holds no rows")
        if descending and times[0] > times[1]:
            raise DataError(self._file.path, NEWEST_FIRST)
        if self.dropped == rows:
            raise DataError(self._file.path, f"all {rows} rows are bad")

    def _columns(self) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
        with contextlib.closing(column_chunks(self._file, KNOWN_COLUMNS, "quotes")) as pieces:
            yield from pieces

    def _check_time(self, ts_ns: IntArray, rows: int, last: int | None) -> None:
        if rows == 0 and is_newest_first(ts_ns):
            raise DataError(self._file.path, NEWEST_FIRST)
        if last is not None and len(ts_ns) and int(ts_ns[0]) < last:
            text = f"time goes backwards, from {last} to {int(ts_ns[0])} ns; {REMEDY}"
            raise DataError(self._file.path, text, rows + 1)

    def _checked(self, columns: Mapping[str, npt.NDArray[Any]], rows: int) -> Quotes:
        try:
            quotes, dropped = build_piece(columns, self._file.path, self._on_bad_rows)
        except DataError as error:
            if error.row is None or not rows:
                raise
            raise DataError(self._file.path, error.reason, error.row + rows) from None
        self.dropped += dropped
        return quotes
