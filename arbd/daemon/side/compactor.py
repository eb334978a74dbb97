"""The process in which this worker compacts sessions: one that never loaded an objective.

What a user's code leaves in a process (threads, limits, closed files, memory) cannot touch what makes the final results.
One process for all sessions, started with the slots, so that small sessions need not wait for its imports. It may be
killed at any time: whoever compacts next begins anew.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from arbd.daemon import forks
from arbd.daemon.core import events
from arbd.errors import VersionError

STOP_S = 5.0


def _ready() -> None:
    """Import what compaction needs."""
    from arbd.results import compaction  # noqa: F401, PLC0415 - NumPy belongs to this process alone
    from arbd.spool import confined  # noqa: F401, PLC0415 - as above


def _compact(folder: Path) -> tuple[tuple[str, ...], bool]:
    """Merge a session's segments into its results; see `arbd.results.compaction.compact`, whose `damage` and `busy` these are."""
    from arbd.results.compaction import compact  # noqa: PLC0415 - as above
    from arbd.spool.confined import spool_files  # noqa: PLC0415 - as above
    from arbd.spool.layout import SessionPaths  # noqa: PLC0415 - as above

    report = compact(spool_files(folder.parent.parent), SessionPaths(folder))
    # The daemon, which reads the answer, knows nothing of results.
    return report.damage, report.busy


class Compactor:
    """The parent's side. Only the main thread calls it; `post` is called from the executor's thread.

    One session at a time, the others wait: those of higher priority first.
    """

    def __init__(self, post: Callable[[events.Event], None], on_end: Callable[[], None]) -> None:
        self._post = post
        self._on_end = on_end
        self._executor: ProcessPoolExecutor | None = None
        self._waiting: list[events.Compact] = []
        self._running: events.Compact | None = None

    def warm_up(self) -> None:
        """Have the process ready."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                1,
                mp_context=forks.forking_context(),
                initializer=forks.begin,
                initargs=(os.getpid(), "arbd-compact"),
            )
            self._executor.submit(_ready)

    def submit(self, command: events.Compact) -> None:
        """Compact; the coordinator is told what came of it."""
        self._waiting.append(command)
        self.step()

    def step(self) -> None:
        """Begin with the next, if none is under way. To be called after `on_end` was."""
        if self._running is not None or not self._waiting:
            return
        command = max(self._waiting, key=lambda waiting: waiting.priority)
        self._waiting.remove(command)
        self._running = command
        self.warm_up()
        assert self._executor is not None
        try:
            future = self._executor.submit(_compact, command.session)
        except BrokenProcessPool:
            self.stop()
            self.warm_up()
            future = self._executor.submit(_compact, command.session)
        future.add_done_callback(lambda done: self._ended(command, done))

    def _ended(self, command: events.Compact, done: Future[tuple[tuple[str, ...], bool]]) -> None:
        self._running = None
        error = None if done.cancelled() else done.exception()
        if done.cancelled():
            self._post(events.Compacted(command.session, "the daemon stops"))
        elif error is not None:
            other_version = isinstance(error, VersionError)
            reason = str(error) if other_version else f"{type(error).__name__}: {error}"
            self._post(events.Compacted(command.session, reason, other_version=other_version))
        else:
            damage, busy = done.result()
            self._post(events.Compacted(command.session, damage=damage, busy=busy))
        self._on_end()

    def drop_waiting(self) -> None:
        """Tell the coordinator of all that are not begun that they will not be."""
        for command in self._waiting:
            self._post(events.Compacted(command.session, "the daemon stops"))
        self._waiting.clear()

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._executor is None:
            return
        processes = list((self._executor._processes or {}).values())
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.join(STOP_S)
        self._executor = None
