"""A virtual slot: the real evaluation of tasks in a process that can die at any call of the system."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import greenlet

from arbd.daemon.core import events
from arbd.daemon.slots.evaluation import evaluate
from arbd.daemon.slots.open_session import OpenSession
from arbd.daemon.slots.pool import ExitReport
from arbd.daemon.slots.progress import EVALUATING, IDLE, LOADING, SETTLING, WAITING, Progress
from arbd.daemon.slots.protocol import ChunkTask, SlotSetup
from arbd.errors import ArbdError, ObjectiveError
from arbd.job.spec import JobSpec
from arbd.objective.protocol import Outcome, Trial
from arbd.results.compaction import compact
from arbd.spool.layout import SessionPaths
from arbd.spool.system import FileStatus
from tests.cells import KeepsNothing, OpenCell
from tests.simulation.simsystem import SimClock
from tests.simulation.world import KilledError, Process, Task

if TYPE_CHECKING:
    from tests.simulation.daemon import SimDaemon

# How often a look at a process finds that it has to be replaced.
RETIRED = 0.01


class SimProgress:
    """`ProgressPage` without a file. What a dead process last wrote stays."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.page = Progress(1, 0, IDLE, 0, 0, 0)
        self.stop_up_to = 0

    def _write(self, **fields: int) -> None:
        if self._process.alive:
            self.page = replace(self.page, **fields)

    def loading(self, task: int, started_ns: int) -> None:
        self._write(phase=LOADING, task=task, started_ns=started_ns)

    def evaluating(self, first: int, count: int, started_ns: int) -> None:
        self._write(phase=EVALUATING, first=first, count=count, started_ns=started_ns)

    def window(self, first: int, *, stained: bool) -> None:
        self._write(window=first, stained=stained)

    def settling(self) -> None:
        self._write(phase=SETTLING)

    def waiting(self, error_number: int) -> None:
        self._write(phase=WAITING, first=error_number)

    def idle(self) -> None:
        self._write(phase=IDLE)

    def should_stop(self, task: int) -> bool:
        return self.stop_up_to >= task


@dataclass(frozen=True)
class Objective:
    """What iterations do: take time, fail, kill their process, hang. A function of the iteration alone."""

    seconds: float
    failing: frozenset[int] = frozenset()
    crashing: frozenset[int] = frozenset()
    hanging: frozenset[int] = frozenset()

    def value(self, iteration: int, x: float) -> float:
        """The metric."""
        return x * 1000 + iteration


class SimEvaluator(KeepsNothing):
    """Evaluates on a virtual slot. On a `broken` host everything fails."""

    batch = False

    def __init__(self, slot: SimSlot, objective: Objective) -> None:
        self._slot = slot
        self._objective = objective

    def evaluate(self, params: Any, trial: Trial) -> Outcome:
        slot, objective = self._slot, self._objective
        slot.world.pause(objective.seconds * slot.world.rng.uniform(0.5, 1.5))
        if trial.iteration in objective.crashing:
            slot.die("")
        if trial.iteration in objective.hanging:
            slot.world.pause(5.0)
            slot.die("timed out after 5 s")
        if trial.iteration in objective.failing or slot.daemon.broken:
            raise ValueError("no luck")
        return Outcome({"value": objective.value(trial.iteration, float(params["x"]))})

    def evaluate_batch(self, columns: Any) -> NoReturn:
        raise NotImplementedError


def unwind(error: BaseException) -> None:
    """The way out of a dead process is not the objective's."""
    if isinstance(error, KilledError | greenlet.GreenletExit):
        raise error


