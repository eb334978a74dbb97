"""How much of their time this worker's slots wait for suggestions of a session, of late."""

from __future__ import annotations

import math

from arbd.values import dataclass

# What was so long ago counts for a third.
MEMORY_S = 30.0


@dataclass(slots=True)
class SlotWait:
    """Not thread-safe: the coordinator owns it. Times are of the monotonic clock."""

    _waited: float = 0.0
    _all: float = 0.0
    _idle: int = 0
    _slots: int = 0
    _since_s: float | None = None

    def observe(self, now_s: float, idle: int, slots: int) -> None:
        """From now on `idle` of `slots` slots could run an iteration that nobody has suggested yet."""
        if self._since_s is not None and now_s > self._since_s:
            past_s = now_s - self._since_s
            kept = math.exp(-past_s / MEMORY_S)
            gained = MEMORY_S * (1.0 - kept)
            self._waited = kept * self._waited + gained * self._idle
            self._all = kept * self._all + gained * self._slots
        self._since_s, self._idle, self._slots = now_s, min(idle, slots), slots

    @property
    def share(self) -> float:
        """From 0 to 1; 0 while nothing was observed."""
        return self._waited / self._all if self._all > 0 else 0.0
