"""Keeps `results.csv` current while a session runs: a row appears within seconds of its iteration ending.

The table is written anew from the segments first, and appended to from then on, or written anew where a retry took the
place of rows that stand in it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field

import numpy as np

from arbd.job.spec import JobSpec
from arbd.results.columns import RowRules
from arbd.results.csv_writer import encode_cells, group_lines, header
from arbd.results.merge import Merge
from arbd.results.precedence import Ints, Winners
from arbd.results.segments import SegmentReader, worker_of
from arbd.results.store_format import ResultGroup
from arbd.results.winning_rows import read_winning, with_originals
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.values import dataclass

STEP_ROWS = 4_096
# Between two times that a whole table is written, in parts of the time that the first of them took.
REST = 20.0
# Written at once: on a network filesystem each append that is made durable is a wait.
STEP_BYTES = 1 << 20


@dataclass(slots=True)
class LiveTable:
    """A CSV table that follows a session's segments: the winning row of each iteration, as any other table has it.

    New rows are appended. Where one takes the place of another, after a retry, the whole table is written anew; that
    waits for `REST` times as long as it took the last time. In memory are an index of the rows and a few thousand lines.
    """

    files: Files
    paths: SessionPaths
    spec: JobSpec
    metric_names: list[str] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    _reader: SegmentReader | None = None
    _winners: Winners = field(init=False)
    _waiting: Ints = field(init=False)
    _stale: bool = False
    _not_before_s: float = 0.0

    def update(self) -> None:
        """Append what is new; the whole table anew the first time, after an error, and when lines do not hold any more."""
        try:
            if self._reader is None or not self._append() or (self._stale and self.clock() >= self._not_before_s):
                self._rewrite()
        except Exception:
            # Rows were read that may not stand in the table.
            self._reader = None
            raise

    def _append(self) -> bool:
        """False when rows have metrics that the first line does not name."""
        try:
            for lines in _gathered(self._new_lines()):
                self.files.append(self.paths.results_csv, lines)
        except _MetricsAppearedError:
            return False
        return True

    def _rewrite(self) -> None:
        start_s = self.clock()
        merge = Merge(self.files, self.paths, self._rules)
        self.metric_names = list(dict.fromkeys((*self.metric_names, *merge.metric_names)))
        self._reader, self._winners, self._waiting = merge.reader, merge.winners(self.spec.n), merge.waiting
        head = encode_cells([header(self.spec, self.metric_names)])
        groups = (ResultGroup(group.rows, group.worker, tuple(merge.workers)) for group in merge.groups())
        lines = itertools.chain((head,), itertools.chain.from_iterable(map(self._lines, groups)))
        self.files.publish_stream(self.paths.results_csv, _gathered(lines))
        self._stale = False
        end_s = self.clock()
        self._not_before_s = end_s + REST * (end_s - start_s)

    @property
    def _rules(self) -> RowRules:
        return RowRules.of(self.spec)

    def _new_lines(self) -> Iterator[bytes]:
        assert self._reader is not None
        for found in self._reader.poll():
            judged = self._winners.add(found)
            self._stale |= bool(judged.superseded.any())
            # What takes the place of another row comes with the whole table.
            fresh = judged.won & ~judged.contested
            duplicates = found.rows.origins > 0
            self._waiting = np.concatenate([self._waiting, found.rows.iteration[fresh & duplicates]])
            rows = found.rows.select(np.flatnonzero(fresh & ~duplicates))
            yield from self._lines(ResultGroup(rows, np.zeros(len(rows), np.int32), (worker_of(found.segment),)))
        yield from self._new_duplicates()

    def _new_duplicates(self) -> Iterator[bytes]:
        """Those of which the original has a row by now."""
        if not len(self._waiting):
            return
        rows, worker, workers = read_winning(self.files, self.paths, self._rules, self._winners, self._waiting)
        ready = np.flatnonzero(self._winners.has(rows.origins))
        if len(ready):
            chosen = rows.select(ready)
            full = with_originals(self.files, self.paths, self._rules, self._winners, chosen)
            yield from self._lines(ResultGroup(full, worker[ready], workers))
            self._waiting = np.delete(self._waiting, ready)

    def _lines(self, group: ResultGroup) -> Iterator[bytes]:
        if not group.rows.metrics.keys() <= set(self.metric_names):
            raise _MetricsAppearedError
        for start in range(0, len(group.rows), STEP_ROWS):
            index = np.arange(start, min(start + STEP_ROWS, len(group.rows)))
            part = ResultGroup(group.rows.select(index), group.worker[index], group.workers)
            yield group_lines(self.spec, self.paths.session_id, part, self.metric_names)


class _MetricsAppearedError(Exception):
    """Rows came that have metrics that the first line of the table does not name."""


def _gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of about `STEP_BYTES`."""
    kept: list[bytes] = []
    size = 0
    for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        if size >= STEP_BYTES:
            yield b"".join(kept)
            kept, size = [], 0
    if kept:
        yield b"".join(kept)
