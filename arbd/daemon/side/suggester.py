"""The process in which this worker computes suggestions: what they import stays there.

One process for all sessions, started with the first adaptive one. It may be killed at any time: what it publishes is
whole or not there, and a new process computes the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from arbd.daemon import forks
from arbd.daemon.core import events
from arbd.errors import VersionError

if TYPE_CHECKING:
    from arbd.results.generations import Suggested
    from arbd.results.suggester import Suggester
    from arbd.spool.system import FileStatus

MAX_SESSIONS = 8

# The sessions of this process, which functions sent to the pool reach.
_sessions: dict[Path, tuple[FileStatus | None, Suggester]] = {}


def _suggest(folder: Path, number: int, urgent: bool) -> Suggested:
    """Publish a generation of a session."""
    from arbd.results.suggester import Suggester  # noqa: PLC0415 - NumPy and samplers belong to this process alone
    from arbd.spool.layout import SpoolLayout  # noqa: PLC0415 - as above

    layout = SpoolLayout(folder.parent.parent)
    files, paths = layout.files(), layout.session(folder.name)
    # A session that was removed and submitted again has the same name, and is another.
    identity = files.look(paths.spec)
    known, session = _sessions.pop(folder, (None, None))
    if session is None or known != identity:
        session = Suggester(files, paths)
        while len(_sessions) >= MAX_SESSIONS:
            del _sessions[next(iter(_sessions))]
        # Now, while the slots start, rather than when the first generation that learns is waited for.
        session.warm_up()
    found = session.suggest(number, urgent=urgent)
    # Not where that failed: what was read of the session may have been an old copy.
    _sessions[folder] = (identity, session)
    return found


class SuggesterPool:
    """The parent's side. Only the main thread calls it; `tell` is called from the executor's thread."""

    def __init__(self, tell: Callable[[events.Event], None]) -> None:
        self._tell = tell
        self._executor: ProcessPoolExecutor | None = None

    def submit(self, order: events.Suggest) -> None:
        """Compute; the coordinator hears what came of it."""
        try:
            future = self._running().submit(_suggest, order.session, order.number, order.urgent)
        except BrokenProcessPool:
            self.stop()
            future = self._running().submit(_suggest, order.session, order.number, order.urgent)
        future.add_done_callback(lambda done: self._came_back(order, done))

    def _running(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                1,
                mp_context=forks.forking_context(),
                initializer=forks.begin,
                initargs=(os.getpid(), "arbd-suggest"),
            )
        return self._executor

    def _came_back(self, order: events.Suggest, done: Future[Suggested]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._tell(events.SuggestionMade(order.session, done.result()))
        elif isinstance(error, VersionError):
            self._tell(events.SuggestionFailed(order.session, str(error), other_version=True))
        else:
            self._tell(events.SuggestionFailed(order.session, f"{type(error).__name__}: {error}"))

    def stop(self) -> None:
        """End the process, whatever it computes."""
        if self._executor is None:
            return
        for process in list((self._executor._processes or {}).values()):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None
