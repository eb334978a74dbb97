"""Which row of an iteration wins when several were written: the one place of that rule.

Keeps I1 as read: one row per iteration, chosen by a rule that depends on the rows alone. The newest time that it was
queued (epoch) wins; among those a completed row, because a worker that was thought dead may have recorded a crash of
its own; among those the first by name of the segment and place in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from arbd.arrays import Array
from arbd.results.segments import SegmentBatch
from arbd.spool.ledger import COMPLETED
from arbd.values import dataclass

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
NOTHING = -1


def winning(iteration: Array, epoch: Array, status: Array) -> Ints:
    """Positions of the winning rows, sorted by iteration; rows come in the order of segments and places."""
    # lexsort's last key is its first criterion, and it is stable: the order of the rows decides what is left.
    order = np.lexsort((status != COMPLETED, -epoch.astype(np.int64), iteration))
    ranked = iteration[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = ranked[1:] != ranked[:-1]
    return np.asarray(order[first])


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Some consecutive rows of a batch against what was there: which of them win, and which there was a row before."""

    won: Mask
    contested: Mask

    @property
    def superseded(self) -> Mask:
        """Which of them take the place of another row."""
        return self.won & self.contested


class Winners:
    """The winning row of each iteration of 1 to n, as batches come in, in whatever order they come.

    However many batches there are, it holds 17 bytes an iteration, and the names of the segments.
    """

    def __init__(self, n: int) -> None:
        self.segments: list[str] = []
        self.segment = np.full(n + 1, NOTHING, dtype=np.int32)
        self.offset = np.zeros(n + 1, dtype=np.int64)
        self._epoch = np.zeros(n + 1, dtype=np.int32)
        self._completed = np.zeros(n + 1, dtype=np.bool_)
        self._index: dict[str, int] = {}

    @property
    def count(self) -> int:
        """Iterations that have a row."""
        return int(np.count_nonzero(self.segment != NOTHING))

    def segment_of(self, iteration: int) -> str | None:
        """The segment that holds the winning row of an iteration; None while it has none."""
        index = int(self.segment[iteration])
        return None if index == NOTHING else self.segments[index]

    def judge(self, found: SegmentBatch, rows: slice = slice(None)) -> Judged:
        """What `take` would change. A row of no iteration of the session never wins."""
        chosen = found.rows.iteration[rows]
        known = (chosen >= 1) & (chosen < len(self.segment))
        at = np.where(known, chosen, 0)
        contested = known & (self.segment[at] != NOTHING)
        won = known & ~contested
        if contested.any():
            won |= contested & self._precedes(found, rows, at)
        return Judged(won, contested)

    def _precedes(self, found: SegmentBatch, rows: slice, at: Array) -> Mask:
        """Which rows come before the winning ones at iterations `at`."""
        epoch, before = found.rows.epoch[rows], self._epoch[at]
        completed, was_completed = found.rows.status[rows] == COMPLETED, self._completed[at]
        # One more at the end, for NOTHING, which is -1.
        later_name = np.array([*(name > found.segment for name in self.segments), False])[self.segment[at]]
        same = self.segment[at] == self._index.get(found.segment, len(self.segments))
        earlier_place = later_name | (same & (found.offset < self.offset[at]))
        better = (completed & ~was_completed) | ((completed == was_completed) & earlier_place)
        return np.asarray((epoch > before) | ((epoch == before) & better))

    def take(self, found: SegmentBatch, judged: Judged, rows: slice = slice(None)) -> None:
        """Remember what `judge` said of the same rows."""
        won, batch = judged.won, found.rows
        self.put(
            batch.iteration[rows][won],
            self.index_of(found.segment),
            found.offset,
            batch.epoch[rows][won],
            batch.status[rows][won],
        )

    def put(self, iteration: Array, segment: Array | int, offset: Array | int, epoch: Array, status: Array) -> None:
        """Rows that are known to win; `segment` as of `index_of`."""
        self.segment[iteration] = segment
        self.offset[iteration] = offset
        self._epoch[iteration] = epoch
        self._completed[iteration] = status == COMPLETED

    def index_of(self, segment: str) -> int:
        """What stands for the segment in `segment`."""
        if segment not in self._index:
            self._index[segment] = len(self.segments)
            self.segments.append(segment)
        return self._index[segment]

    def add(self, found: SegmentBatch) -> Judged:
        """`judge` and `take` a whole batch."""
        judged = self.judge(found)
        self.take(found, judged)
        return judged

    def has(self, iterations: Array) -> Mask:
        """Which of some iterations have a row."""
        known = (iterations >= 1) & (iterations < len(self.segment))
        return np.asarray(known & (self.segment[np.where(known, iterations, 0)] != NOTHING))

    def places(self, iterations: Array) -> Iterator[tuple[str, int, Ints]]:
        """Where the winning rows of some iterations stand: segment, offset, and positions in `iterations`, batch by batch.

        Those that have no row are left out.
        """
        there = np.flatnonzero(self.has(iterations))
        index, offset = self.segment[iterations[there]], self.offset[iterations[there]]
        order = np.lexsort((offset, index))
        starts = np.flatnonzero((np.diff(index[order]) != 0) | (np.diff(offset[order]) != 0)) + 1
        for group in np.split(order, starts) if len(order) else ():
            yield self.segments[index[group[0]]], int(offset[group[0]]), there[group]
