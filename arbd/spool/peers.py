"""What workers see of each other: who moves, who can take a session, and who has fallen silent.

Keeps I3: a worker stands still for so long as another one that lives has watched it do so, by the clock of that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, read_beats
from arbd.spool.system import Clock
from arbd.values import dataclass

# So many beats may be late on a busy host, or a slow mount.
LATE_BEATS = 5
MOST_SILENT = 50
ENDED = "ended"


def silent_s(beats: Iterable[Beat]) -> dict[str, float]:
    """For how long workers have stood still, in seconds, by the words of the others; none of it of those that move.

    What somebody said of a worker counts as long as that one shows the beat that was spoken of.
    """
    shown = {beat.worker_id: beat for beat in beats}
    found: dict[str, float] = {}
    for beat in shown.values():
        for worker_id, (counter, seconds) in beat.about.get("silent", {}).items():
            if worker_id in shown and shown[worker_id].counter == counter:
                found[worker_id] = max(seconds, found.get(worker_id, 0.0))
    return found


@dataclass(slots=True)
class Peers:
    """Which other workers live, as far as their heartbeats tell: seen to move within the lease, and not draining."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    worker_id: str
    lease_s: float
    _moved: dict[str, tuple[int, int, float | None]] = field(default_factory=dict)
    _still_since_s: dict[str, float] = field(default_factory=dict)
    _beats: list[Beat] = field(default_factory=list)

    def look(self) -> None:
        """Read all heartbeats."""
        self._beats = [beat for beat in read_beats(self.files, self.layout) if beat.worker_id != self.worker_id]
        now = self.clock.monotonic_s()
        seen: dict[str, tuple[int, int, float | None]] = {}
        for beat in self._beats:
            before = self._moved.get(beat.worker_id)
            # At first sight nobody knows whether it moves: the file may be years old.
            since = None if before is None else now if before[:2] != (beat.incarnation, beat.counter) else before[2]
            seen[beat.worker_id] = (beat.incarnation, beat.counter, since)
            if before is None or since == now:
                self._still_since_s[beat.worker_id] = now
        self._moved = seen
        self._still_since_s = {name: since_s for name, since_s in self._still_since_s.items() if name in seen}

    def silent(self, beat_s: float) -> dict[str, tuple[int, float]]:
        """Those whose beat stands still though they did not say goodbye: its counter, and for how many seconds it does.

        `beat_s` is how often this worker beats. No more than `MOST_SILENT`, those that fell silent last.
        """
        now = self.clock.monotonic_s()
        found = {}
        for beat in self._beats:
            still_s = now - self._still_since_s[beat.worker_id]
            allowed_s = LATE_BEATS * max(beat_s, float(beat.about.get("beat_s", 0.0)))
            if still_s > allowed_s and beat.about.get("state") != ENDED:
                found[beat.worker_id] = (beat.counter, round(still_s, 1))
        return dict(sorted(found.items(), key=lambda item: item[1][1])[:MOST_SILENT])

    def can_take(self, session_id: str) -> bool:
        """True when some other live worker evaluates that session."""
        now = self.clock.monotonic_s()
        for beat in self._beats:
            since = self._moved[beat.worker_id][2]
            if since is None or now - since > self.lease_s or beat.about.get("state") != "running":
                continue
            if session_id in beat.about.get("held", {}) or session_id in beat.about.get("blocked", {}):
                continue
            if beat.about.get("only") not in (None, session_id):
                continue
            return True
        return False
