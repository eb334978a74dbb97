"""What was archived, freed and removed of the sessions of a spool, and by whom: it stays when they are gone.

A removal is two records: that it begins, before anything is touched, and that it is done. Whoever finds the first alone
knows from the spool which of the two a kill left it at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from arbd import schema
from arbd.records import Natural, Signed, Text
from arbd.spool.files import Files
from arbd.spool.layout import NAME_PATTERN, SpoolLayout
from arbd.spool.locked_log import LockedLog
from arbd.spool.provenance import Name
from arbd.values import dataclass

SEGMENTS, ARCHIVED, PURGING, PURGED, RESTORED = "segments freed", "archived", "purge begins", "purged", "restored"
RESULTS = "results removed"


class Deed(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that was done to a session that is over; `user` is '' where a worker did it by its settings."""

    session_id: Annotated[str, Meta(pattern=rf"^{NAME_PATTERN.pattern}\Z")] = msgspec.field(name="id")
    what: Name
    version: int = msgspec.field(default=schema.RETENTION.version, name=schema.RETENTION.key)
    ended_ns: Signed = 0
    user: Name = ""
    host: Name = ""
    wall_ns: Signed = msgspec.field(default=0, name="at")
    archive: Text = ""
    freed_bytes: Natural = 0
    reason: Text = msgspec.field(default="", name="why")


def retention_log(files: Files, layout: SpoolLayout) -> LockedLog[Deed]:
    """The log of a spool, from its beginning."""
    return LockedLog(files, layout.retention / "log", Deed)


@dataclass(slots=True)
class Deeds:
    """What the log comes to. `done` is what was done to a session as it ended then, since it last came back."""

    every: list[Deed] = field(default_factory=list)
    done: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    begun: dict[str, Deed] = field(default_factory=dict)
    since_ns: dict[str, int] = field(default_factory=dict)
    archives: dict[str, Path] = field(default_factory=dict)

    def fold(self, deeds: Iterable[Deed]) -> None:
        """What happened later."""
        for deed in deeds:
            self.every.append(deed)
            session_id = deed.session_id
            if deed.what == PURGING:
                self.begun[session_id] = deed
                continue
            if deed.what in (PURGED, RESTORED):
                self.begun.pop(session_id, None)
                # A session that is there all the same was put back: it is as old as that, and nothing was done to it.
                self.since_ns[session_id] = deed.wall_ns
                for key in [key for key in self.done if key[0] == session_id]:
                    del self.done[key]
                continue
            self.done.setdefault((session_id, deed.ended_ns), set()).add(deed.what)
            if deed.what == ARCHIVED:
                self.archives[session_id] = Path(deed.archive)


def read_deeds(files: Files, layout: SpoolLayout) -> Deeds:
    """All of it."""
    found = Deeds()
    found.fold(retention_log(files, layout).read_new())
    return found
