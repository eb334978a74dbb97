"""The states of a slot as its parent sees it, and the transitions between them."""

from __future__ import annotations

import enum


class SlotState(enum.Enum):
    """What a slot is doing."""

    FREE = "free"
    BUSY = "busy"
    PREEMPTED = "preempted"
    """Its task was asked to come back after the iteration that runs."""
    KILLED = "killed"
    """Its process was sent SIGKILL and has not been replaced yet."""
    ENDED = "ended"


LEGAL: frozenset[tuple[SlotState, SlotState]] = frozenset(
    {
        (SlotState.FREE, SlotState.BUSY),
        (SlotState.BUSY, SlotState.FREE),
        (SlotState.BUSY, SlotState.PREEMPTED),
        (SlotState.BUSY, SlotState.KILLED),
        (SlotState.PREEMPTED, SlotState.FREE),
        (SlotState.PREEMPTED, SlotState.KILLED),
        (SlotState.KILLED, SlotState.FREE),
        *((state, SlotState.ENDED) for state in SlotState if state is not SlotState.ENDED),
    }
)
