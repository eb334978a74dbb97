"""From segments to results: which row stands for an iteration when several were written, in order.

Keeps I1 as read: one row per iteration, chosen by a rule that depends on the rows alone. The newest order to
run it (epoch) wins; among those a completed row, because a worker that was thought dead may have recorded a
crash of its own; among those the first by segment name and place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import COMPLETED, Span
from arbd.spool.rows import Array, RowBatch, RowRules, concatenate
from arbd.spool.segments import SegmentDamage, SegmentReader, read_batch, worker_of

GROUP_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class MergedGroup:
    """Up to `GROUP_ROWS` rows sorted by iteration; `worker` holds indices into `Merge.workers`."""

    rows: RowBatch
    worker: Array


class Merge:
    """The winning rows of a session, found by one pass over its segments; the rows are read when asked for.

    Only rows that keep the session's `rules` count.
    """

    def __init__(self, files: Files, paths: SessionPaths, rules: RowRules | None = None) -> None:
        self._files = files
        self._paths = paths
        self._rules = rules
        self._batches: list[tuple[str, int]] = []
        reader = SegmentReader(files, paths, rules=rules)
        iterations: list[Array] = []
        epochs: list[Array] = []
        statuses: list[Array] = []
        for found in reader.poll():
            self._batches.append((found.segment, found.offset))
            iterations.append(found.rows.iteration)
            epochs.append(found.rows.epoch)
            statuses.append(found.rows.status)
        self.damage: list[SegmentDamage] = reader.damage
        self._index(iterations, epochs, statuses)
        self.workers = sorted({worker_of(segment) for segment, _ in self._batches})

    def _index(self, iterations: list[Array], epochs: list[Array], statuses: list[Array]) -> None:
        empty = np.empty(0, dtype=np.int64)
        sizes = np.array([len(column) for column in iterations], dtype=np.int64)
        iteration = np.concatenate([empty, *iterations]).astype(np.int64)
        epoch = np.concatenate([empty, *epochs])
        status = np.concatenate([empty, *statuses])
        batch = np.repeat(np.arange(len(sizes)), sizes)
        starts = np.cumsum(sizes) - sizes
        row = np.arange(len(iteration)) - np.repeat(starts, sizes)
        # lexsort's last key is its first criterion, and it is stable: file order decides what is left.
        order = np.lexsort((status != COMPLETED, -epoch, iteration))
        ranked = iteration[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = ranked[1:] != ranked[:-1]
        winners = order[first]
        self.iteration = iteration[winners]
        self.status = status[winners]
        self._batch = batch[winners]
        self._row = row[winners]
        self.duplicates = len(order) - len(winners)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Winning rows by status, in the ledger's order."""
        found = np.bincount(self.status.astype(np.int64), minlength=4)
        return (int(found[0]), int(found[1]), int(found[2]), int(found[3]))

    def missing(self, n: int, epoch: int) -> list[Span]:
        """The iterations of 1 to n that no row stands for."""
        present = np.zeros(n + 2, dtype=bool)
        present[0] = present[n + 1] = True
        present[self.iteration[(self.iteration >= 1) & (self.iteration <= n)]] = True
        edges = np.flatnonzero(present[1:] != present[:-1])
        return [Span(int(a) + 1, int(b - a), epoch) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def groups(self) -> Iterator[MergedGroup]:
        """All winning rows with everything they hold, sorted by iteration, in groups of bounded size."""
        worker_index = {worker: index for index, worker in enumerate(self.workers)}
        for start in range(0, len(self.iteration), GROUP_ROWS):
            chosen = slice(start, start + GROUP_ROWS)
            batch_of, row_of = self._batch[chosen], self._row[chosen]
            parts: list[RowBatch] = []
            workers: list[Array] = []
            for number in np.unique(batch_of):
                segment, offset = self._batches[number]
                part = read_batch(self._files, self._paths, segment, offset, self._rules)
                part = part.select(row_of[batch_of == number])
                parts.append(part)
                workers.append(np.full(len(part), worker_index[worker_of(segment)], dtype=np.int32))
            rows = concatenate(parts)
            order = np.argsort(rows.iteration, kind="stable")
            yield MergedGroup(rows.select(order), np.concatenate(workers)[order])
