"""The cell: what happens inside an objective belongs to its iteration, and nothing of it is left to the next.

After each iteration the process is looked at. What can be set back is (see `surroundings`). A process in which
something is left that cannot be, a thread or a child of it, is replaced. A process whose own descriptors are gone, or
that is not the slot's at all but a child that the objective forked, ends at once.

Fast iterations are looked at together, a few milliseconds of them at a time; when something is found, they are
evaluated again one by one, so that the outcome is as if each had been looked at.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, NoReturn, Protocol

from arbd.daemon.slots import surroundings
from arbd.daemon.slots.descriptors import OwnDescriptors
from arbd.objective.processes import adopt_orphans, children, has_children, kill_children, reap
from arbd.objective.randomness import Probe, seed_generators
from arbd.values import dataclass

# Threads and processes that are about to end are waited for so long.
GRACE_S = 0.05
# Background threads of libraries are no reason to replace a process; one more with every iteration is.
MAX_BACKGROUND_THREADS = 16
# Of the system, whatever an objective puts in its place.
_process_id = os.getpid
# The status of a process that ends because the objective took its descriptors away.
EXIT_STATUS_DESCRIPTORS = 117


@dataclass(frozen=True, slots=True)
class Finding:
    """What an iteration changed, and why its process should be replaced, or ''."""

    changed: tuple[str, ...] = ()
    retire: str = ""


CLEAN = Finding()


class Cell(Protocol):
    """What the evaluation of a task asks of its process.

    `evaluated` counts the iterations that ran in it. `stain` says why what fails in it now may be an earlier
    iteration's fault, or is ''. `is_foreign` in a child that an objective forked, which has to `leave`.
    """

    evaluated: int
    stain: str
    is_foreign: bool

    def baseline(self) -> Any:
        """The process as it is now, with what loading an objective set up: threads and children are allowed."""
        ...

    def enter(self, baseline: Any) -> None:
        """Make it what it was then."""
        ...

    def settle(self, baseline: Any) -> Finding:
        """After an iteration: see what is left of it, and put back what can be."""
        ...

    def raised(self, error: BaseException) -> None:
        """An objective raised this; where it is no affair of an iteration, this does not return."""
        ...

    def leave(self, error: BaseException | None) -> None:
        """End a process that is not the slot's, after the objective returned or raised in it."""
        ...

    def seed(self, seed: int) -> None:
        """Give the global random generators their state for an iteration."""
        ...

    def watch_randomness(self, seed: int) -> None:
        """Seed the global random generators, and begin to see whether they are used."""
        ...

    def randomness_used(self) -> bool:
        """True when they were since `watch_randomness`."""
        ...


class ProcessCell:
    """The `Cell` of a slot's process. There is one. `kept` are the processes that objectives keep with arbd's knowledge."""

    def __init__(self, descriptors: OwnDescriptors, kept: Callable[[], Collection[int]] = tuple) -> None:
        self.evaluated = 0
        self.stain = ""
        self._descriptors = descriptors
        self._kept = kept
        self._pid = os.getpid()
        self.is_foreign = False
        self._probe = Probe()
        adopt_orphans()
        os.register_at_fork(after_in_child=self._note_fork)
        self._threads: set[threading.Thread] = set()
        self._children: set[int] = set()
        self._empty = self.baseline()

    def _note_fork(self) -> None:
        self.is_foreign = True

    def baseline(self) -> surroundings.Values:
        """See `Cell`."""
        self._threads.update(threading.enumerate())
        if has_children():
            self._children |= children()
        return surroundings.look()

    def enter(self, baseline: surroundings.Values | None = None) -> None:
        """See `Cell`; without a baseline, what the process was before any objective."""
        surroundings.restore(baseline or self._empty)

    def raised(self, error: BaseException) -> None:
        """See `Cell`."""
        if self.is_foreign:
            self.leave(error)

    def leave(self, error: BaseException | None) -> NoReturn:
        """See `Cell`."""
        os._exit(1 if error is not None else 0)

    def settle(self, baseline: surroundings.Values | None) -> Finding:
        """See `Cell`."""
        if _process_id() != self._pid:
            # Forked by other means than os.fork.
            os._exit(0)
        changed, lasting = surroundings.restore(baseline or self._empty)
        streams = self._descriptors.restore_standard()
        if lost := self._descriptors.lost():
            self._end(lost)
        if streams:
            self.stain = "an earlier iteration replaced or closed " + ", ".join(streams)
        retire = [f"{name} cannot be put back" for name in lasting]
        if self._descriptors.used_up():
            retire.append("descriptors are used up")
        if has_children():
            retire += self._end_children()
        retire += self._threads_left()
        return Finding((*changed, *streams), "; ".join(retire)) if changed or streams or retire else CLEAN

    def _end(self, lost: list[int]) -> NoReturn:
        numbers = ", ".join(map(str, sorted(lost)))
        self._descriptors.say(f"the objective closed or replaced descriptors of its process (number {numbers})")
        os._exit(EXIT_STATUS_DESCRIPTORS)

    def _end_children(self) -> list[str]:
        own = self._children.union(self._kept())
        give_up = time.monotonic() + GRACE_S
        while (running := reap(own)) and time.monotonic() < give_up:
            time.sleep(0.002)
        if not running:
            return []
        kill_children(except_for=own)
        return [f"child processes were left running ({running})"]

    def _threads_left(self) -> list[str]:
        left = [thread for thread in threading.enumerate() if thread not in self._threads]
        if not left:
            return []
        give_up = time.monotonic() + GRACE_S
        for thread in left:
            if not thread.daemon:
                thread.join(max(0.0, give_up - time.monotonic()))
        left = [thread for thread in left if thread.is_alive()]
        blocking = [thread.name for thread in left if not thread.daemon]
        if blocking:
            return [f"threads were left running ({len(blocking)})"]
        if left:
            self.stain = f"a background thread of an earlier iteration ({left[0].name}) runs on"
        return [f"background threads were left running ({len(left)})"] if len(left) > MAX_BACKGROUND_THREADS else []

    def seed(self, seed: int) -> None:
        """See `Cell`."""
        seed_generators(seed)

    def watch_randomness(self, seed: int) -> None:
        """See `Cell`."""
        self._probe.arm(seed)

    def randomness_used(self) -> bool:
        """See `Cell`."""
        return self._probe.used()
