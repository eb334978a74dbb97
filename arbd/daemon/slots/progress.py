"""What a slot is doing right now, in a few bytes of memory that it shares with its parent.

The slot writes before each iteration, at the cost of a memory store; the parent reads it to see what is
overdue, and after a crash to know which iteration was running. The parent writes one number: which tasks
are to come back soon.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from arbd.values import dataclass

_FIELDS = 16
_SIZE = _FIELDS * 8
_PID, _TASK, _PHASE, FIRST, _COUNT, STARTED_NS, _STOP_UP_TO, _WINDOW, _STAINED, _ADVANCED = range(10)

IDLE, LOADING, EVALUATING, WAITING, SETTLING, COMPILING, AWAITING = range(7)


@dataclass(frozen=True, slots=True)
class Progress:
    """A look at a slot: `first`/`count` are the iterations being evaluated, `started_ns` its monotonic clock.

    While it waits for the disk, `first` is the errno that writing failed with. `window` is the first iteration of those
    that are looked at together with the running one. In a process that is `stained` an earlier iteration may be the
    cause of what happens. `advanced` grows while a session's market data is read and converted.
    """

    pid: int
    task: int
    phase: int
    first: int
    count: int
    started_ns: int
    window: int = 0
    stained: bool = False
    advanced: int = 0

    @property
    def of_iterations(self) -> bool:
        """True when the iterations named are at fault for what happens to the process now."""
        return self.phase in (EVALUATING, SETTLING)

    @property
    def of_loading(self) -> bool:
        """True while a task is prepared."""
        return self.phase in (LOADING, COMPILING, AWAITING)


class ProgressPage:
    """The shared page, mapped by both sides from a small file on the local disk."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        fd = os.open(path, flags, 0o600)
        try:
            if create:
                os.ftruncate(fd, _SIZE)
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        # Who evaluates many iterations in a row says `evaluating` of the first, and writes FIRST and STARTED_NS of the others.
        self.cells = memoryview(self._map).cast("q")

    def announce(self, pid: int) -> None:
        """The slot's process is up."""
        self.cells[_PID] = pid

    def loading(self, task: int, started_ns: int) -> None:
        """The slot prepares a task: loads the objective and its data."""
        self.cells[STARTED_NS] = started_ns
        self.cells[_TASK] = task
        self.cells[_PHASE] = LOADING

    def compiling(self) -> None:
        """Loading goes on with compiling the engine, or with waiting for another process that does."""
        self.cells[_PHASE] = COMPILING

    def advanced(self) -> None:
        """Loading goes on with reading market data."""
        self.cells[_ADVANCED] += 1

    def waits(self, begins: bool) -> None:
        """Loading waits for another process that converts the same market data, or did."""
        self.cells[_PHASE] = AWAITING if begins else LOADING

    def evaluating(self, first: int, count: int, started_ns: int) -> None:
        """The slot starts on iterations `first` to `first + count - 1`."""
        cells = self.cells
        cells[STARTED_NS] = started_ns
        cells[FIRST] = first
        cells[_COUNT] = count
        cells[_PHASE] = EVALUATING

    def window(self, first: int, *, stained: bool) -> None:
        """The slot starts on iterations that it looks at together, from `first` on."""
        self.cells[_WINDOW] = first
        self.cells[_STAINED] = stained

    def settling(self) -> None:
        """The slot looks at what the iterations left in its process."""
        self.cells[_PHASE] = SETTLING

    def waiting(self, error_number: int) -> None:
        """The slot has results that the disk does not take, and tries again."""
        self.cells[FIRST] = error_number
        self.cells[_PHASE] = WAITING

    def idle(self) -> None:
        """The slot waits for a task, or writes results."""
        self.cells[_PHASE] = IDLE

    def stop_tasks_up_to(self, task: int) -> None:
        """Parent: tasks with a number up to `task` come back after the iteration that runs."""
        self.cells[_STOP_UP_TO] = task

    def should_stop(self, task: int) -> bool:
        """True once the parent asked for `task` to come back."""
        return bool(self.cells[_STOP_UP_TO] >= task)

    def look(self) -> Progress:
        """What the slot does now."""
        cells = self.cells
        page = cells[_PID], cells[_TASK], cells[_PHASE], cells[FIRST], cells[_COUNT], cells[STARTED_NS]
        return Progress(*page, cells[_WINDOW], bool(cells[_STAINED]), cells[_ADVANCED])

    def close(self) -> None:
        """Unmap the page."""
        self.cells.release()
        self._map.close()
