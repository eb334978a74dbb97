"""The slots of this worker as one: tasks to free ones, deadlines, what they come back with, their end.

Only the main thread calls it. It never waits for a slot, but for the moment that a killed process takes to be gone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arbd.daemon.core import events
from arbd.daemon.core.chunks import preempt
from arbd.daemon.core.counters import Counters
from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import Log
from arbd.daemon.remote.slot import RemoteEvent, RemoteSlot
from arbd.daemon.slots.pool import LOAD_PATIENCE_S, LOAD_TIMEOUT_S, Limits, Slot, SlotEvent
from arbd.daemon.slots.protocol import ChunkTask, LoadFailure, SlotSetup, StaleProcess, TaskReturned
from arbd.objective.processes import end_orphans, is_adopting

if TYPE_CHECKING:
    from arbd.daemon.remote.pool import RemotePool

KILL_AFTER_STOP_S = 1.0
# What a free slot's process may take to end by itself: exit handlers and threads of an objective may never let it.
SLOT_PATIENCE_S = 1.0
# Reading market data for the first time is told of from then on.
LOAD_TOLD_S = 5.0


class Supervisor:
    """Has the slots; `post` tells the coordinator. `is_stuck` when a process could not be killed at the end."""

    def __init__(self, log: Log, counters: Counters, post: Callable[[events.Event], None]) -> None:
        self.slots: list[Slot] = []
        self.remote_slots: list[RemoteSlot] = []
        self._remote: RemotePool | None = None
        self.is_stuck = False
        self._log = log
        self._counters = counters
        self._post = post
        self._ready: deque[events.Run] = deque()
        self._limits: dict[Path, Limits] = {}
        self._kill_at: dict[int, float] = {}
        self._claimed_s: dict[int, float] = {}
        self._begun_s: dict[int, float] = {}
        self._load_patience_s: dict[Path, float] = {}
        self._disk_errors: set[int] = set()
        self._compiling = False
        self._highest_task = 0
        self._draining = False

    def start(self, setup: SlotSetup, count: int, run_dir: Path, on_event: Callable[[SlotEvent], None]) -> None:
        """Start the slots' processes; the coordinator is told of each that is up."""
        for index in range(count):
            self.slots.append(Slot(index, setup, run_dir, on_event, lambda: self._post(events.SlotReady())))

    def start_remote(self, pool: RemotePool, slots: Sequence[RemoteSlot]) -> None:
        """Have tasks evaluated by somebody else's slots too."""
        self._remote = pool
        self.remote_slots.extend(slots)
        pool.start()

    @property
    def _all(self) -> list[Slot | RemoteSlot]:
        return [*self.slots, *self.remote_slots]

    def run(self, command: events.Run) -> None:
        """Evaluate a task, when a slot is free."""
        task = command.task
        self._limits[task.session] = command.limits
        self._highest_task = max(self._highest_task, task.number)
        if self._draining:
            self._post(events.Returned(task))
        else:
            self._claimed_s[task.number] = time.monotonic()
            self._ready.append(command)

    def reconfigure(self, config: Config) -> None:
        """Evaluate under other rules from the next task on."""
        for slot in self.slots:
            slot.reconfigure(config.objective_paths, config.allow, config.data_dirs)
        if self._remote is not None:
            self._remote.reconfigure(config.allow, config.data_dirs, config.objective_paths)

    def drain(self) -> None:
        """Give back what waits, and have what runs come back after its iteration."""
        self._draining = True
        for slot in self._all:
            slot.stop_tasks_up_to(self._highest_task)
        self._return_waiting(lambda task: True)

    def kill(self, reason: str) -> None:
        """Kill all that evaluate."""
        for slot in self._all:
            if slot.task is not None:
                slot.kill(reason)

    def came_back(self, event: SlotEvent) -> None:
        """A slot's task ended, or its process did: tell the coordinator, and replace what is not fit for another."""
        self._handle(event)
        for slot in self._all:
            slot.assert_consistent()

    def remote_came_back(self, event: RemoteEvent) -> None:
        """A remote slot's task ended: tell the coordinator."""
        task, result = event.task, event.result
        self._kill_at.pop(task.number, None)
        occupied_s = self._occupied_s(task)
        event.slot.finished()
        if isinstance(result, TaskReturned):
            self._post(events.Returned(task))
        elif isinstance(result, LoadFailure):
            self._post(events.Unloadable(task, result.reason))
        else:
            self._post(events.Reported(task, result, occupied_s))

    def _handle(self, event: SlotEvent) -> None:
        slot, task = event.slot, event.task
        self._kill_at.pop(task.number, None)
        error = event.future.exception()
        occupied_s = self._occupied_s(task)
        if isinstance(error, BrokenProcessPool):
            exit_report = slot.exit_report()
            slot.restart()
            self._end_orphans()
            self._post(events.Lost(task, exit_report, occupied_s))
            return
        wanted = not slot.is_preempted()
        slot.finished()
        if error is not None:
            # The slot could not write its results (disk full, mount gone): what it did not record runs again.
            self._post(events.Unloadable(task, f"{type(error).__name__}: {error}"))
        else:
            result = event.future.result()
            if isinstance(result, StaleProcess):
                self._begin_anew(slot, task, result, wanted=wanted)
            elif isinstance(result, LoadFailure):
                self._post(events.Unloadable(task, result.reason))
            else:
                if result.retire:
                    slot.restart()
                    self._end_orphans()
                self._post(events.Reported(task, result, occupied_s))

    def _occupied_s(self, task: ChunkTask) -> float:
        """How long its slot was busy with a task that came back."""
        now = time.monotonic()
        return now - self._begun_s.pop(task.number, now)

    def _begin_anew(self, slot: Slot, task: ChunkTask, stale: StaleProcess, *, wanted: bool) -> None:
        """The slot's process has loaded other code than the task needs: a fresh one does it, if it is wanted still."""
        self._log.info("a slot begins anew", session=task.session.name, slot=slot.index, reason=stale.reason)
        slot.restart(from_disk=stale.engine)
        if wanted:
            self._begun_s[task.number] = time.monotonic()
            slot.submit(replace(task, fresh=True))
        else:
            self._post(events.Returned(task))

    def _end_orphans(self) -> None:
        """Kill what a slot's process left behind when it ended, where orphans come to this process."""
        if is_adopting():
            end_orphans(except_for={pid for slot in self.slots if (pid := slot.pid) is not None})

    def assign(self) -> None:
        """Waiting tasks to free slots, the urgent ones first; where none is free, less urgent work is preempted."""
        local = [slot for slot in self.slots if slot.task is None]
        for slot in local:
            slot.renew()
        free: list[Slot | RemoteSlot] = [*local, *self._free_remote()]
        while self._ready and free:
            order = max(self._ready, key=_urgency)
            self._ready.remove(order)
            self._counters.chunk_wait.observe(time.monotonic() - self._claimed_s.pop(order.task.number))
            chosen = min(free, key=partial(_unfitness, order.task))
            free.remove(chosen)
            self._begun_s[order.task.number] = time.monotonic()
            chosen.submit(order.task)
        if self._ready:
            busy = [slot for slot in self._all if slot.task is not None]
            if not busy and not free:
                # Nobody has slots now: others may.
                self._return_waiting(lambda task: True)
            running = [(self._priority(slot.task), slot.is_preempted()) for slot in busy]
            waiting = [order.limits.priority for order in self._ready]
            for index in preempt(waiting, running):
                busy[index].preempt()
        self._counters.slots_busy = sum(slot.task is not None for slot in self._all)

    def _free_remote(self) -> Sequence[RemoteSlot]:
        """As many as there are workers for."""
        if self._remote is None:
            return ()
        free = [slot for slot in self.remote_slots if slot.task is None]
        room = self._remote.ready - (len(self.remote_slots) - len(free))
        return free[: max(0, room)]

    def _priority(self, task: ChunkTask | None) -> int:
        return 0 if task is None else self._limits[task.session].priority

    def enforce(self, now: float, drain_by_s: float | None) -> None:
        """Kill what is overdue, of a session that ended, or still evaluates when the daemon has to end."""
        now_ns = time.monotonic_ns()
        too_long = self._loads_that_hold_up(now_ns)
        self._note_loads(now_ns)
        for slot in self._all:
            reason = ""
            if slot.task is None:
                if isinstance(slot, Slot):
                    slot.rest_if_idle()
                continue
            if isinstance(slot, Slot):
                self._tell_disk_error(slot)
                self._tell_compiling(slot)
                reason = slot.overdue(self._limits[slot.task.session].timeout_s, now_ns)
                if not reason and slot.index in too_long:
                    reason = f"was loading for more than {too_long[slot.index]:g} s while other sessions wait"
            if not reason and now >= self._kill_at.get(slot.task.number, float("inf")):
                reason = "the session was cancelled or removed"
            if not reason and drain_by_s is not None and now >= drain_by_s:
                reason = "the daemon stops"
            if reason:
                slot.kill(reason)

    def _loads_that_hold_up(self, now_ns: int) -> dict[int, float]:
        """Slots that are ended because all do nothing but load while others wait, and how long each was given.

        What goes on with reading market data is not ended, but who only waits for that. Each time a session is given
        twice as long: what only takes long gets through.
        """
        stuck: dict[int, float] = {}
        sessions: dict[Path, float] = {}
        for slot in self.slots:
            load = slot.loading(now_ns)
            if slot.task is None or load is None:
                return {}
            session = slot.task.session
            limit_s = sessions[session] = self._load_patience_s.get(session, LOAD_PATIENCE_S)
            if load.since_s <= limit_s:
                return {}
            if load.idle_s > limit_s:
                stuck[slot.index] = limit_s
        if not stuck or self.remote_slots or all(command.task.session in sessions for command in self._ready):
            return {}
        for slot in self.slots:
            if slot.index in stuck and slot.task is not None:
                self._load_patience_s[slot.task.session] = min(2 * stuck[slot.index], LOAD_TIMEOUT_S)
        return stuck

    def _note_loads(self, now_ns: int) -> None:
        """For heartbeats: which sessions' market data is read for the first time here, where that takes long."""
        told: dict[str, str] = {}
        for slot in self.slots:
            load = slot.loading(now_ns)
            if slot.task is not None and load is not None and load.since_s > LOAD_TOLD_S and load.still_s < LOAD_TOLD_S:
                told[slot.task.session.name] = f"reads its market data, for {load.since_s:.0f} s so far"
        for session in told.keys() - self._counters.loading.keys():
            self._log.info("reading market data takes long, and goes on", session=session)
        self._counters.loading = told

    def _tell_disk_error(self, slot: Slot) -> None:
        error = slot.disk_error()
        if error and slot.index not in self._disk_errors:
            self._log.error(
                "a slot cannot write its results; it keeps them and tries again", slot=slot.index, reason=error
            )
            self._disk_errors.add(slot.index)
        elif not error:
            self._disk_errors.discard(slot.index)

    def _tell_compiling(self, slot: Slot) -> None:
        """Once: slots wait for each other meanwhile."""
        if not self._compiling and slot.is_compiling():
            self._log.warning(
                "compiling the engine, which is done once on a host and takes half a minute; `arbd compile` does it ahead",
                slot=slot.index,
            )
            self._compiling = True

    def _return_waiting(self, wanted: Callable[[ChunkTask], bool]) -> None:
        waiting = [order for order in self._ready if wanted(order.task)]
        for order in waiting:
            self._ready.remove(order)
            del self._claimed_s[order.task.number]
            self._post(events.Returned(order.task))

    def stop_session(self, session: Path, kill: bool) -> None:
        """Have a session's tasks come back, after the iteration that runs or, with `kill`, soon without it."""
        self._return_waiting(lambda task: task.session == session)
        for slot in self._all:
            if slot.task is not None and slot.task.session == session:
                slot.stop_tasks_up_to(self._highest_task)
                if kill:
                    self._kill_at.setdefault(slot.task.number, time.monotonic() + KILL_AFTER_STOP_S)

    def end(self) -> None:
        """Ask all, wait for all, kill what is left with everything below it."""
        if self._remote is not None and not self._remote.end(SLOT_PATIENCE_S):
            self._log.error("the executor cannot be let go of; ending without it")
            self.is_stuck = True
        for slot in self.slots:
            slot.ask_to_end()
        give_up = time.monotonic() + SLOT_PATIENCE_S
        stuck = [slot.index for slot in self.slots if not slot.end(max(0.0, give_up - time.monotonic()))]
        self._end_orphans()
        if stuck:
            # It waits in the kernel, for a disk or a device. The interpreter's end would wait for it.
            self._log.error("processes of slots cannot be killed; ending without them", slots=stuck)
            self.is_stuck = True


def _unfitness(task: ChunkTask, slot: Slot | RemoteSlot) -> tuple[bool, bool]:
    # A session goes on where it is loaded. Elsewhere one that evaluated nothing is best: others may have other code.
    return (not slot.is_fresh if task.fresh else slot.last_session != task.session), not slot.is_fresh


def _urgency(order: events.Run) -> tuple[int, bool]:
    # Among equals, one that found its process unfit goes on first.
    return order.limits.priority, order.task.fresh
