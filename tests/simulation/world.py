"""Virtual time, hosts and processes: one thing runs at a time, and a seed decides what runs next.

Every task is a greenlet. It runs until it asks for time (each system call does), then the earliest of all waiting
tasks goes on. A process that is killed runs no line more: its tasks are unwound while every call they make fails.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import greenlet


class KilledError(BaseException):
    """Unwinds the tasks of a dead process. Nothing may catch it."""


@dataclass(eq=False)
class Host:
    """A machine: its clocks, whether it runs and is connected, how many locks it believes to hold in vain."""

    name: str
    wall_offset_s: float
    monotonic_offset_s: float
    drift: float
    version: int = 0
    frozen_until: float = 0.0
    cut_off_until: float = 0.0
    lost_locks: int = 0


@dataclass(eq=False)
class Process:
    """A process of a host. `on_death` is called once, from the scheduler, with nothing of it running any more.

    `version` of two that it runs, `session` of the folder that it writes results or suggestions of.
    """

    host: Host
    name: str
    alive: bool = True
    stopped_until: float = 0.0
    tasks: list[Task] = field(default_factory=list)
    on_death: list[Callable[[], None]] = field(default_factory=list)
    version: int = 0
    session: Path | None = None


class Task:
    """A thread of a process."""

    def __init__(self, world: World, process: Process, name: str, run: Callable[[], None]) -> None:
        self.process = process
        self.name = name
        self.ticket = 0
        self.woken = False
        self.glet = greenlet.greenlet(self._body, parent=world.hub)
        self._run = run

    def _body(self) -> None:
        with contextlib.suppress(KilledError):
            self._run()


class World:
    """The scheduler. `now` is true time in seconds, which no simulated code ever sees."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.hub = greenlet.getcurrent()
        self.now = 0.0
        self.events = 0
        self.trace: list[str] = []
        self.current: Task | None = None
        self._processes: dict[Process, None] = {}
        self._sequence = itertools.count()
        self._heap: list[tuple[float, int, Task | Callable[[], None], int]] = []

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call something from the scheduler at a time."""
        heapq.heappush(self._heap, (when, next(self._sequence), call, 0))

    def spawn(self, process: Process, name: str, run: Callable[[], None]) -> Task:
        """Start a task of a process, a moment from now."""
        task = Task(self, process, name, run)
        process.tasks.append(task)
        self._processes[process] = None
        self._schedule(task, self.now + self.rng.uniform(0.0, 0.002))
        return task

    def _schedule(self, task: Task, when: float) -> None:
        task.ticket += 1
        heapq.heappush(self._heap, (when, next(self._sequence), task, task.ticket))

    def pause(self, seconds: float) -> None:
        """Let the running task wait."""
        task = self._running()
        self._schedule(task, self.now + seconds)
        self._leave(task)

    def wait(self, timeout_s: float) -> bool:
        """Let the running task wait until `wake`, or until time is up; True when it was woken."""
        task = self._running()
        task.woken = False
        self._schedule(task, self.now + timeout_s)
        self._leave(task)
        return task.woken

    def wake(self, task: Task) -> None:
        """Have a waiting task go on a moment from now."""
        task.woken = True
        self._schedule(task, self.now + self.rng.uniform(0.0, 0.001))

    def _running(self) -> Task:
        assert self.current is not None, "only tasks can wait"
        if not self.current.process.alive:
            raise KilledError
        return self.current

    def _leave(self, task: Task) -> None:
        self.hub.switch()
        if not task.process.alive:
            raise KilledError

    def kill(self, process: Process) -> None:
        """End a process at once. From one of its own tasks: raise KilledError afterwards."""
        if not process.alive:
            return
        process.alive = False
        self.at(self.now, lambda: self._unwind(process))

    def _unwind(self, process: Process) -> None:
        for task in process.tasks:
            if task.glet:  # begun and not ended
                self.current = task
                task.glet.throw(KilledError)
        self.current = None
        process.tasks.clear()
        for call in process.on_death:
            call()

    def close(self) -> None:
        """The story is over: unwind what still runs, or its memory would never be free again."""
        for process in self._processes:
            process.alive = False
            process.on_death.clear()
            self._unwind(process)
        self._processes.clear()
        self._heap.clear()

    def run(self, done: Callable[[], bool], limit_s: float, limit_events: int) -> bool:
        """Go on until `done`; False when that did not come in time."""
        checked = self.now
        while self._heap and self.events < limit_events:
            when, _, what, ticket = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            if self.now > limit_s:
                return done()
            if isinstance(what, Task):
                self._resume(what, ticket)
            else:
                what()
            if self.now - checked >= 0.5:
                checked = self.now
                if done():
                    return True
        return done()

    def _resume(self, task: Task, ticket: int) -> None:
        if ticket != task.ticket or not task.process.alive or task.glet.dead:
            return
        resting = max(task.process.stopped_until, task.process.host.frozen_until)
        if resting > self.now:
            woken = task.woken
            self._schedule(task, resting + self.rng.uniform(0.0, 0.001))
            task.woken = woken
            return
        self.events += 1
        self.current = task
        task.glet.switch()
        self.current = None
