"""A venue's book played back from snapshots and updates, as quotes with levels.

One message at a time changes the book; what is kept of it is the touch and the levels below it. A snapshot is a quote
whatever it holds; an update that leaves these levels as they were is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.paper.arguments import Table, as_argument
from arbd.paper.machine_code import Loop
from arbd.paper.market.levels import level_names
from arbd.paper.market.quotes import FloatArray

BATCH = 1 << 15
ROOM = 1 << 12
# Instead of a size: away with this price and all that are better.
CLEAR = -1.0
_LAST_NS = np.iinfo(np.int64).max

# snapshot, ends and changes of messages; the book's sides and counts, the last levels; levels of each message, which to keep
play = Loop(
    "arbd.paper.market.importers.book_kernel", "play", Table("uint8"), Table("int64"), Table(dimensions=2),
    Table(dimensions=2, writes=True), Table("int64", writes=True), Table(writes=True),
    Table(dimensions=2, writes=True), Table("uint8", writes=True),
)  # fmt: skip


class BookReplay:
    """Messages of a file in, rows of quotes out. Sizes are new totals at a price, 0 removes it, CLEAR what is better too.

    Messages before the first snapshot change a book that is not known: they are left out.
    """

    def __init__(self, path: Path, levels: int) -> None:
        self._path = path
        self._levels = levels
        self._begun = False
        self._before = 0
        self._notes: list[str] = []
        self._sides = np.zeros((4, ROOM))
        self._counts = np.zeros(2, dtype=np.int64)
        self._last = np.full(4 * levels, -1.0)
        self._rows: list[FloatArray] = []
        self._times: list[npt.NDArray[np.int64]] = []
        self._numbers: list[npt.NDArray[np.int64]] = []
        self._messages: list[tuple[int, int, bool, int]] = []
        self._changes: list[tuple[float, float, float]] = []

    def message(
        self,
        ts_ns: int,
        number: int,
        *,
        snapshot: bool,
        bids: Iterable[Sequence[float]],
        asks: Iterable[Sequence[float]],
    ) -> None:
        """One message of row `number`: (price, size, ...) of each side, as numbers or as texts of them."""
        if abs(ts_ns) > _LAST_NS:
            raise DataError(self._path, f"has a message at {ts_ns} ns, a time beyond the year 2262", number)
        self._begun |= snapshot
        if not self._begun:
            self._before += 1
            return
        try:
            self._changes += [(1.0, float(level[0]), float(level[1])) for level in bids]
            self._changes += [(0.0, float(level[0]), float(level[1])) for level in asks]
        except (TypeError, ValueError, LookupError, OverflowError):
            raise DataError(self._path, "has a level that is not a price and a size", number) from None
        self._messages.append((ts_ns, number, snapshot, len(self._changes)))
        if len(self._changes) >= BATCH or len(self._messages) >= BATCH:
            self._flush()

    def arrays(
        self,
        ts_ns: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        snapshot: npt.NDArray[np.bool_],
        ends: npt.NDArray[np.int64],
        changes: FloatArray,
    ) -> None:
        """Many messages at once: message i is the changes up to `ends[i]`, rows of (1 for a bid, price, size)."""
        if not len(ts_ns):
            return
        price, size = changes[:, 1], changes[:, 2]
        bad = ~((size == CLEAR) | ((price > 0) & (price < np.inf) & (size >= 0) & (size < np.inf)))
        if bad.any():
            at = int(bad.argmax())
            number = int(numbers[np.searchsorted(ends, at, side="right")])
            raise DataError(self._path, f"has a level of price {price[at]:g} and size {size[at]:g}", number)
        room = int(self._counts.max()) + len(changes) + 1
        if room > self._sides.shape[1]:
            grown = np.zeros((4, max(room, 2 * self._sides.shape[1])))
            grown[:, : self._sides.shape[1]] = self._sides
            self._sides = grown
        out = np.empty((len(ts_ns), 4 * self._levels))
        kept = np.zeros(len(ts_ns), dtype=np.uint8)
        play(
            as_argument(snapshot, np.uint8), as_argument(ends, np.int64), as_argument(changes, np.float64),
            self._sides, self._counts, self._last, out, kept,
        )  # fmt: skip
        chosen = kept != 0
        self._rows.append(out[chosen])
        self._times.append(ts_ns[chosen])
        self._numbers.append(numbers[chosen])

    def _flush(self) -> None:
        if not self._messages:
            return
        ts_ns, numbers, snapshot, ends = (np.array(column) for column in zip(*self._messages, strict=True))
        changes = np.array(self._changes, dtype=np.float64).reshape(-1, 3)
        self.arrays(ts_ns.astype(np.int64), numbers.astype(np.int64), snapshot.astype(np.bool_), ends, changes)
        self._messages, self._changes = [], []

    def note(self, text: str) -> None:
        """What was left out, to be said."""
        self._notes.append(text)

    def notes(self) -> tuple[str, ...]:
        """What was left out, and of what the quotes are."""
        early = (f"{self._before:,} updates before the first snapshot left out",) if self._before else ()
        rows = sum(map(len, self._times))
        return (f"{rows:,} changes of the first {self._levels} levels", *early, *self._notes)

    def columns(self) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int64]]:
        """Columns of `checked` and the numbers of their messages. A side without orders is NaN, with size 0."""
        self._flush()
        if not self._rows:
            if self._before:
                raise DataError(self._path, "holds updates but no snapshot to begin with: name the file before it too")
            return {"ts_ns": np.empty(0, dtype=np.int64)}, np.empty(0, dtype=np.int64)
        rows = np.concatenate(self._rows)
        columns: dict[str, npt.NDArray[Any]] = {"ts_ns": np.concatenate(self._times)}
        for level in range(self._levels):
            names = level_names("", level + 1) if level else ("bid", "bid_size", "ask", "ask_size")
            for at, name in enumerate(names):
                columns[name] = np.ascontiguousarray(rows[:, 4 * level + at])
        return columns, np.concatenate(self._numbers)
