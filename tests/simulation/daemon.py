"""A virtual daemon: the real coordinator, sessions, slots' evaluation and compaction, without processes or threads.

What stands in is the main loop alone (`arbd.daemon.service`): orders from the coordinator start tasks on virtual
slots, and what becomes of them comes back as news.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import greenlet

from arbd.daemon.core import events
from arbd.daemon.core.chunks import preempt
from arbd.daemon.core.coordinator import Coordinator
from arbd.daemon.core.session_registry import Timing
from arbd.daemon.side.intake_process import look
from arbd.daemon.slots.evaluation import evaluate
from arbd.daemon.slots.open_session import OpenSession
from arbd.daemon.slots.pool import ExitReport
from arbd.daemon.slots.progress import EVALUATING, IDLE, LOADING, SETTLING, WAITING, Progress
from arbd.daemon.slots.protocol import ChunkTask, SlotSetup
from arbd.errors import ArbdError
from arbd.job.spec import JobSpec
from arbd.objective.protocol import Outcome, Trial
from arbd.results.compaction import compact
from arbd.results.suggester import Suggester
from arbd.spool.files import Files
from arbd.spool.held import Taker
from arbd.spool.intake import Intake
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.liveness import Observer, take_liveness_lock
from arbd.spool.queue import Worker
from arbd.spool.user_limits import UserLimits
from tests.cells import OpenCell
from tests.simulation.simsystem import SimClock, SimSystem, Surroundings
from tests.simulation.world import Host, KilledError, Process, Task, World

# How often a look at a process finds that it has to be replaced.
RETIRED = 0.01
TIMING = Timing(scan_s=1.0, beat_s=1.0, lease_s=8.0, chunk_target_s=1.0)


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


class SimEvaluator:
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


def _unwind(error: BaseException) -> None:
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
        self._open: dict[Path, OpenSession] = {}
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
            session = self._open.get(task.session)
            if session is None:
                label = f"{self.setup.label}.{next(self._opened)}"
                cell = OpenCell(_unwind, lambda: self.world.rng.random() < RETIRED)
                session = OpenSession(self.files, clock, task.session, label, self.setup, self._evaluator, cell)
                self._open[task.session] = session
        except (ArbdError, OSError) as error:
            self.progress.idle()
            return events.Unloadable(task, str(error))
        try:
            return events.Reported(task, evaluate(session, task, self.progress))
        except OSError as error:
            return events.Unloadable(task, repr(error))
        finally:
            self.progress.idle()

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


class SimSuggester:
    """The process that computes generations, of one daemon."""

    def __init__(self, daemon: SimDaemon) -> None:
        self.daemon = daemon
        self.orders: deque[events.Suggest] = deque()
        self._starts = itertools.count()
        self.start()

    def start(self) -> None:
        """A fresh process, which knows nothing."""
        self.process = self.daemon.child(f"s{next(self._starts)}")
        self.files, _ = self.daemon.files_of(self.process)
        self._sessions: dict[Path, Suggester] = {}
        self._busy = False

    def submit(self, order: events.Suggest) -> None:
        """One after the other."""
        self.orders.append(order)
        if not self._busy:
            self._busy = True
            process, world = self.process, self.daemon.world
            process.on_death.append(lambda: self._died(process))
            world.spawn(process, process.name, self._run)

    def _run(self) -> None:
        while self.orders:
            order = self.orders[0]
            self.process.session = order.session
            try:
                session = self._sessions.get(order.session)
                if session is None:
                    session = self._sessions[order.session] = Suggester(self.files, SessionPaths(order.session))
                self.daemon.world.pause(self.daemon.world.rng.uniform(0.0, 0.3))
                news: events.Event = events.SuggestionMade(
                    order.session, session.suggest(order.number, urgent=order.urgent)
                )
            except (OSError, ArbdError) as error:
                news = events.SuggestionFailed(order.session, repr(error))
            self.orders.popleft()
            self.daemon.tell(news)
        self.process.on_death.pop()
        self._busy = False

    def _died(self, process: Process) -> None:
        if not self.daemon.process.alive or process is not self.process:
            return
        lost = list(self.orders)
        self.orders.clear()
        self.start()
        for order in lost:
            self.daemon.tell(events.SuggestionFailed(order.session, "the process died"))


class SimIntake:
    """The process that takes jobs up, and the daemon's side of it: started again when it died."""

    def __init__(self, daemon: SimDaemon) -> None:
        self.daemon = daemon
        self.world = daemon.world
        self._starts = itertools.count()
        self._ended = False
        self.start()

    def start(self) -> None:
        """A fresh process, which knows nothing."""
        self.process = self.daemon.child(f"i{next(self._starts)}")
        self.files, _ = self.daemon.files_of(self.process)
        process = self.process
        process.on_death.append(lambda: self._died(process))
        self.world.spawn(process, process.name, self._run)

    def _resolve(self, data: bytes, name: str) -> JobSpec:
        # As it is where a job names much data: others must not notice.
        rng = self.world.rng
        self.world.pause(rng.choice((0.0, 0.05, rng.uniform(0.1, 12.0))))
        return self.daemon.resolve(data, name)

    def _run(self) -> None:
        daemon, clock = self.daemon, self.daemon.clock
        observer = Observer(self.files, daemon.layout, clock, TIMING.beat_s, TIMING.lease_s)
        intake = Intake(
            self.files, daemon.layout, clock, self._resolve,
            taker=Taker(daemon.worker_id, daemon.incarnation), dead=observer.dead,
        )  # fmt: skip
        while not self._ended:
            looked, more = look(intake)
            if looked.trouble:
                daemon.log.info("jobs cannot be taken up", reason=looked.trouble)
            daemon.tell(events.IntakeReported(looked.outcomes, looked.waiting))
            if not more:
                self.world.pause(0.3 if looked.waiting else 1.0)

    def end(self) -> None:
        """SIGTERM of the daemon."""
        self._ended = True
        self.world.kill(self.process)

    def _died(self, process: Process) -> None:
        if self.daemon.process.alive and not self._ended and process is self.process:
            self.world.at(self.world.now + 0.2, self._restart)

    def _restart(self) -> None:
        if self.daemon.process.alive and not self._ended:
            self.start()


