"""What the main loop and the coordinator say to each other. The main loop has the slots, the coordinator the spool."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from arbd.daemon.slots.pool import ExitReport, Limits
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask
from arbd.spool.outcomes import Outcome
from arbd.spool.user_limits import UserLimits
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.results.generations import Suggested


@dataclass(frozen=True, slots=True)
class Run:
    """To the main loop: evaluate a task."""

    task: ChunkTask
    limits: Limits


@dataclass(frozen=True, slots=True)
class Compact:
    """To the main loop: compact a session of that priority, in the process that never loads an objective."""

    session: Path
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Suggest:
    """To the main loop: have a generation of a session computed and published; see `Suggester.suggest`."""

    session: Path
    number: int
    urgent: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """To the main loop: have a session's tasks come back, after the iteration that runs or (`kill`) without it."""

    session: Path
    kill: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """To the main loop: there is nothing left to do (only with --burst, or after a drain)."""

    exit_code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fatal:
    """To the main loop: this worker must not go on."""

    error: Exception


Command = Run | Compact | Suggest | Stop | Finished | Fatal


@dataclass(frozen=True, slots=True)
class Reported:
    """To the coordinator: a task is evaluated; its slot was occupied for so long, loading included."""

    task: ChunkTask
    report: ChunkReport
    occupied_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Unloadable:
    """To the coordinator: this host cannot evaluate the task's session."""

    task: ChunkTask
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """To the coordinator: the process died on a task, after so long."""

    task: ChunkTask
    exit_report: ExitReport
    occupied_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Returned:
    """To the coordinator: a task that was not begun."""

    task: ChunkTask


@dataclass(frozen=True, slots=True)
class Compacted:
    """To the coordinator: a compaction ended; why when it failed, and which stretches of segments are damaged.

    `busy` when another worker was at it, `other_version` when it failed because this version cannot read the session.
    """

    session: Path
    error: str = ""
    damage: tuple[str, ...] = ()
    busy: bool = False
    other_version: bool = False


@dataclass(frozen=True, slots=True)
class SuggestionMade:
    """To the coordinator: what came of computing a generation."""

    session: Path
    outcome: Suggested


@dataclass(frozen=True, slots=True)
class SuggestionFailed:
    """To the coordinator: a generation could not be computed; why.

    `other_version` when that is because this version cannot read what it depends on.
    """

    session: Path
    error: str
    other_version: bool = False


@dataclass(frozen=True, slots=True)
class SlotReady:
    """To the coordinator: so many more slots can evaluate; fewer, where somebody else has them and took some away."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class IntakeReported:
    """To the coordinator: what became of dropped jobs. `waiting` while there are more, now or later."""

    outcomes: tuple[Outcome, ...]
    waiting: bool


@dataclass(frozen=True, slots=True)
class Wake:
    """To the coordinator: something changed in the spool."""


@dataclass(frozen=True, slots=True)
class Drain:
    """To the coordinator: claim nothing more, record what comes back, then say Finished."""


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """To the coordinator: the settings changed."""

    scan_s: float
    beat_s: float
    lease_s: float
    chunk_target_s: float
    limits: Mapping[str, UserLimits] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


Event = (
    Reported
    | Unloadable
    | Lost
    | Returned
    | Compacted
    | SuggestionMade
    | SuggestionFailed
    | SlotReady
    | IntakeReported
    | Wake
    | Drain
    | Reconfigured
)


class Inbox(Protocol):
    """Where events for the coordinator wait; `put` may be called from any thread."""

    def put(self, event: Event) -> None:
        """Add an event; never blocks."""
        ...

    def get(self, timeout_s: float) -> Event | None:
        """The oldest event, or None when none came in time."""
        ...


class QueueInbox:
    """`Inbox` between threads."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        """See `Inbox`."""
        self._queue.put(event)

    def get(self, timeout_s: float) -> Event | None:
        """See `Inbox`."""
        try:
            return self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
