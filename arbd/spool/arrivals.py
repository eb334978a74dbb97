"""Which files in `incoming/` have arrived whole: those that stand still, and end as a text file ends; and whose turn it is.

Looks at some files a turn, in turn: however many there are and however often they change, each is looked at again. What
is done with files has turns too: a job that takes long, and comes again because nothing came of it, keeps no other
waiting.
"""

from __future__ import annotations

import fnmatch
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field

from arbd.spool.files import Files
from arbd.spool.job_file import MAX_JOB_BYTES, SUFFIXES, name_fault
from arbd.spool.layout import SpoolLayout
from arbd.spool.system import Clock, FileStatus
from arbd.values import dataclass

SUBMITTED_SUFFIX = ".submitted.yaml"
# Names under which editors, browsers and copy tools keep unfinished files.
UNFINISHED_NAMES = (".*", "*~", "*.tmp", "*.part", "*.partial", "*.swp", "*.crdownload", "#*#")
LOOKS_A_TURN = 500
# A copy that stalls for longer, in the middle of a line, is taken for what was meant.
UNENDED_PATIENCE_S = 15.0


@dataclass(slots=True)
class Seen:
    """A file as it was at the last look, since when, and whether its last line has an end (None: not looked yet)."""

    look: FileStatus
    since_s: float
    ended: bool | None = None
    said: bool = False


@dataclass(slots=True)
class Arrivals:
    """Not thread-safe. `notes` collects what people should know of files that wait, each once.

    `unready` counts the files that were not ready at the last look and may be at the next.
    """

    files: Files
    layout: SpoolLayout
    clock: Clock
    notes: list[tuple[str, str]] = field(default_factory=list)
    unready: int = 0
    _seen: dict[str, Seen] = field(default_factory=dict)
    _stuck: dict[str, FileStatus] = field(default_factory=dict)
    _last_looked: str = ""

    def ready(self, settle_s: float) -> list[str]:
        """Files that can be taken up now: those that came by rename, then the others, the longest still first."""
        names = self._names()
        known = set(names)
        self._seen = {name: seen for name, seen in self._seen.items() if name in known}
        self._stuck = {name: look for name, look in self._stuck.items() if name in known}
        submitted = [name for name in names if name.endswith(SUBMITTED_SUFFIX) and name not in self._stuck]
        others = [name for name in names if not name.endswith(SUBMITTED_SUFFIX) or name in self._stuck]
        settled = [name for name in self._in_turn(others) if self._has_settled(name, settle_s)]
        self.unready = len(names) - len(submitted) - len(settled) - len(self._stuck)
        return submitted + sorted(settled, key=lambda name: self._seen[name].since_s)

    def waiting(self) -> list[str]:
        """Files that are still to be taken up."""
        return [name for name in self._names() if name not in self._stuck]

    def _names(self) -> list[str]:
        there = self.files.names(self.layout.incoming)
        return [name for name in there if not any(fnmatch.fnmatch(name, pattern) for pattern in UNFINISHED_NAMES)]

    def set_aside(self, name: str) -> bool:
        """Leave a file alone until it changes; True when that is new."""
        look = self.files.look(self.layout.incoming / name)
        if look is None or self._stuck.get(name) == look:
            return False
        self._stuck[name] = look
        return True

    def look_again(self) -> None:
        """At what was left alone too."""
        self._stuck.clear()

    def _in_turn(self, names: Sequence[str]) -> list[str]:
        """The next ones after those of the last turn."""
        later = [name for name in names if name > self._last_looked]
        chosen = (later + [name for name in names if name <= self._last_looked])[:LOOKS_A_TURN]
        if chosen:
            self._last_looked = chosen[-1]
        return chosen

    def _has_settled(self, name: str, settle_s: float) -> bool:
        try:
            look = self.files.look(self.layout.incoming / name)
        except OSError:
            # Changed in this moment, or in trouble: it is looked at again.
            return False
        if look is None or self._stuck.get(name) == look:
            return False
        now, seen = self.clock.monotonic_s(), self._seen.get(name)
        if seen is None or seen.look != look:
            self._seen[name] = Seen(look, now)
            return False
        still_s = now - seen.since_s
        if still_s < settle_s:
            return False
        if seen.ended is None:
            seen.ended = self._is_ended(name, look)
        if not seen.ended and still_s < UNENDED_PATIENCE_S:
            self._say_unended(name, seen)
            return False
        return True

    def _is_ended(self, name: str, look: FileStatus) -> bool:
        """False for a file whose last line has no end: as far as anybody can tell it is still being copied."""
        if not stat.S_ISREG(look.mode) or look.size > MAX_JOB_BYTES or not name.endswith(SUFFIXES):
            return True
        try:
            return self.files.read(self.layout.incoming / name, max(0, look.size - 1), 1) == b"\n"
        except (PermissionError, FileNotFoundError):
            # What cannot be read is told to its owner when it is taken up.
            return True

    def _say_unended(self, name: str, seen: Seen) -> None:
        if not seen.said:
            seen.said = True
            why = (
                "its last line has no end (no newline), so that its copy may not be finished; it is taken up "
                f"{UNENDED_PATIENCE_S:g} s after its last change"
            )
            self.notes.append((name, why))


@dataclass(slots=True)
class Turns:
    """Orders the pieces of each turn. `key` tells a piece from others by its name, which may change in between.

    The kinds take turns, beginning after the one that was served last. In each kind comes first what waits for longest:
    since it came, or since it was served.
    """

    key: Callable[[str], str]
    _turn: int = 0
    _since: dict[str, int] = field(default_factory=dict)
    _last_kind: int = -1

    def order(self, kinds: Sequence[Iterable[str]]) -> list[tuple[int, str]]:
        """The pieces of the next turn, each after the number of its kind; equals stay as they are given."""
        self._turn += 1
        pieces = [[(self.key(name), name) for name in kind] for kind in kinds]
        self._since = {key: self._since.get(key, self._turn) for kind in pieces for key, _ in kind}
        for kind in pieces:
            kind.sort(key=lambda piece: self._since[piece[0]])
        first = self._last_kind + 1
        numbers = [(first + step) % len(pieces) for step in range(len(pieces))]
        rounds = max(map(len, pieces), default=0)
        return [
            (number, pieces[number][at][1]) for at in range(rounds) for number in numbers if at < len(pieces[number])
        ]

    def served(self, kind: int, name: str) -> None:
        """This piece is begun. It comes after whatever was there in this turn."""
        self._last_kind = kind
        self._since[self.key(name)] = self._turn + 1


def is_hopeless(look: FileStatus | None, name: str) -> bool:
    """True when nothing is to be gained by waiting for a file that is wrong: what arrived by rename was whole."""
    if look is None or name.endswith(SUBMITTED_SUFFIX) or name_fault(name):
        return True
    return not stat.S_ISREG(look.mode) or look.size > MAX_JOB_BYTES or look.links > 1
