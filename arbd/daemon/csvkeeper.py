"""Keeps `results.csv` current while a session runs: a row appears within seconds of its iteration ending.

One worker at a time does this per session, whoever holds `csv.lock`; it writes the table anew from the
segments and appends from then on. When the session is done, compaction replaces the table by a sorted one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from arbd.daemon.logs import Log
from arbd.errors import ArbdError
from arbd.spool.csvfile import encode_cells, group_cells, header
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.results import ResultGroup
from arbd.spool.rows import RowRules
from arbd.spool.segments import SegmentReader, worker_of
from arbd.spool.sessions import read_spec, session_ids
from arbd.spool.system import HeldLock
from arbd.tuning.jobspec import JobSpec

INTERVAL_S = 1.0


@dataclass(slots=True)
class LiveTable:
    """A CSV table that follows a session's segments; each iteration stands in it once."""

    files: Files
    paths: SessionPaths
    spec: JobSpec
    metric_names: list[str] = field(default_factory=list)
    _reader: SegmentReader | None = None
    _seen: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None

    def update(self) -> None:
        """Append what is new; the whole table anew the first time, and whenever a new metric appears."""
        rewrite = self._reader is None
        if self._reader is None:
            self._restart()
        groups = list(self._new_groups())
        names = dict.fromkeys(self.metric_names)
        for group in groups:
            names.update(dict.fromkeys(group.rows.metrics))
        if list(names) != self.metric_names:
            self.metric_names = list(names)
            if not rewrite:
                self._restart()
                groups = list(self._new_groups())
            rewrite = True
        lines = [
            line for g in groups for line in group_cells(self.spec.space, self.paths.session_id, g, self.metric_names)
        ]
        if rewrite:
            head = header(self.spec.space.names, self.metric_names)
            self.files.publish(self.paths.results_csv, encode_cells([head, *lines]))
        elif lines:
            self.files.append(self.paths.results_csv, encode_cells(lines))

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


@dataclass(slots=True)
class _Kept:
    queue: SessionQueue
    table: LiveTable | None
    lock: HeldLock | None = None


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
            for session_id in names:
                if session_id not in self._over and self._only in (None, session_id):
                    self._keep_safely(session_id)
        for kept in self._kept.values():
            if kept.lock is not None:
                kept.lock.release()

    def _keep_safely(self, session_id: str) -> None:
        """One session's trouble is not the others'."""
        try:
            self._keep(session_id)
        except (OSError, ArbdError) as error:
            self._log.debug("a CSV table waits", session=session_id, reason=error)
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
