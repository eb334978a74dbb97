"""Job files that a worker has taken up: who has one, and which attempt at it this is, stands in its name.

One rename takes a file up, so that of several workers one has it; another rename passes it on. Keeps I4: after any
crash the file is in `incoming/` or in `.taken/`, and whoever finds it there knows how often it was begun.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path

from arbd.spool.files import Files
from arbd.spool.layout import NAME_PATTERN, SpoolLayout
from arbd.values import dataclass

_HELD = re.compile(
    rf"@([1-9][0-9]{{0,3}})\.([0-9]{{1,4}})@({NAME_PATTERN.pattern})@([0-9a-f]{{16}})@({NAME_PATTERN.pattern})@(.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Taker:
    """Who takes jobs up: one start of a worker, as its heartbeat names it."""

    worker_id: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Held:
    """A file in `.taken/`. `session_id` is for a job that names none of its own; `name` is what was dropped.

    `attempt` counts from 1. `crashes` of those before ended with the process that was at it, while its worker lived: that
    is the job's doing. The others ended with their worker, or were handed over.
    """

    attempt: int
    taker: Taker
    session_id: str
    name: str
    crashes: int = 0

    @property
    def held_name(self) -> str:
        """The name in `.taken/`, of at most 232 bytes where `name` has at most 120."""
        return f"@{self.attempt}.{self.crashes}@{self.taker.worker_id}@{self.taker.incarnation:016x}@{self.session_id}@{self.name}"

    def path(self, layout: SpoolLayout) -> Path:
        """Where it is."""
        return layout.taken / self.held_name

    def again(self, taker: Taker) -> Held:
        """As the next attempt of somebody."""
        crashes = self.crashes + (taker == self.taker)
        return replace(self, attempt=self.attempt + 1, crashes=crashes, taker=taker)

    @classmethod
    def parse(cls, held_name: str) -> Held | None:
        """What a name in `.taken/` says; None when no worker of this version made it."""
        match = _HELD.fullmatch(held_name)
        if match is None:
            return None
        attempt, crashes, worker_id, incarnation, session_id, name = match.groups()
        return cls(int(attempt), Taker(worker_id, int(incarnation, 16)), session_id, name, int(crashes))


def same_job(name: str) -> str:
    """What is the same of a file, dropped or held, however often it was passed on."""
    held = Held.parse(name)
    return name if held is None else held.session_id


def give_back(files: Files, layout: SpoolLayout, taker: Taker) -> None:
    """What a taker that ends in an orderly way has in hand is no attempt; the next to take it up begins it anew."""
    for name in files.names(layout.taken):
        held = Held.parse(name)
        if held is not None and held.taker == taker and held.attempt > 1:
            with contextlib.suppress(FileNotFoundError):
                files.rename(layout.taken / name, replace(held, attempt=held.attempt - 1).path(layout))
