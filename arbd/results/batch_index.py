"""Where the rows of a session stand, and which iterations have rows, in memory that does not grow with their number.

`BatchIndex` tells for some iterations which stretches of which segments hold rows of them. It begins with a stretch for
each batch; when there are too many, neighbours become one, so that more is read than was asked for, and nothing is
missed. `Presence` is the iterations that have a row, as runs of consecutive ones.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from arbd.arrays import Array
from arbd.results.segments import SegmentBatch
from arbd.spool.spans import Span
from arbd.values import dataclass

MAX_STRETCHES = 1 << 18
MAX_STRETCH_BYTES = 4 * 1024 * 1024
MAX_PENDING_RUNS = 1 << 16

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive batches of a segment: bytes `offset` to `end`."""

    segment: str
    offset: int
    end: int


class BatchIndex:
    """The batches of a session in the order of segments and places, at most about `MAX_STRETCHES` stretches of them."""

    def __init__(self) -> None:
        self.segments: list[str] = []
        # Segment, offset, end, first and last iteration of each stretch.
        self._columns = tuple(array("q") for _ in range(5))
        self._limit = MAX_STRETCHES
        self._frozen: tuple[Ints, ...] | None = None

    def add(self, found: SegmentBatch) -> None:
        """The next batch."""
        if not self.segments or self.segments[-1] != found.segment:
            self.segments.append(found.segment)
        if not len(found.rows):
            return
        first, last = int(found.rows.iteration[0]), int(found.rows.iteration[-1])
        for column, value in zip(
            self._columns, (len(self.segments) - 1, found.offset, found.end, first, last), strict=True
        ):
            column.append(value)
        self._frozen = None
        if len(self._columns[0]) >= self._limit:
            self._halve()

    def _halve(self) -> None:
        """Make one of every two neighbours."""
        segment, offset, end, first, last = self._as_arrays()
        even, odd = slice(0, len(segment) // 2 * 2, 2), slice(1, None, 2)
        joined = (segment[even] == segment[odd]) & (end[even] == offset[odd])
        joined &= end[odd] - offset[even] <= MAX_STRETCH_BYTES
        end[even] = np.where(joined, end[odd], end[even])
        first[even] = np.where(joined, np.minimum(first[even], first[odd]), first[even])
        last[even] = np.where(joined, np.maximum(last[even], last[odd]), last[even])
        kept = np.ones(len(segment), dtype=bool)
        kept[odd] = ~joined
        self._columns = tuple(array("q", column[kept].tobytes()) for column in (segment, offset, end, first, last))
        # Stretches that cannot become fewer: many long ones.
        self._limit = max(self._limit, 2 * len(self._columns[0]))

    def _as_arrays(self) -> tuple[Ints, ...]:
        return tuple(np.array(column, dtype=np.int64) for column in self._columns)

    def between(self, first: int, last: int) -> Iterator[Stretch]:
        """Stretches that hold all rows of iterations `first` to `last`."""
        columns = self._arrays()
        yield from self._stretches((columns[3] <= last) & (columns[4] >= first))

    def holding(self, iterations: Array) -> Iterator[Stretch]:
        """Stretches that hold all rows of some sorted iterations."""
        columns = self._arrays()
        before = np.searchsorted(iterations, columns[3], side="left")
        yield from self._stretches(np.searchsorted(iterations, columns[4], side="right") > before)

    def _arrays(self) -> tuple[Ints, ...]:
        if self._frozen is None:
            self._frozen = self._as_arrays()
        return self._frozen

    def _stretches(self, which: npt.NDArray[np.bool_]) -> Iterator[Stretch]:
        """Neighbours come as one, up to `MAX_STRETCH_BYTES`: fewer files are opened."""
        segment, offset, end = (column[which].tolist() for column in self._arrays()[:3])
        held: Stretch | None = None
        for number, begin, stop in zip(segment, offset, end, strict=True):
            name = self.segments[number]
            follows = held is not None and (held.segment, held.end) == (name, begin)
            if held is not None and follows and stop - held.offset <= MAX_STRETCH_BYTES:
                held = Stretch(name, held.offset, stop)
                continue
            if held is not None:
                yield held
            held = Stretch(name, begin, stop)
        if held is not None:
            yield held


class Presence:
    """A set of iterations as runs of consecutive ones: a session that was evaluated in order has few."""

    def __init__(self) -> None:
        self._first = np.empty(0, dtype=np.int64)
        self._last = np.empty(0, dtype=np.int64)
        self._pending: list[tuple[Array, Array]] = []
        self._pending_runs = 0

    def add(self, iterations: Array) -> None:
        """Iterations in growing order."""
        if not len(iterations):
            return
        breaks = np.flatnonzero(iterations[1:] != iterations[:-1] + 1)
        firsts = np.concatenate([iterations[:1], iterations[breaks + 1]])
        lasts = np.concatenate([iterations[breaks], iterations[-1:]])
        self._pending.append((firsts, lasts))
        self._pending_runs += len(firsts)
        if self._pending_runs >= max(MAX_PENDING_RUNS, len(self._first)):
            self._settle()

    def _settle(self) -> None:
        if not self._pending:
            return
        first = np.concatenate([self._first, *(firsts for firsts, _ in self._pending)])
        last = np.concatenate([self._last, *(lasts for _, lasts in self._pending)])
        order = np.argsort(first, kind="stable")
        first, last = first[order], np.maximum.accumulate(last[order])
        begins = np.concatenate([[True], first[1:] > last[:-1] + 1])
        self._first, self._last = first[begins], last[np.concatenate([begins[1:], [True]])]
        self._pending, self._pending_runs = [], 0

    @property
    def count(self) -> int:
        """How many there are."""
        self._settle()
        return int((self._last - self._first + 1).sum())

    def has(self, iterations: Array) -> npt.NDArray[np.bool_]:
        """Which of some iterations are there."""
        self._settle()
        run = np.searchsorted(self._first, iterations, side="right") - 1
        if not len(self._first):
            return np.zeros(len(iterations), dtype=bool)
        return np.asarray((run >= 0) & (iterations <= self._last[np.maximum(run, 0)]))

    def portions(self, size: int) -> Iterator[tuple[int, int, int]]:
        """First and last of each `size` of them in order, and how many these are."""
        self._settle()
        ends = np.cumsum(self._last - self._first + 1)
        total = int(ends[-1]) if len(ends) else 0
        for start in range(0, total, size):
            stop = min(start + size, total)
            yield self._at(ends, start), self._at(ends, stop - 1), stop - start

    def _at(self, ends: Array, position: int) -> int:
        run = int(np.searchsorted(ends, position, side="right"))
        return int(self._last[run]) - (int(ends[run]) - 1 - position)

    def missing(self, n: int, epoch: int) -> list[Span]:
        """The iterations of 1 to n that are not there."""
        self._settle()
        known = (self._last >= 1) & (self._first <= n)
        begins = np.concatenate([[1], self._last[known] + 1])
        ends = np.concatenate([self._first[known], [n + 1]])
        gaps = np.flatnonzero(ends > begins)
        return [Span(int(begins[gap]), int(ends[gap] - begins[gap]), epoch) for gap in gaps]

    def spans(self, epoch: int) -> list[Span]:
        """All of them."""
        self._settle()
        runs = zip(self._first.tolist(), self._last.tolist(), strict=True)
        return [Span(first, last - first + 1, epoch) for first, last in runs]
