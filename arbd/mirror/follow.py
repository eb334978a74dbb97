"""One session from its segments into Redis: which row stands for an iteration, and which hash has to go.

Keeps I1 in Redis: the hashes are those of the rows that `arbd.results.merge` chooses, whatever order they come in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arbd.job.spec import JobSpec
from arbd.mirror.state import DONE, MovedError, StateManager
from arbd.results.columns import RowRules
from arbd.results.csv_writer import METRIC_PREFIX, group_cells, header
from arbd.results.segments import SegmentBatch, SegmentReader, worker_of
from arbd.results.store_format import ResultGroup
from arbd.results.store_reader import read_results
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import COMPLETED

# Rows a transaction: Redis serves nobody else meanwhile.
STEP_ROWS = 500
NOTHING = -1

Mask = npt.NDArray[np.bool_]


class Place(NamedTuple):
    """How far a segment is mirrored: so many rows of the batch at `offset`, and all before it."""

    offset: int
    rows: int

    @classmethod
    def parse(cls, text: str | None) -> Place:
        """From the text in Redis; MovedError when somebody else wrote it."""
        if text is None:
            return BEGINNING
        try:
            offset, rows = text.split(":")
            return cls(int(offset), int(rows))
        except ValueError as error:
            raise MovedError(f"Redis holds {text!r} where arbd keeps how far it is") from error

    def __str__(self) -> str:
        return f"{self.offset}:{self.rows}"

    def covers(self, batch: SegmentBatch) -> int:
        """How many rows of a batch it includes."""
        if batch.offset < self.offset:
            return len(batch.rows)
        return self.rows if batch.offset == self.offset else 0


BEGINNING = Place(-1, 0)


def hashes(
    state: StateManager, spec: JobSpec, session_id: str, group: ResultGroup
) -> Iterator[tuple[str, dict[str, str]]]:
    """Key and fields of each row: the cells of the CSV table under their column names, without metrics it has not."""
    metrics = list(group.rows.metrics)
    names = header(spec, metrics)
    for cells in group_cells(spec, session_id, group, metrics):
        fields = {
            name: str(cell)
            for name, cell in zip(names, cells, strict=True)
            if cell != "" or not name.startswith(METRIC_PREFIX)
        }
        yield state.key(session_id, str(cells[1]), int(str(cells[2]))), fields


class _Winners:
    """Which row stands for each iteration so far; the rule is the one of `arbd.results.merge.Merge`."""

    def __init__(self, n: int) -> None:
        self.segments: list[str] = []
        self.segment = np.full(n + 1, NOTHING, dtype=np.int32)
        self._epoch = np.zeros(n + 1, dtype=np.int32)
        self._completed = np.zeros(n + 1, dtype=np.bool_)
        self._offset = np.zeros(n + 1, dtype=np.int64)
        self._ended_ns = np.zeros(n + 1, dtype=np.int64)

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.segment != NOTHING))

    def worker(self, iteration: int) -> str | None:
        index = int(self.segment[iteration])
        return None if index == NOTHING else worker_of(self.segments[index])

    def judge(self, found: SegmentBatch, rows: slice) -> tuple[Mask, list[tuple[str, int]]]:
        """Which rows of a batch would stand now, and the (worker, iteration) of those that would no longer, or never."""
        iteration = found.rows.iteration[rows]
        known = (iteration >= 1) & (iteration < len(self.segment))
        won = known & (self.segment[np.where(known, iteration, 0)] == NOTHING)
        losers: list[tuple[str, int]] = []
        worker = worker_of(found.segment)
        for at in np.flatnonzero(known & ~won).tolist():
            number, row = int(iteration[at]), rows.start + at
            completed = found.rows.status[row] == COMPLETED
            before = self.worker(number) or ""
            won[at] = (-int(found.rows.epoch[row]), not completed, found.segment, found.offset) < self._rank(number)
            if before != worker:
                losers.append((before if won[at] else worker, number))
        return won, losers

    def take(self, found: SegmentBatch, rows: slice, won: Mask) -> None:
        """Remember the rows that stand now."""
        chosen = found.rows.iteration[rows][won]
        self.segment[chosen] = self._index(found.segment)
        self._epoch[chosen] = found.rows.epoch[rows][won]
        self._completed[chosen] = found.rows.status[rows][won] == COMPLETED
        self._offset[chosen] = found.offset
        self._ended_ns[chosen] = found.rows.ended_ns[rows][won]

    def unlike(self, group: ResultGroup) -> npt.NDArray[np.int64]:
        """Which rows of a group are another worker's than those that stand here, or of another time."""
        iteration = group.rows.iteration
        known = (iteration >= 1) & (iteration < len(self.segment))
        safe = np.where(known, iteration, 0)
        index = {worker: at for at, worker in enumerate(group.workers)}
        # One more at the end, for NOTHING, which is -1.
        worker = np.array([*(index.get(worker_of(name), -1) for name in self.segments), -1])[self.segment[safe]]
        return np.flatnonzero(known & ((worker != group.worker) | (self._ended_ns[safe] != group.rows.ended_ns)))

    def _rank(self, iteration: int) -> tuple[int, bool, str, int]:
        segment = self.segments[int(self.segment[iteration])]
        completed = bool(self._completed[iteration])
        return -int(self._epoch[iteration]), not completed, segment, int(self._offset[iteration])

    def _index(self, segment: str) -> int:
        if segment not in self.segments[-1:]:
            if segment in self.segments:
                return self.segments.index(segment)
            self.segments.append(segment)
        return len(self.segments) - 1


