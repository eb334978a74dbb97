"""A slot that somebody else has, as the main loop sees it: like one of this host's, but that its process is elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, LoadFailure, TaskReturned
from arbd.daemon.slots.states import LEGAL, SlotState
from arbd.values import dataclass


class TaskRunner(Protocol):
    """What a remote slot asks of its pool; never blocks."""

    def submit(self, slot: RemoteSlot, task: ChunkTask) -> None:
        """Evaluate a task; its event follows."""
        ...

    def cancel(self, task: ChunkTask) -> None:
        """Give it back if nothing of it runs."""
        ...

    def abandon(self, task: ChunkTask, reason: str) -> None:
        """Give it back whatever becomes of it there."""
        ...


class RemoteSlot:
    """One slot. Only the main thread calls it. Its task's answer is written by the pool, hence a late one is dropped."""

    def __init__(self, index: int, pool: TaskRunner) -> None:
        self.index = index
        self.task: ChunkTask | None = None
        self.last_session: Path | None = None
        self.state = SlotState.FREE
        self.is_fresh = True
        self._pool = pool

    def _enter(self, state: SlotState) -> None:
        assert (self.state, state) in LEGAL, f"remote slot {self.index}: {self.state} to {state}"
        self.state = state

    def assert_consistent(self) -> None:
        """AssertionError when the parts of its state contradict each other."""
        assert (self.task is None) == (self.state in (SlotState.FREE, SlotState.ENDED)), (self.state, self.task)

    def submit(self, task: ChunkTask) -> None:
        """Start on a chunk; the slot must be free."""
        self._enter(SlotState.BUSY)
        self.task = task
        self.last_session = task.session
        self._pool.submit(self, task)

    def kill(self, reason: str) -> None:
        """Give its task back now. What evaluates it may go on for a while, and is not listened to."""
        if self.state is not SlotState.KILLED:
            assert self.task is not None
            self._enter(SlotState.KILLED)
            self._pool.abandon(self.task, reason)

    def preempt(self) -> None:
        """Have the task come back if it does not run yet."""
        if self.task is not None:
            self.stop_tasks_up_to(self.task.number)

    def stop_tasks_up_to(self, number: int) -> None:
        """As `preempt`, for a task with a number up to this."""
        if self.state is SlotState.BUSY and self.task is not None and self.task.number <= number:
            self._enter(SlotState.PREEMPTED)
            self._pool.cancel(self.task)

    def is_preempted(self) -> bool:
        """True when the running task was asked to come back."""
        return self.state is SlotState.PREEMPTED

    def finished(self) -> None:
        """The task came back."""
        self._enter(SlotState.FREE)
        self.task = None


@dataclass(frozen=True, slots=True)
class RemoteEvent:
    """What a remote slot came back with, for the main loop."""

    slot: RemoteSlot
    task: ChunkTask
    result: ChunkReport | LoadFailure | TaskReturned