class SimSlot:
    """A virtual slot: a process that evaluates one task at a time."""

    def __init__(self, daemon: SimDaemon, index: int) -> None:
        self.daemon = daemon
        self.world = daemon.world
        self.index = index
        self.task: ChunkTask | Path | None = None
        self.kill_reason = ""
        self.priority = 0
        self._starts = itertools.count()
        self.start()

    def start(self) -> None:
        """A fresh process."""
        number = next(self._starts)
        label = f"{self.index}" if number == 0 else f"{self.index}r{number}"
        self.process = self.daemon.child(label)
        self.files, self.system = self.daemon.files_of(self.process)
        self.setup = SlotSetup(label, self.daemon.worker_id, self.daemon.incarnation, 1, Path(), Path(), Path(), (), ("python:*",))  # fmt: skip
        self.progress = SimProgress(self.process)
        self.kill_reason = ""
        self._open: dict[Path, tuple[FileStatus | None, OpenSession]] = {}
        self._opened = itertools.count(1)
        self._here: Task | None = None

    def preempt(self) -> None:
        """The running task is to come back soon."""
        if isinstance(self.task, ChunkTask):
            self.progress.stop_up_to = self.task.number

    def is_preempted(self) -> bool:
        """True when it was asked to."""
        return isinstance(self.task, ChunkTask) and self.progress.should_stop(self.task.number)

    @property
    def is_evaluating(self) -> bool:
        """True while the objective runs."""
        return self.progress.page.phase == EVALUATING

    def submit(self, task: ChunkTask | Path) -> None:
        """Begin; the daemon hears how it ended."""
        self.task = task
        process = self.process
        process.on_death.append(lambda: self._died(process, task))
        self._here = self.world.spawn(process, process.name, self._run)

    def _run(self) -> None:
        task = self.task
        clock = self.daemon.clock
        self.process.session = task.session if isinstance(task, ChunkTask) else task
        if isinstance(task, Path):
            try:
                report = compact(self.files, SessionPaths(task))
                news: events.Event = events.Compacted(task, damage=report.damage, busy=report.busy)
            except (OSError, ArbdError) as error:
                news = events.Compacted(task, repr(error))
        else:
            assert task is not None
            news = self._evaluate(task, clock)
        process = self.process
        process.on_death.pop()
        self.task = None
        retired = isinstance(news, events.Reported) and bool(news.report.retire)
        if retired:
            self.start()
        self.daemon.tell(news)
        self.daemon.assign()
        if retired:
            self.world.kill(process)
            raise KilledError

    def _evaluate(self, task: ChunkTask, clock: SimClock) -> events.Event:
        self.progress.loading(task.number, clock.monotonic_ns())
        try:
            session = self._session(task)
        except (ArbdError, OSError) as error:
            self.progress.idle()
            return events.Unloadable(task, str(error))
        try:
            return events.Reported(task, evaluate(session, task, self.progress))
        except OSError as error:
            return events.Unloadable(task, repr(error))
        finally:
            self.progress.idle()

    def _session(self, task: ChunkTask) -> OpenSession:
        """As `SlotProcess` keeps them open."""
        identity = self.files.look(SessionPaths(task.session).spec)
        known, session = self._open.pop(task.session, (None, None))
        if session is None or known != identity or session.spec.n < task.last:
            label = f"{self.setup.label}.{next(self._opened)}"
            cell = OpenCell(unwind, lambda: self.world.rng.random() < RETIRED)
            session = OpenSession(self.files, self.daemon.clock, task.session, label, self.setup, self._evaluator, cell)
            if session.spec.n < task.last:
                raise ObjectiveError(f"{session.paths.spec} is not shown here yet as it was extended")
        self._open[task.session] = (identity, session)
        return session

    def _evaluator(self, spec: JobSpec, session_id: str) -> SimEvaluator:
        return SimEvaluator(self, self.daemon.objectives[session_id])

    def die(self, reason: str) -> NoReturn:
        """The objective kills its process, or the daemon does for a reason."""
        self.kill_reason = reason
        self.world.kill(self.process)
        raise KilledError

    def kill(self, reason: str) -> None:
        """From outside."""
        if self.task is not None and self.process.alive:
            self.kill_reason = reason
            self.world.kill(self.process)

    def _died(self, process: Process, task: ChunkTask | Path) -> None:
        if not self.daemon.process.alive or process is not self.process:
            return
        exit_report = ExitReport(self.progress.page, self.kill_reason, "killed by SIGKILL", "", self.setup)
        self.task = None
        self.start()
        if isinstance(task, Path):
            self.daemon.tell(events.Compacted(task, exit_report.error()))
        else:
            self.daemon.tell(events.Lost(task, exit_report))
        self.daemon.assign()
