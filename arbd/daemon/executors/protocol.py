"""What a daemon asks of an executor: the semantics of `concurrent.futures`, and what there is to say of its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import field
from enum import Enum
from typing import Protocol

from arbd.daemon.executors.settings import ExecutorSettings
from arbd.errors import ArbdError
from arbd.values import dataclass


class Loss(Enum):
    """What it means that a future of an executor has no answer."""

    WORKER = "worker"
    """The process that evaluated is gone, perhaps because of what it evaluated."""
    AWAY = "away"
    """The executor forgot about it: it was restarted, or cannot be reached."""
    UNFIT = "unfit"
    """It cannot be evaluated there: no arbd on the worker, or another one."""


class ExecutorAwayError(ArbdError):
    """Nothing can be submitted now; the text says what is waited for."""


@dataclass(frozen=True, slots=True)
class ExecutorView:
    """An executor now: how many chunks it can evaluate at once, what it waits for, and which workers are refused why."""

    ready: int
    waits_for: str = ""
    workers: int | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


class ChunkExecutor(Protocol):
    """Somebody else's slots. One thread calls it; futures may be completed by any."""

    def look(self) -> ExecutorView:
        """What there is now. Called every second or so, never raises, connects anew where that was lost."""
        ...

    def submit(
        self, function: Callable[..., bytes], job: bytes, chunk: bytes, attached: Mapping[str, bytes]
    ) -> Future[bytes]:
        """Have `function(job, chunk, attached.items())` called there; ExecutorAwayError when that cannot be now."""
        ...

    def loss(self, error: BaseException) -> Loss:
        """What an exception of a future means."""
        ...

    def refuse(self, future: Future[bytes], reason: str) -> None:
        """Whoever made this answer computes with other versions: do not ask it again."""
        ...

    def forget(self, future: Future[bytes]) -> None:
        """Nobody waits for this one any more."""
        ...

    def close(self) -> None:
        """Let go of everything; what runs is not waited for."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutorKind:
    """A kind of executor, as its module declares it.

    `check` returns what is wrong with the settings, or ''. `make` opens it; it need not be reachable. `address` is
    what people know it by.
    """

    check: Callable[[ExecutorSettings], str]
    make: Callable[[ExecutorSettings], ChunkExecutor]
    address: Callable[[ExecutorSettings], str]
