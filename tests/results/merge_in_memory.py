"""The merge that has all rows' places in memory: simple, and what the external one must agree with, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from arbd.arrays import Array
from arbd.results.columns import CODE_FORM, RowBatch, RowRules, concatenate
from arbd.results.merge import MergedGroup
from arbd.results.precedence import Winners, winning
from arbd.results.segments import SegmentDamage, SegmentReader, read_batch, worker_of
from arbd.results.winning_rows import with_results
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.spans import Span


class MergeInMemory:
    """The winning rows of a session, found by one pass over its segments."""

    def __init__(self, files: Files, paths: SessionPaths, rules: RowRules | None, group_rows: int) -> None:
        self._group_rows = group_rows
        self._files = files
        self._paths = paths
        self._rules = rules
        self._batches: list[tuple[str, int]] = []
        self._batch_codes: list[bytes] = []
        # It goes on from here for those who follow the session.
        self.reader = SegmentReader(files, paths, rules=rules)
        names: dict[str, None] = {}
        iterations: list[Array] = []
        epochs: list[Array] = []
        statuses: list[Array] = []
        origins: list[Array] = []
        for found in self.reader.poll():
            names.update(dict.fromkeys(found.rows.metrics))
            self._batches.append((found.segment, found.offset))
            # A slot writes no batch of two codes.
            self._batch_codes.append(bytes(found.rows.codes[0]) if len(found.rows) else b"")
            iterations.append(found.rows.iteration)
            epochs.append(found.rows.epoch)
            statuses.append(found.rows.status)
            origins.append(found.rows.origins)
        self.damage: list[SegmentDamage] = self.reader.damage
        self.metric_names = list(names)
        self._index(iterations, epochs, statuses, origins)
        self.workers = sorted({worker_of(segment) for segment, _ in self._batches})

    def _index(self, iterations: list[Array], epochs: list[Array], statuses: list[Array], origins: list[Array]) -> None:
        empty = np.empty(0, dtype=np.int64)
        sizes = np.array([len(column) for column in iterations], dtype=np.int64)
        iteration = np.concatenate([empty, *iterations]).astype(np.int64)
        epoch = np.concatenate([empty, *epochs])
        status = np.concatenate([empty, *statuses])
        batch = np.repeat(np.arange(len(sizes)), sizes)
        starts = np.cumsum(sizes) - sizes
        row = np.arange(len(iteration)) - np.repeat(starts, sizes)
        winners = winning(iteration, epoch, status)
        self.iteration = iteration[winners]
        self.status = status[winners]
        self._epoch = epoch[winners]
        self._own_status = self.status
        self._batch = batch[winners]
        self._row = row[winners]
        self.duplicates = len(iteration) - len(winners)
        self._origin = np.concatenate([empty, *origins])[winners].astype(np.int64)
        self._find_originals()

    def _find_originals(self) -> None:
        """A duplicate has the status of its original; `_source` is where its result stands, -1 while it has none."""
        n = len(self.iteration)
        self._source = np.arange(n)
        repeats = np.flatnonzero(self._origin > 0)
        place = np.searchsorted(self.iteration, self._origin[repeats])
        there = (
            (place < n) & (self.iteration[np.minimum(place, max(n - 1, 0))] == self._origin[repeats]) if n else place
        )
        self._source[repeats] = np.where(there, place, -1)
        self.status = self.status.copy()
        self.status[repeats[there]] = self.status[place[there]] if n else 0

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Winning rows by status, in the ledger's order."""
        found = np.bincount(self.status.astype(np.int64), minlength=4)
        return (int(found[0]), int(found[1]), int(found[2]), int(found[3]))

    def winners(self, n: int) -> Winners:
        """The same rows, for those who follow the session of `n` iterations from here."""
        found = Winners(n)
        segments = np.array([found.index_of(segment) for segment, _ in self._batches], dtype=np.int32)
        offsets = np.array([offset for _, offset in self._batches], dtype=np.int64)
        known = np.flatnonzero((self.iteration >= 1) & (self.iteration <= n))
        batch = self._batch[known]
        found.put(self.iteration[known], segments[batch], offsets[batch], self._epoch[known], self._own_status[known])
        return found

    @property
    def waiting(self) -> Array:
        """Iterations that duplicate one that has no row yet, which `groups` leaves out."""
        return self.iteration[self._source < 0]

    @property
    def codes(self) -> Array:
        """Of each winning row the digest of the code that made its result, empty where it is not known."""
        codes = np.array([*self._batch_codes, b""], dtype=CODE_FORM)
        source = np.maximum(self._source, 0)
        return codes[self._batch[source]] if len(source) else codes[:0]

    def made_with(self, digests: Sequence[str]) -> Array:
        """Which winning rows have a result of this code."""
        if not digests:
            return np.zeros(len(self.iteration), dtype=bool)
        return np.isin(self.codes, np.array([digest.encode() for digest in digests], dtype=CODE_FORM))

    def missing(self, n: int, epoch: int) -> list[Span]:
        """The iterations of 1 to n that no row stands for."""
        present = np.zeros(n + 2, dtype=bool)
        present[0] = present[n + 1] = True
        present[self.iteration[(self.iteration >= 1) & (self.iteration <= n)]] = True
        edges = np.flatnonzero(present[1:] != present[:-1])
        return [Span(int(a) + 1, int(b - a), epoch) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def groups(self, *, blocks: bool = True) -> Iterator[MergedGroup]:
        """All winning rows with everything they hold, sorted by iteration, in groups of bounded size.

        A duplicate holds the result of its original; while there is none it is left out.
        """
        for start in range(0, len(self.iteration), self._group_rows):
            positions = np.arange(start, min(start + self._group_rows, len(self.iteration)))
            positions = positions[self._source[positions] >= 0]
            if not len(positions):
                continue
            rows, worker = self._read(positions)
            repeats = np.flatnonzero(self._source[positions] != positions)
            if len(repeats):
                sources, inverse = np.unique(self._source[positions[repeats]], return_inverse=True)
                rows = with_results(rows, repeats, self._read(sources)[0].select(inverse))
            yield MergedGroup(rows, worker)

    def _read(self, positions: Array) -> tuple[RowBatch, Array]:
        """The winning rows at sorted positions, and their workers."""
        worker_index = {worker: index for index, worker in enumerate(self.workers)}
        batch_of, row_of = self._batch[positions], self._row[positions]
        parts: list[RowBatch] = []
        workers: list[Array] = []
        for number in np.unique(batch_of):
            segment, offset = self._batches[number]
            part = read_batch(self._files, self._paths, segment, offset, self._rules).select(row_of[batch_of == number])
            parts.append(part)
            workers.append(np.full(len(part), worker_index[worker_of(segment)], dtype=np.int32))
        rows = concatenate(parts)
        order = np.argsort(rows.iteration, kind="stable")
        return rows.select(order), np.concatenate(workers)[order]
