"""The slot's process: evaluates the iterations of a task in order and appends the results to its own segment.

Keeps I2 on its side: a report is returned only after the rows it covers are synced. What goes wrong inside
an objective becomes the status of that iteration; what goes wrong with the process is the parent's business.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arbd import arrays
from arbd.daemon import forks
from arbd.daemon.slots.progress import ProgressPage
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, LoadFailure, SlotSetup, StaleProcess
from arbd.errors import ArbdError, ObjectiveError
from arbd.import_path import spare_own_processes
from arbd.job.code import engine

if TYPE_CHECKING:
    from arbd.daemon.slots.open_session import OpenSession
    from arbd.objective.running_code import RunningCode
    from arbd.spool.system import FileStatus

MAX_OPEN_SESSIONS = 8


class SlotProcess:
    """The state of a slot's process: its progress page and the sessions that it has open."""

    def __init__(self, setup: SlotSetup) -> None:
        self.setup = setup
        self.progress = ProgressPage(setup.progress)
        self._sessions: dict[Path, tuple[FileStatus | None, OpenSession]] = {}
        self._opened = 0
        # The parent, which imports this module too, has no use for NumPy.
        from arbd.daemon.slots.cell import ProcessCell  # noqa: PLC0415
        from arbd.daemon.slots.descriptors import OwnDescriptors  # noqa: PLC0415

        self._descriptors = OwnDescriptors(setup.output)
        self._cell = ProcessCell(self._descriptors, self._kept)
        self._code: RunningCode | None = None

    def _kept(self) -> set[int]:
        """The processes that the objectives of open sessions keep."""
        return {pid for _, session in self._sessions.values() for pid in session.evaluator.kept}

    def rest(self) -> None:
        """Nothing is asked of this process for a while: end what objectives keep."""
        for _, session in self._sessions.values():
            session.evaluator.close()

    def run(self, task: ChunkTask) -> ChunkReport | LoadFailure | StaleProcess:
        """Evaluate a task; a `LoadFailure` when its session cannot be opened here, a `StaleProcess` when not in here."""
        from arbd.objective.modules import StaleEngineError, StaleProcessError  # noqa: PLC0415 - not before the first task

        self._descriptors.bound_output()
        self.progress.loading(task.number, time.monotonic_ns())
        try:
            session = self._open(task.session, task.last, shipped=bool(task.planned))
            if task.planned:
                session.begin_shipped(task)
        except StaleProcessError as error:
            stale = StaleProcess(str(error), engine=isinstance(error, StaleEngineError))
            return LoadFailure(stale.reason) if task.fresh else stale
        except BaseException as error:  # also SystemExit of a module that is a script
            self._cell.raised(error)
            self._cell.settle(None)
            return LoadFailure(
                str(error)
                if isinstance(error, ArbdError | OSError)
                else f"the objective cannot be loaded: {_named(error)}"
            )
        finally:
            self.progress.idle()
        from arbd.daemon.slots.evaluation import evaluate  # noqa: PLC0415 - as above

        try:
            report = evaluate(session, task, self.progress)
        finally:
            self.progress.idle()
        if report.code_changed:
            self._sessions.pop(task.session)[1].close()
        return report

    def _open(self, folder: Path, last: int, *, shipped: bool) -> OpenSession:
        from arbd.daemon.slots.descriptors import watched_files  # noqa: PLC0415 - as above
        from arbd.daemon.slots.open_session import OpenSession  # noqa: PLC0415 - samplers, not before the first task
        from arbd.named_file import ReadRule  # noqa: PLC0415 - as above
        from arbd.objective.load import load_evaluator  # noqa: PLC0415 - as above
        from arbd.spool.layout import SessionPaths  # noqa: PLC0415 - as above
        from arbd.spool.system import SystemClock  # noqa: PLC0415 - as above

        files = watched_files(folder.parent.parent, self._descriptors)
        # A session that was removed and submitted again has the same name, and is another.
        identity = files.look(SessionPaths(folder).spec)
        known, session = self._sessions.pop(folder, (None, None))
        if session is not None and (known != identity or session.spec.n < last or not session.is_current()):
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
                reading=ReadRule(self.setup.data_dirs, self.progress),
                compiling=self.progress.compiling,
            )
            self._cell.enter(None)
            code = self._running_code()
            session = OpenSession(
                files, SystemClock(), folder, label, self.setup, load, self._cell, code, shipped=shipped
            )
            if session.spec.n < last:
                session.close()
                raise ObjectiveError(f"{session.paths.spec} is not shown here yet as it was extended")
            while len(self._sessions) >= MAX_OPEN_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))[1].close()
            self._sessions[folder] = (identity, session)
            # What loading left in place stays, but for what arbd itself needs.
            if self._cell.is_foreign:
                self._cell.leave(None)
            self._cell.settle(session.baseline)
        self._sessions[folder] = (identity, session)
        return session

    def _running_code(self) -> RunningCode:
        if self._code is None:
            from arbd.objective.running_code import RunningCode  # noqa: PLC0415 - as above

            self._code = RunningCode(self.setup.search_paths)
        return self._code


def _named(error: BaseException) -> str:
    from arbd.daemon.slots.tally import describe  # noqa: PLC0415 - as above

    return describe(error)


# The one thing that a function sent to a pool's process can reach: set once by `start`, in that process only.
_process: SlotProcess | None = None


def start(setup: SlotSetup) -> None:
    """Initialise the pool's process: die with the parent, own process group, output to the slot's file."""
    global _process  # noqa: PLW0603 - see above
    # Its own group, so that the parent can kill the slot with every command that it started.
    os.setpgid(0, 0)
    forks.begin(setup.parent_pid, "arbd-slot")
    os.environ.pop(forks.CREATOR, None)
    # An objective's own processes start as in a script of its own, not by way of a server that they would leave behind:
    # here the default would be how this process began.
    multiprocessing.set_start_method(None, force=True)
    # An objective's programs inherit what is ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    spare_own_processes()
    # Before anything that computes is imported: what is on the disk then is what this process runs.
    engine()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _process = SlotProcess(setup)
    _process.progress.announce(os.getpid())


def run(task: ChunkTask) -> ChunkReport | LoadFailure | StaleProcess:
    """Evaluate a task in the pool's process."""
    if _process is None:
        raise ObjectiveError("the slot was not started")
    return _process.run(task)


def rest() -> None:
    """See `SlotProcess.rest`; in the pool's process."""
    if _process is not None:
        _process.rest()


def import_what_evaluates() -> None:
    """Import everything that the first task needs, but for the engine's own compiler."""
    # The parent, which imports this module, has no use for them.
    arrays.load()
    import numpy.random  # noqa: F401, PLC0415

    from arbd.daemon.slots import cell, descriptors, evaluation, open_session  # noqa: F401, PLC0415
    from arbd.objective import load, modules, protocol, python, running_code  # noqa: F401, PLC0415
    from arbd.search import samplers  # noqa: F401, PLC0415
    from arbd.spool import confined  # noqa: F401, PLC0415


def ready() -> int:
    """Return once the pool's process is up, with everything imported that the first task needs; its parent's pid."""
    if not forks.is_copy():
        import_what_evaluates()
        # What is there now stays; looking for garbage in it would cost as much as many an objective.
        gc.freeze()
    return os.getppid()
