"""How much of the spool the sessions of a user take."""

from __future__ import annotations

import contextlib
import stat
from dataclasses import field
from pathlib import Path

from arbd.errors import ArbdError, UnsafePathError
from arbd.spool.files import MAX_TREE_DEPTH, Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.owners import is_same_user
from arbd.spool.provenance import UNKNOWN, Submission
from arbd.spool.queue import SessionQueue
from arbd.spool.session_index import ended_sessions
from arbd.spool.system import Clock
from arbd.values import dataclass

# Many jobs may come at once, and all files of a user are looked at.
KNOWN_FOR_S = 30.0


@dataclass(slots=True)
class SpaceOfUsers:
    """Not thread-safe."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    _known: dict[tuple[str, int | None], tuple[float, int]] = field(default_factory=dict)

    def used(self, whose: Submission) -> int:
        """Bytes of all files of the user's sessions, those that are over included; as of a moment ago."""
        now_s = self.clock.monotonic_s()
        known_s, used = self._known.get((whose.user, whose.uid), (float("-inf"), 0))
        if now_s - known_s > KNOWN_FOR_S:
            used = sum(self._size(self.layout.sessions / name) for name in self._sessions_of(whose))
            self._known[whose.user, whose.uid] = now_s, used
        return used

    def _sessions_of(self, whose: Submission) -> list[str]:
        names = self.files.names(self.layout.sessions)
        ended = ended_sessions(self.files, self.layout, names)
        found = []
        for name in (name for name in names if not name.startswith(".")):
            if name in ended:
                owner = ended[name].submission
            else:
                owner = UNKNOWN
                # What cannot be read, or is being made, is nobody's yet.
                with contextlib.suppress(ArbdError, OSError):
                    owner = SessionQueue(self.files, self.layout.session(name)).refresh().provenance.submission
            found += [name] if is_same_user(owner, whose) else []
        return found

    def _size(self, folder: Path, depth: int = 0) -> int:
        if depth > MAX_TREE_DEPTH:
            raise UnsafePathError(folder, "is nested deeper than anything of arbd's: remove it")
        total = 0
        with contextlib.suppress(FileNotFoundError):
            for name in self.files.names(folder):
                with contextlib.suppress(FileNotFoundError):
                    found = self.files.system.look(folder / name)
                    total += self._size(folder / name, depth + 1) if stat.S_ISDIR(found.mode) else found.size
        return total
