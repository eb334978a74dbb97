"""Keeps the live CSV tables of the sessions that want one and go on, in a thread of its own.

One worker at a time does this per session, whoever holds `csv.lock`. When the session is done, compaction replaces the
table by a sorted one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from arbd.daemon.host.logs import Log
from arbd.errors import ArbdError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.system import HeldLock
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.daemon.side.live_csv import LiveTable

INTERVAL_S = 1.0
# A table is written anew after an error: on a full disk, not every second what others need the space for.
TROUBLE_PAUSE_S = 10.0


@dataclass(slots=True)
class _Kept:
    queue: SessionQueue
    table: LiveTable | None
    lock: HeldLock | None = None
    not_before_s: float = 0.0


class CsvKeeper:
    """Does the above for the sessions that go on (or `only` one of them) in a thread of its own."""

    def __init__(
        self, files: Files, layout: SpoolLayout, only: str | None, log: Log, going_on: Callable[[], Collection[str]]
    ) -> None:
        self._files = files
        self._layout = layout
        self._only = only
        self._log = log
        self._going_on = going_on
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
            self.look(self._going_on())
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
            kept = _Kept(SessionQueue(self._files, paths), self._table(paths, spec) if spec.results.csv else None)
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

    def _table(self, paths: SessionPaths, spec: JobSpec) -> LiveTable:
        from arbd.daemon.side.live_csv import LiveTable  # noqa: PLC0415 - NumPy and results, for jobs that want a table

        return LiveTable(self._files, paths, spec)
