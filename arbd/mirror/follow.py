"""One session from its segments into Redis: the winning row of each iteration, and which hash has to go.

Keeps I1 in Redis: the hashes are those of the rows that `arbd.results.precedence` chooses, in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arbd.job.spec import JobSpec
from arbd.mirror.state import DONE, MovedError, StateManager
from arbd.results.columns import RowRules
from arbd.results.csv_writer import DIRECTION_PREFIX, METRIC_PREFIX, group_cells, header
from arbd.results.precedence import Judged, Winners
from arbd.results.segments import SegmentBatch, SegmentReader, worker_of
from arbd.results.session_rows import read_rows
from arbd.results.store_format import ResultGroup
from arbd.results.winning_rows import read_winning, with_originals
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths

# Rows a transaction: Redis serves nobody else meanwhile.
STEP_ROWS = 500


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
    """Key and fields of each row: the cells of the CSV table under their column names.

    Without metrics that it has not, and without the directions of the job, which are the same for all.
    """
    metrics = list(group.rows.metrics)
    names = header(spec, metrics)
    for cells in group_cells(spec, session_id, group, metrics):
        fields = {
            name: str(cell)
            for name, cell in zip(names, cells, strict=True)
            if (cell != "" or not name.startswith(METRIC_PREFIX)) and not name.startswith(DIRECTION_PREFIX)
        }
        yield state.key(session_id, str(cells[1]), int(str(cells[2]))), fields


class _Mirrored(Winners):
    """The rows that Redis has, or is to have, and when each was made."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.ended_ns = np.zeros(n + 1, dtype=np.int64)
        self._original = np.zeros(n + 1, dtype=np.int64)

    def worker(self, iteration: int) -> str | None:
        """Whose row wins; None while there is none."""
        segment = self.segment_of(iteration)
        return None if segment is None else worker_of(segment)

    def losers(self, found: SegmentBatch, rows: slice, judged: Judged) -> list[tuple[str, int]]:
        """The (worker, iteration) of rows that win no longer once these are taken, or never."""
        worker, iterations = worker_of(found.segment), found.rows.iteration[rows]
        losers: list[tuple[str, int]] = []
        for at in np.flatnonzero(judged.contested).tolist():
            before = self.worker(int(iterations[at])) or ""
            if before != worker:
                losers.append((before if judged.won[at] else worker, int(iterations[at])))
        return losers

    def take(self, found: SegmentBatch, judged: Judged, rows: slice = slice(None)) -> None:
        """See `Winners`."""
        super().take(found, judged, rows)
        chosen = found.rows.iteration[rows][judged.won]
        self.ended_ns[chosen] = found.rows.ended_ns[rows][judged.won]
        if found.rows.origin is not None or self._original.any():
            self._original[chosen] = np.maximum(found.rows.origins[rows][judged.won], 0)

    def duplicates(self, of: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Iterations that have the result of another one, or of one of those named."""
        if of is None or not self._original.any():
            return np.flatnonzero(self._original)
        return np.flatnonzero(np.isin(self._original, of[of > 0]))

    def unlike(self, group: ResultGroup) -> npt.NDArray[np.int64]:
        """Which rows of a group are another worker's than those that win here, or of another time."""
        iteration = group.rows.iteration
        known = (iteration >= 1) & (iteration < len(self.segment))
        safe = np.where(known, iteration, 0)
        index = {worker: at for at, worker in enumerate(group.workers)}
        # One more at the end, for NOTHING, which is -1.
        worker = np.array([*(index.get(worker_of(name), -1) for name in self.segments), -1])[self.segment[safe]]
        return np.flatnonzero(known & ((worker != group.worker) | (self.ended_ns[safe] != group.rows.ended_ns)))


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
        self._winners = _Mirrored(spec.n)
        self._remembered: dict[str, Place] = {}
        self._remember()
        # Duplicates that Redis may not have yet; of those that are remembered nobody knows.
        self._owed = self._winners.duplicates()
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
        self._write_duplicates()
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
                self._winners.take(batch, self._winners.judge(batch, rows), rows)
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
        judged = self._winners.judge(batch, rows)
        losers = self._winners.losers(batch, rows, judged)
        chosen = batch.rows.select(np.arange(rows.start, rows.stop)[judged.won])
        # A network client can show a segment shorter than it is, so that not all that Redis has was remembered.
        place = max(Place(batch.offset, rows.stop), Place.parse(self._position.get(batch.segment)))
        move = {batch.segment: str(place)}
        remove = [self._state.key(session_id, worker, iteration) for worker, iteration in losers]
        # A duplicate is written with its original, whichever of the two comes first.
        own = chosen.select(np.flatnonzero(chosen.origins <= 0))
        group = ResultGroup(own, np.zeros(len(own), np.int32), (worker_of(batch.segment),))
        self._change(move, remove, dict(hashes(self._state, self._spec, session_id, group)))
        # Only now: what Redis did not take is judged again.
        self._winners.take(batch, judged, rows)
        owed = (self._owed, chosen.iteration[chosen.origins > 0], self._winners.duplicates(chosen.iteration))
        self._owed = np.unique(np.concatenate(owed))
        self._write_duplicates()

    def _write_duplicates(self) -> None:
        """Write those duplicates that Redis may not have and whose original has a row."""
        files, paths, rules, winners = self._files, self._paths, self._rules, self._winners
        while len(self._owed):
            some = self._owed[:STEP_ROWS]
            rows, worker, workers = read_winning(files, paths, rules, winners, some)
            ready = np.flatnonzero(winners.has(rows.origins) & (rows.origins > 0))
            if len(ready):
                full = with_originals(files, paths, rules, winners, rows.select(ready))
                group = ResultGroup(full, worker[ready], workers)
                self._change({}, [], dict(hashes(self._state, self._spec, paths.session_id, group)))
            # Without an original they come with it.
            self._owed = self._owed[len(some) :]

    def _change(self, move: dict[str, str], remove: list[str], write: dict[str, dict[str, str]]) -> None:
        self._state.change(self._paths.session_id, self._position, move, remove=remove, write=write)
        self._position = {**self._position, **move}

    def finish(self, done: str) -> int:
        """The session is done: make the hashes those of `results.msgpack` exactly, and note it as `done`. Rows corrected.

        They differ where a worker that was thought dead wrote a row after the session was compacted.
        """
        session_id = self._paths.session_id
        corrected = 0
        for group in read_rows(self._files, self._paths, done=True, rules=self._rules):
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