class SimInbox:
    """`Inbox` in virtual time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._news: deque[events.Event] = deque()
        self._reader: Task | None = None

    def put(self, news: events.Event) -> None:
        self._news.append(news)
        if self._reader is not None:
            reader, self._reader = self._reader, None
            self._world.wake(reader)

    def get(self, timeout_s: float) -> events.Event | None:
        if not self._news and timeout_s > 0:
            self._reader = self._world.current
            self._world.wait(timeout_s)
            self._reader = None
        return self._news.popleft() if self._news else None


class SilentLog:
    """Keeps the last lines, for the story of a failing seed."""

    def __init__(self, world: World, name: str, lines: deque[str]) -> None:
        self._world, self._name, self._lines = world, name, lines

    def _say(self, message: str, **fields: object) -> None:
        told = " ".join(f"{key}={value}" for key, value in fields.items())
        self._lines.append(f"{self._world.now:9.3f} {self._name}: {message} {told}")

    debug = info = warning = error = _say


def _urgency(order: events.Run | events.Compact) -> int:
    return order.limits.priority if isinstance(order, events.Run) else order.priority


@dataclass(eq=False)
class SimDaemon:
    """One start of a worker."""

    around: Surroundings
    host: Host
    worker_id: str
    layout: SpoolLayout
    n_slots: int
    objectives: dict[str, Objective]
    resolve: Callable[[bytes, str], JobSpec]
    lines: deque[str]
    on_fatal: Callable[[Exception], None]
    limits: Mapping[str, UserLimits] = field(default_factory=dict)
    broken: bool = False
    incarnation: int = 0
    exited: bool = False
    slots: list[SimSlot] = field(default_factory=list)
    ready: deque[events.Run | events.Compact] = field(default_factory=deque)
    systems: list[SimSystem] = field(default_factory=list)
    suggester: SimSuggester | None = None
    intake: SimIntake | None = None

    def __post_init__(self) -> None:
        self.world = self.around.world
        self.incarnation = self.world.rng.getrandbits(63)
        self.process = Process(self.host, f"{self.worker_id}.{self.incarnation % 1000:03}", version=self.host.version)
        self.clock = SimClock(self.world, self.host)
        self.files, _ = self.files_of(self.process)
        self.log = SilentLog(self.world, self.process.name, self.lines)
        self.inbox = SimInbox(self.world)
        self._draining = False
        self._highest = 0
        self.process.on_death.append(self._take_slots_along)
        self.world.spawn(self.process, self.process.name, self._main)

    def child(self, label: str) -> Process:
        """A process that this daemon starts, of its own version."""
        return Process(self.host, f"{self.process.name}/{label}", version=self.process.version)

    def files_of(self, process: Process) -> tuple[Files, SimSystem]:
        """A process's way to the disk."""
        system = SimSystem(self.around, process)
        self.systems.append(system)
        return Files(system), system

    @property
    def processes(self) -> list[Process]:
        """The daemon's and its slots'."""
        found = [self.process, *(slot.process for slot in self.slots)]
        found += [self.intake.process] if self.intake is not None else []
        return found if self.suggester is None else [*found, self.suggester.process]

    def _take_slots_along(self) -> None:
        for slot in self.slots:
            self.world.kill(slot.process)
        if self.suggester is not None:
            self.world.kill(self.suggester.process)
        if self.intake is not None:
            self.world.kill(self.intake.process)

    def _main(self) -> None:
        while True:
            try:
                life = take_liveness_lock(self.files, self.layout, self.worker_id)
            except OSError:
                life = None
            if life is not None:
                break
            self.world.pause(0.5)
        worker = Worker(self.worker_id, self.incarnation, self.n_slots)
        self.coordinator = Coordinator(
            self.files, self.clock, self.layout, worker, TIMING, self.log,  # type: ignore[arg-type]
            self._ordered, about={"slots": self.n_slots}, intake=True, inbox=self.inbox, life=life, limits=self.limits,
        )  # fmt: skip
        self.slots += [SimSlot(self, index) for index in range(self.n_slots)]
        for _ in self.slots:
            self.world.at(self.world.now + self.world.rng.uniform(0.0, 0.5), lambda: self.tell(events.SlotReady()))
        self.intake = SimIntake(self)
        self.coordinator.run()
        life.release()
        self.exited = True
        self.world.kill(self.process)

    def tell(self, news: events.Event) -> None:
        """To the coordinator."""
        self.inbox.put(news)

    def _ordered(self, order: events.Command) -> None:
        match order:
            case events.Run(task):
                self._highest = max(self._highest, task.number)
                if self._draining:
                    self.tell(events.Returned(task))
                else:
                    self.ready.append(order)
            case events.Compact():
                self.ready.append(order)
            case events.Suggest():
                if self.suggester is None:
                    self.suggester = SimSuggester(self)
                self.suggester.submit(order)
            case events.Stop(session, kill):
                self._give_back(lambda task: task.session == session)
                for slot in self.slots:
                    if isinstance(slot.task, ChunkTask) and slot.task.session == session:
                        slot.progress.stop_up_to = self._highest
                        if kill:
                            slot.kill("the session was cancelled")
            case events.Fatal(error):
                self.on_fatal(error)
        self.assign()

    def _give_back(self, wanted: Callable[[ChunkTask], bool]) -> None:
        for order in [order for order in self.ready if isinstance(order, events.Run) and wanted(order.task)]:
            self.ready.remove(order)
            self.tell(events.Returned(order.task))

    def assign(self) -> None:
        """Tasks to free slots."""
        if not self.process.alive:
            return
        for slot in self.slots:
            if slot.task is None and self.ready:
                order = max(self.ready, key=_urgency)
                self.ready.remove(order)
                slot.priority = _urgency(order)
                slot.submit(order.task if isinstance(order, events.Run) else order.session)
        busy = [slot for slot in self.slots if isinstance(slot.task, ChunkTask)]
        waiting = [_urgency(order) for order in self.ready]
        for index in preempt(waiting, [(slot.priority, slot.is_preempted()) for slot in busy]):
            busy[index].preempt()

    def drain(self) -> None:
        """SIGTERM."""
        if self._draining or not self.process.alive:
            return
        self._draining = True
        if self.intake is not None:
            self.intake.end()
        for slot in self.slots:
            slot.progress.stop_up_to = self._highest
        for order in self.ready:
            if isinstance(order, events.Run):
                self.tell(events.Returned(order.task))
            else:
                self.tell(events.Compacted(order.session, "the daemon stops"))
        self.ready.clear()
        self.tell(events.Drain())
