"""A virtual daemon: the real coordinator, sessions, slots' evaluation and compaction, without processes or threads.

What stands in is the main loop alone (`arbd.daemon.service`): orders from the coordinator start tasks on virtual
slots, and what becomes of them comes back as news.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from arbd.daemon.core import events
from arbd.daemon.core.chunks import preempt
from arbd.daemon.core.coordinator import Coordinator
from arbd.daemon.slots.protocol import ChunkTask
from arbd.job.spec import JobSpec
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import take_liveness_lock
from arbd.spool.queue import Worker
from arbd.spool.user_limits import UserLimits
from tests.simulation.side import TIMING, SimIntake, SimSuggester
from tests.simulation.simsystem import SimClock, SimSystem, Surroundings
from tests.simulation.slot import Objective, SimSlot
from tests.simulation.world import Host, Process, Task, World


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
    beside: list[Process] = field(default_factory=list)

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
        found = [self.process, *(slot.process for slot in self.slots), *self.beside]
        found += [self.intake.process] if self.intake is not None else []
        return found if self.suggester is None else [*found, self.suggester.process]

    def _take_slots_along(self) -> None:
        for process in (*(slot.process for slot in self.slots), *self.beside):
            self.world.kill(process)
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
