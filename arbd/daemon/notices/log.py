"""Who was told of what: for each target a log in the spool, and one host at a time that sends.

An attempt is written down before it is made and its end after. So a notice that is taken is sent once as long as nobody dies
between the two; whoever takes over from one that did sends it again. Of "at least once" and "at most once" that is the first,
because an end that nobody hears of is worse than one that is told twice. Each attempt has its number and the notice's key, so
that whoever gets it can tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from arbd import schema
from arbd.daemon.notices.settings import NAME
from arbd.records import Natural, Signed, Text
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.locked_log import LockedLog
from arbd.spool.provenance import Name
from arbd.values import dataclass

BEFORE, BEGUN, SENT, FAILED, GIVEN_UP, NOTHING, AGAIN = (
    "before",
    "begun",
    "sent",
    "failed",
    "given up",
    "nothing",
    "again",
)
MOST_KEYS = 10_000
OVER = (SENT, GIVEN_UP, NOTHING)


class Step(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One step of one notice. `keys` of a record `before`: ends of sessions that were over when the target was new."""

    what: Name
    version: int = msgspec.field(default=schema.NOTICE.version, name=schema.NOTICE.key)
    key: Annotated[str, Meta(max_length=300)] = ""
    session_id: Annotated[str, Meta(max_length=64)] = msgspec.field(default="", name="id")
    attempt: Natural = 0
    host: Name = ""
    wall_ns: Signed = msgspec.field(default=0, name="at")
    error: Text = ""
    keys: Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=MOST_KEYS)] = []


def target_log(files: Files, layout: SpoolLayout, target: str) -> LockedLog[Step]:
    """The log of a target, from its beginning."""
    assert NAME.fullmatch(target)
    return LockedLog(files, layout.notices / f"{target}.log", Step)


def target_names(files: Files, layout: SpoolLayout) -> list[str]:
    """Targets of which anything is written down."""
    try:
        names = files.names(layout.notices)
    except FileNotFoundError:
        return []
    return [name[:-4] for name in names if name.endswith(".log") and NAME.fullmatch(name[:-4])]


@dataclass(slots=True)
class Told:
    """What a log comes to: the last step of each notice, how many attempts it took, and what was over before."""

    last: dict[str, Step] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)
    is_begun: bool = False

    def fold(self, steps: Iterable[Step]) -> None:
        """What happened later."""
        for step in steps:
            self.is_begun = True
            if step.what == BEFORE:
                self.before.update(step.keys)
            elif step.what == AGAIN:
                for key in [key for key, last in self.last.items() if last.what == GIVEN_UP]:
                    del self.last[key]
                    del self.attempts[key]
            else:
                self.last[step.key] = step
                self.attempts[step.key] = max(step.attempt, self.attempts.get(step.key, 0))

    def is_over(self, key: str) -> bool:
        """True when nothing more is sent of a notice."""
        return key in self.last and self.last[key].what in OVER

    def count(self, what: str) -> int:
        """How many notices ended so."""
        return sum(step.what == what for step in self.last.values())
