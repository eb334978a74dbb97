"""Keeps `results.csv` current while a session runs: a row appears within seconds of its iteration ending.

One worker at a time does this per session, whoever holds `csv.lock`; it writes the table anew from the
segments and appends from then on. When the session is done, compaction replaces the table by a sorted one.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from arbd.daemon.host.logs import Log
from arbd.errors import ArbdError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.csv_writer import encode_cells, group_cells, header
from arbd.results.segments import SegmentReader, worker_of
from arbd.results.store_format import ResultGroup
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids
from arbd.spool.system import HeldLock

INTERVAL_S = 1.0
# A table is written anew after an error: on a full disk, not every second what others need the space for.
TROUBLE_PAUSE_S = 10.0
STEP_ROWS = 4_096
# Written at once: on a network filesystem each append that is made durable is a wait.
STEP_BYTES = 1 << 20


class _MetricsAppearedError(Exception):
    """Rows came while a table was written that have metrics its first line does not name."""


@dataclass(slots=True)
class LiveTable:
    """A CSV table that follows a session's segments; each iteration stands in it once.

    However long the table is, no more than a window of a segment and a few thousand lines are in memory at once.
    """

    files: Files
    paths: SessionPaths
    spec: JobSpec
    metric_names: list[str] = field(default_factory=list)
    _reader: SegmentReader | None = None
    _seen: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None

    def update(self) -> None:
        """Append what is new; the whole table anew the first time, after an error, and when a new metric appears."""
        try:
            if self._reader is None or not self._append():
                self._rewrite()
        except Exception:
            # Rows were read that may not stand in the table.
            self._reader = None
            raise

    def _append(self) -> bool:
        """False when rows have metrics that the first line does not name."""
        try:
            for lines in _gathered(self._lines()):
                self.files.append(self.paths.results_csv, lines)
        except _MetricsAppearedError:
            return False
        return True

    def _rewrite(self) -> None:
        written = False
        while not written:
            # The first line names all metrics, so that everything is read once for the names and once for the rows.
            self._restart()
            names = dict.fromkeys(self.metric_names)
            for group in self._new_groups():
                names.update(dict.fromkeys(group.rows.metrics))
            self.metric_names = list(names)
            self._restart()
            head = encode_cells([header(self.spec, self.metric_names)])
            # Rows with further metrics may have come meanwhile. There is an end to it: a session has so many at most.
            with contextlib.suppress(_MetricsAppearedError):
                self.files.publish_stream(self.paths.results_csv, _gathered(itertools.chain((head,), self._lines())))
                written = True

    def _lines(self) -> Iterator[bytes]:
        for group in self._new_groups():
            if not group.rows.metrics.keys() <= set(self.metric_names):
                raise _MetricsAppearedError
            for start in range(0, len(group.rows), STEP_ROWS):
                index = np.arange(start, min(start + STEP_ROWS, len(group.rows)))
                part = ResultGroup(group.rows.select(index), group.worker[index], group.workers)
                yield encode_cells(group_cells(self.spec, self.paths.session_id, part, self.metric_names))

    def _restart(self) -> None:
        self._reader = SegmentReader(self.files, self.paths, rules=RowRules.of(self.spec))
        self._seen = np.zeros(self.spec.n + 1, dtype=np.bool_)

    def _new_groups(self) -> Iterator[ResultGroup]:
        assert self._reader is not None and self._seen is not None
        for found in self._reader.poll():
            # What shares the result of another iteration stands in the table once the session is done.
            fresh = ~self._seen[found.rows.iteration] & (found.rows.origins <= 0)
            self._seen[found.rows.iteration[fresh]] = True
            if fresh.any():
                rows = found.rows.select(np.flatnonzero(fresh))
                yield ResultGroup(rows, np.zeros(len(rows), dtype=np.int32), (worker_of(found.segment),))


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


@dataclass(slots=True)
class _Kept:
    queue: SessionQueue
    table: LiveTable | None
    lock: HeldLock | None = None
    not_before_s: float = 0.0


class CsvKeeper:
    """Does the above for all sessions of a spool (or `only` one) in a thread of its own."""

    def __init__(self, files: Files, layout: SpoolLayout, only: str | None, log: Log) -> None:
        self._files = files
        self._layout = layout
        self._only = only
        self._log = log
        self._kept: dict[str, _Kept] = {}
        self._over: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="csv", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the table that is being written."""
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                names = session_ids(self._files, self._layout)
            except OSError as error:
                self._log.debug("CSV tables wait", reason=error)
                continue
            self.look(names)
        for kept in self._kept.values():
            if kept.lock is not None:
                kept.lock.release()

    def look(self, names: Collection[str]) -> None:
        """Once at each of the sessions; those that are no longer there are forgotten."""
        for session_id in (self._kept.keys() | self._over).difference(names):
            # Another session may come under the same id.
            self._over.discard(session_id)
            kept = self._kept.pop(session_id, None)
            if kept is not None and kept.lock is not None:
                kept.lock.release()
        for session_id in names:
            if session_id not in self._over and self._only in (None, session_id):
                self._keep_safely(session_id)

    def _keep_safely(self, session_id: str) -> None:
        """One session's trouble is not the others'."""
        try:
            self._keep(session_id)
        except (OSError, ArbdError) as error:
            self._log.debug("a CSV table waits", session=session_id, reason=error)
            if session_id in self._kept:
                self._kept[session_id].not_before_s = time.monotonic() + TROUBLE_PAUSE_S
        except MemoryError:
            self._log.error("no CSV table is kept: too many iterations for this host's memory", session=session_id)
            self._over.add(session_id)

    def _keep(self, session_id: str) -> None:
        kept = self._kept.get(session_id)
        if kept is None:
            paths = self._layout.session(session_id)
            spec = read_spec(self._files, paths)
            kept = _Kept(
                SessionQueue(self._files, paths), LiveTable(self._files, paths, spec) if spec.results.csv else None
            )
            self._kept[session_id] = kept
        if kept.table is None:
            self._over.add(session_id)
            return
        if time.monotonic() < kept.not_before_s:
            return
        state = kept.queue.refresh()
        if state.over or state.exhausted:
            if kept.lock is not None:
                kept.lock.release()
                kept.lock = None
            if state.over:
                self._over.add(session_id)
                del self._kept[session_id]
            return
        if kept.lock is None:
            kept.lock = self._files.try_lock(kept.queue.paths.csv_lock)
        if kept.lock is not None:
            kept.table.update()
