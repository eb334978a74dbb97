"""What crashes left in the spool: found and removed by whoever takes jobs up, a few names at a time.

Of sessions, folders that are no session; and files under the temporary names that they have until they are whole, such
as of a person whose host lost its power while he extended a session.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from arbd.errors import ArbdError
from arbd.spool.files import TEMPORARY_NAME, Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.listing import Listing, hidden_names
from arbd.spool.session_index import ended_sessions
from arbd.spool.sessions import HIDDEN, REOPENED_PREFIX, is_whole, remove_leftover, remove_unfinished
from arbd.spool.system import Clock
from arbd.values import dataclass

# Whoever makes a session holds its lock, so this only keeps out of the way of one that is about to take it.
LEFTOVER_S = 10.0
INTERVAL_S = 2.0
NAMES_A_TURN = 200
# A file has its temporary name for a moment; of folders that nobody lists anyway, that is looked at this often.
OTHER_FOLDERS_S = 600.0


@dataclass(slots=True)
class Leftovers:
    """Remembers which sessions are whole, so that each is looked at once."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    _whole: set[str] = field(default_factory=set)
    _since_s: dict[str, float] = field(default_factory=dict)
    _pointless_s: dict[str, float] = field(default_factory=dict)
    _next_s: float = 0.0
    _temporaries: dict[Path, dict[str, float]] = field(default_factory=dict)
    _elsewhere_s: float = 0.0
    _listing: Listing | None = None
    _listed: Sequence[str] = ()

    def remove(self) -> None:
        """One turn, now and then."""
        now = self.clock.monotonic_s()
        if now < self._next_s:
            return
        self._next_s = now + INTERVAL_S
        if self._listing is None:
            self._listing = Listing(self.files, self.layout.sessions, self.clock)
            self._whole.update(ended_sessions(self.files, self.layout, self._listing.names()))
        listed = self._listing.names()
        if any(map(HIDDEN.fullmatch, hidden_names(listed))):
            remove_unfinished(self.files, self.layout)
        self._remove_pointless(listed, now)
        self._remove_temporaries(self.layout.sessions, listed, LEFTOVER_S)
        if now >= self._elsewhere_s:
            self._elsewhere_s = now + OTHER_FOLDERS_S
            self._remove_elsewhere()
        if listed is not self._listed:
            self._listed = listed
            self._whole.intersection_update(listed)
        elif not self._since_s:
            return
        names = [name for name in listed if not name.startswith(".")]
        unknown = [name for name in names if name not in self._whole][:NAMES_A_TURN]
        self._since_s = {name: self._since_s.get(name, now) for name in unknown}
        for name, since_s in self._since_s.items():
            # A session that cannot be touched is told where somebody works on it.
            with contextlib.suppress(ArbdError, FileNotFoundError):
                paths = self.layout.session(name)
                if is_whole(self.files, paths) or (
                    now - since_s >= LEFTOVER_S and not remove_leftover(self.files, paths)
                ):
                    self._whole.add(name)

    def _remove_elsewhere(self) -> None:
        """Temporary files beside sessions."""
        layout = self.layout
        for folder in (*layout.folders(), layout.control, layout.index, layout.refusals, layout.trials):
            # Some are made when they are needed, and one in trouble is told where it is used.
            with contextlib.suppress(ArbdError, OSError):
                if folder != layout.sessions:
                    self._remove_temporaries(folder, self.files.names(folder), OTHER_FOLDERS_S)

    def _remove_temporaries(self, folder: Path, names: Sequence[str], after_s: float) -> None:
        """Remove files that have had a temporary name for so long."""
        now, before = self.clock.monotonic_s(), self._temporaries.get(folder, {})
        found = {name: before.get(name, now) for name in hidden_names(names) if TEMPORARY_NAME.fullmatch(name)}
        self._temporaries[folder] = found
        for name, since_s in found.items():
            if now - since_s >= after_s:
                # Where strangers drop jobs, a file is its owner's.
                with contextlib.suppress(ArbdError, OSError):
                    self.files.remove(folder / name)

    def _remove_pointless(self, listed: Sequence[str], now: float) -> None:
        """Names that ask for another look at sessions which were removed before whoever made them came to the session."""
        reopened = [name for name in hidden_names(listed) if name.startswith(REOPENED_PREFIX)]
        there = set(listed) if reopened else set()
        pointless = [name for name in reopened if name.removeprefix(REOPENED_PREFIX) not in there]
        self._pointless_s = {name: self._pointless_s.get(name, now) for name in pointless}
        for name, since_s in self._pointless_s.items():
            if now - since_s >= LEFTOVER_S:
                self.files.remove(self.layout.sessions / name)
