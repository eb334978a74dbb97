"""The names in a folder, read anew only when it changed: a folder of ten thousand names takes its time, every second."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from arbd.spool.files import Files
from arbd.spool.system import Clock, FileStatus
from arbd.values import dataclass

LIST_ALL_S = 60.0
# A folder that changes twice within one tick of its server's clock shows the first time only.
SETTLE_S = 2.0


def hidden_names(names: Sequence[str]) -> Sequence[str]:
    """Those of sorted names that begin with a dot; the others, of which there may be many, are not looked at."""
    # The character after the dot is the slash, which no name has.
    return names[bisect_left(names, ".") : bisect_left(names, "/")]


@dataclass(slots=True)
class Listing:
    """Not thread-safe. A network client may show for its cache's time that a folder did not change."""

    files: Files
    folder: Path
    clock: Clock
    _names: Sequence[str] = ()
    _status: FileStatus | None = None
    _changed_s: float = 0.0
    _listed_s: float | None = None

    def is_due(self) -> bool:
        """True when the folder has changed since, or may have, or was not read for long."""
        now_s, status = self.clock.monotonic_s(), self.files.look(self.folder)
        if status != self._status:
            self._status, self._changed_s = status, now_s
        if self._listed_s is None or now_s - self._changed_s < SETTLE_S:
            return True
        return now_s - self._listed_s >= LIST_ALL_S

    def read(self) -> Sequence[str]:
        """The names as they are now."""
        self._listed_s = self.clock.monotonic_s()
        self._names = self.files.names(self.folder)
        return self._names

    def names(self) -> Sequence[str]:
        """The names, sorted, as of the last change."""
        return self.read() if self.is_due() else self._names