class SessionMirror:
    """Follows one session. After an error from Redis it goes on where it was; after MovedError make a new one."""

    def __init__(self, files: Files, paths: SessionPaths, spec: JobSpec, state: StateManager) -> None:
        self._files = files
        self._paths = paths
        self._spec = spec
        self._state = state
        self._position = state.position(paths.session_id)
        # Those of `arbd.results.merge`: what is no row of the session is in no table, and its columns have no names here.
        self._rules = RowRules.of(spec)
        self._winners = _Winners(spec.n)
        self._remembered: dict[str, Place] = {}
        self._remember()
        self._reader = SegmentReader(files, paths, rules=self._rules)
        self._batches = self._reader.poll()
        self._batch: SegmentBatch | None = None
        self._row = 0

    @property
    def position(self) -> Mapping[str, str]:
        """Where this writer believes Redis to be."""
        return self._position

    @property
    def mirrored(self) -> int:
        """Iterations of which Redis has the result."""
        return self._winners.count

    def check(self) -> None:
        """MovedError when Redis is not where this writer believes it to be."""
        if self._state.position(self._paths.session_id) != self._position:
            raise MovedError(f"another writes session {self._paths.session_id} to Redis, or Redis lost its data")

    def advance(self, limit_rows: int) -> tuple[int, bool]:
        """Mirror what is new, about `limit_rows` at most: rows written, and whether that was everything."""
        written = 0
        while written < limit_rows:
            if self._batch is None:
                self._batch, self._row = next(self._batches, None), 0
            if self._batch is None:
                self._batches = self._reader.poll()
                return written, True
            written += self._step(self._batch)
            if self._row >= len(self._batch.rows):
                self._batch = None
        return written, False

    def _remember(self) -> None:
        """What Redis has comes before everything else: only against that can it be seen which hashes have to go."""
        if not self._position:
            return
        for batch in SegmentReader(self._files, self._paths, rules=self._rules).poll():
            had = Place.parse(self._position.get(batch.segment)).covers(batch)
            if had:
                rows = slice(0, had)
                self._winners.take(batch, rows, self._winners.judge(batch, rows)[0])
                self._remembered[batch.segment] = Place(batch.offset, had)

    def _step(self, batch: SegmentBatch) -> int:
        """Some rows of a batch; those that are remembered are in Redis."""
        had = self._remembered.get(batch.segment, BEGINNING).covers(batch)
        if self._row < had:
            self._row = had
            return 0
        rows = slice(self._row, min(len(batch.rows), self._row + STEP_ROWS))
        self._write(batch, rows)
        self._row = rows.stop
        return rows.stop - rows.start

    def _write(self, batch: SegmentBatch, rows: slice) -> None:
        session_id = self._paths.session_id
        chosen = batch.rows.select(np.arange(rows.start, rows.stop))
        won, losers = self._winners.judge(batch, rows)
        group = ResultGroup(
            chosen.select(np.flatnonzero(won)), np.zeros(int(won.sum()), np.int32), (worker_of(batch.segment),)
        )
        # A network client can show a segment shorter than it is, so that not all that Redis has was remembered.
        place = max(Place(batch.offset, rows.stop), Place.parse(self._position.get(batch.segment)))
        move = {batch.segment: str(place)}
        remove = [self._state.key(session_id, worker, iteration) for worker, iteration in losers]
        self._change(move, remove, dict(hashes(self._state, self._spec, session_id, group)))
        # Only now: what Redis did not take is judged again.
        self._winners.take(batch, rows, won)

    def _change(self, move: dict[str, str], remove: list[str], write: dict[str, dict[str, str]]) -> None:
        self._state.change(self._paths.session_id, self._position, move, remove=remove, write=write)
        self._position = {**self._position, **move}

    def finish(self, done: str) -> int:
        """The session is done: make the hashes those of `results.msgpack` exactly, and note it as `done`. Rows corrected.

        They differ where a worker that was thought dead wrote a row after the session was compacted.
        """
        session_id = self._paths.session_id
        corrected = 0
        for group in read_results(self._files, self._paths, rules=self._rules):
            wrong = self._winners.unlike(group)
            for start in range(0, len(wrong), STEP_ROWS):
                at = wrong[start : start + STEP_ROWS]
                right = ResultGroup(group.rows.select(at), group.worker[at], group.workers)
                write = dict(hashes(self._state, self._spec, session_id, right))
                there = [(self._winners.worker(int(i)), int(i)) for i in group.rows.iteration[at]]
                remove = [self._state.key(session_id, worker, i) for worker, i in there if worker is not None]
                self._change({}, remove, write)
                corrected += len(at)
        self._change({DONE: done}, [], {})
        return corrected

    def prune(self) -> int:
        """Remove hashes of the session that no row stands for; how many there were."""
        session_id = self._paths.session_id
        wanted = {
            self._state.key(session_id, worker, i)
            for i in range(1, len(self._winners.segment))
            if (worker := self._winners.worker(i)) is not None
        }
        extra = sorted(set(self._state.keys(session_id)) - wanted)
        for start in range(0, len(extra), STEP_ROWS):
            self._change({}, extra[start : start + STEP_ROWS], {})
        return len(extra)
