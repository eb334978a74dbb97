"""A task of the remote slots until its event is sent, and what the pool's thread is told of it."""

from __future__ import annotations

from dataclasses import field

from arbd.daemon.remote.patient import SentChunk
from arbd.daemon.remote.session import ShippedSession
from arbd.daemon.remote.slot import RemoteSlot
from arbd.daemon.slots.protocol import ChunkTask
from arbd.values import dataclass


@dataclass(slots=True)
class Run:
    """A task until its event is sent."""

    slot: RemoteSlot
    task: ChunkTask
    session: ShippedSession | None = None
    future: SentChunk | None = None
    sent_s: float = 0.0
    attached: dict[str, bytes] = field(default_factory=dict)
    losses: int = 0
    unfit: int = 0
    # Those that were nobody's fault among the losses are not counted against it; the pause grows with all.
    times: int = 0
    not_before_s: float = 0.0
    waits_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """It is to be evaluated."""

    run: Run


@dataclass(frozen=True, slots=True)
class Answered:
    """One of its futures is done."""

    number: int
    future: SentChunk


@dataclass(frozen=True, slots=True)
class GiveBack:
    """It is not wanted any more; what runs goes on unless `running`."""

    number: int
    reason: str
    running: bool
