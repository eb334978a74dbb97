"""The slot's process: evaluates the iterations of a task in order and appends the results to its own segment.

Keeps I2 on its side: a report is returned only after the rows it covers are synced. What goes wrong inside
an objective becomes the status of that iteration; what goes wrong with the process is the parent's business.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arbd.daemon.slots.progress import ProgressPage
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, LoadFailure, SlotSetup, StaleProcess
from arbd.errors import ArbdError, ObjectiveError
from arbd.job.code import engine

if TYPE_CHECKING:
    from arbd.daemon.slots.evaluation import OpenSession
    from arbd.objective.running_code import RunningCode
    from arbd.results.compaction import CompactionReport
    from arbd.spool.system import FileStatus

MAX_OUTPUT_BYTES = 1 << 20
MAX_OPEN_SESSIONS = 8
_PR_SET_PDEATHSIG = 1


class SlotProcess:
    """The state of a slot's process: its progress page and the sessions that it has open."""

    def __init__(self, setup: SlotSetup) -> None:
        self.setup = setup
        self.progress = ProgressPage(setup.progress)
        self._sessions: dict[Path, tuple[FileStatus | None, OpenSession]] = {}
        self._opened = 0
        self._code: RunningCode | None = None

    def run(self, task: ChunkTask) -> ChunkReport | LoadFailure | StaleProcess:
        """Evaluate a task; a `LoadFailure` when its session cannot be opened here, a `StaleProcess` when not in here."""
        from arbd.objective.modules import StaleProcessError  # noqa: PLC0415 - not before the first task

        self._bound_output()
        try:
            self.progress.loading(task.number, time.monotonic_ns())
            session = self._open(task.session)
        except StaleProcessError as error:
            return LoadFailure(str(error)) if task.fresh else StaleProcess(str(error))
        except (ArbdError, OSError) as error:
            return LoadFailure(str(error))
        except Exception as error:
            return LoadFailure(f"{type(error).__name__}: {error}")
        finally:
            self.progress.idle()
        try:
            report = session.evaluate(task, self.progress)
        finally:
            self.progress.idle()
        if report.code_changed:
            self._sessions.pop(task.session)[1].close()
        return report

    def _open(self, folder: Path) -> OpenSession:
        from arbd.daemon.slots.evaluation import OpenSession  # noqa: PLC0415 - numpy and samplers, not before the first task
        from arbd.named_file import ReadRule  # noqa: PLC0415 - as above
        from arbd.objective.load import load_evaluator  # noqa: PLC0415 - as above
        from arbd.spool.confined import spool_files  # noqa: PLC0415 - as above
        from arbd.spool.layout import SessionPaths  # noqa: PLC0415 - as above
        from arbd.spool.system import SystemClock  # noqa: PLC0415 - as above

        files = spool_files(folder.parent.parent)
        # A session that was removed and submitted again has the same name, and is another.
        identity = files.look(SessionPaths(folder).spec)
        known, session = self._sessions.pop(folder, (None, None))
        if session is not None and (known != identity or not session.is_current()):
            session.close()
            session = None
        if session is None:
            # A segment is never opened twice, so a session that is opened again gets another one.
            self._opened += 1
            label = f"{self.setup.label}.{self._opened}"
            load = partial(
                load_evaluator,
                cache_dir=self.setup.cache_dir,
                search_paths=self.setup.search_paths,
                reading=ReadRule(self.setup.data_dirs),
            )
            session = OpenSession(files, SystemClock(), folder, label, self.setup, load, self._running_code())
            while len(self._sessions) >= MAX_OPEN_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))[1].close()
        self._sessions[folder] = (identity, session)
        return session

    def _running_code(self) -> RunningCode:
        if self._code is None:
            from arbd.objective.running_code import RunningCode  # noqa: PLC0415 - as above

            self._code = RunningCode(self.setup.search_paths)
        return self._code

    def compact(self, folder: Path) -> CompactionReport:
        """Merge a session's segments into its results; see `arbd.results.compaction.compact`."""
        from arbd.results.compaction import compact  # noqa: PLC0415 - as above
        from arbd.spool.confined import spool_files  # noqa: PLC0415 - as above
        from arbd.spool.layout import SessionPaths  # noqa: PLC0415 - as above

        return compact(spool_files(folder.parent.parent), SessionPaths(folder))

    def _bound_output(self) -> None:
        if os.fstat(1).st_size > MAX_OUTPUT_BYTES:
            os.ftruncate(1, 0)


# The one thing that a function sent to a pool's process can reach: set once by `start`, in that process only.
_process: SlotProcess | None = None


def start(setup: SlotSetup) -> None:
    """Initialise the pool's process: die with the parent, own process group, output to the slot's file."""
    global _process  # noqa: PLW0603 - see above
    # Its own group, so that the parent can kill the slot with every command that it started.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != setup.parent_pid:
        os._exit(1)
    # Before anything that computes is imported: what is on the disk then is what this process runs.
    engine()
    fd = os.open(setup.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _process = SlotProcess(setup)
    _process.progress.announce(os.getpid())


def run(task: ChunkTask) -> ChunkReport | LoadFailure | StaleProcess:
    """Evaluate a task in the pool's process."""
    if _process is None:
        raise ObjectiveError("the slot was not started")
    return _process.run(task)


def compact(folder: Path) -> CompactionReport:
    """Compact a session in the pool's process."""
    if _process is None:
        raise ObjectiveError("the slot was not started")
    return _process.compact(folder)


def ready() -> int:
    """Return once the pool's process is up, with everything imported that the first task needs; its pid."""
    # The parent, which imports this module, has no use for them.
    import numpy.random  # noqa: F401, PLC0415

    from arbd.daemon.slots import evaluation  # noqa: F401, PLC0415
    from arbd.objective import protocol, python  # noqa: F401, PLC0415
    from arbd.spool import confined  # noqa: F401, PLC0415

    # What is there now stays; looking for garbage in it would cost as much as many an objective.
    gc.freeze()
    return os.getpid()
