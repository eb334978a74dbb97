"""How a session stands with this worker: one state, with a reason and an end, and the moves that are legal.

Owns how long a session waits after what: each time longer, never for good. Whatever was wrong is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from arbd.values import dataclass


class Standing(Enum):
    """What this worker can do with a session."""

    USABLE = "usable"
    """Its files can be read and its objective evaluated, as far as is known."""
    BACKING_OFF = "backing off"
    """Touching its files failed a moment ago: they are left alone until the pause is over."""
    BLOCKED = "blocked"
    """This host cannot evaluate it, and claims nothing of it until the pause is over."""
    UNREADABLE = "unreadable"
    """What is in its files is no session that this version reads; they are read again when the pause is over."""
    OVER = "over"
    """Nobody evaluates anything of it any more, unless a person asks for it."""


LEGAL: Mapping[Standing, frozenset[Standing]] = {
    Standing.USABLE: frozenset({Standing.BACKING_OFF, Standing.BLOCKED, Standing.UNREADABLE, Standing.OVER}),
    Standing.BACKING_OFF: frozenset(
        {Standing.USABLE, Standing.BACKING_OFF, Standing.BLOCKED, Standing.UNREADABLE, Standing.OVER}
    ),
    Standing.BLOCKED: frozenset(
        {Standing.USABLE, Standing.BACKING_OFF, Standing.BLOCKED, Standing.UNREADABLE, Standing.OVER}
    ),
    Standing.UNREADABLE: frozenset({Standing.USABLE, Standing.BACKING_OFF, Standing.UNREADABLE, Standing.OVER}),
    # One that a person asks for again, or another of the same name, begins anew.
    Standing.OVER: frozenset(),
}
# First and longest pause, in seconds, of each standing that has one.
PAUSES_S: Mapping[Standing, tuple[float, float]] = {
    Standing.BACKING_OFF: (0.25, 5.0),
    Standing.BLOCKED: (1.0, 60.0),
    Standing.UNREADABLE: (1.0, 60.0),
}


LONGEST_COMPACTION_PAUSE_S = 60.0


@dataclass(slots=True)
class SessionStanding:
    """The standing of one session; `reason` is for people and '' while it is usable or over. Not thread-safe."""

    standing: Standing = Standing.USABLE
    reason: str = ""
    until_s: float = 0.0
    _next_pause_s: dict[Standing, float] = field(default_factory=dict)

    def pause(self, standing: Standing, reason: str, now_s: float) -> None:
        """Something is wrong with it: wait, twice as long as the last time it was this."""
        first_s, longest_s = PAUSES_S[standing]
        self._move(standing, reason)
        pause_s = self._next_pause_s.get(standing, first_s)
        self.until_s = now_s + pause_s
        self._next_pause_s[standing] = min(2 * pause_s, longest_s)
        self.assert_consistent()

    def recover(self, standing: Standing) -> bool:
        """That it was `standing` is over; the next time begins with the first pause. False when it was not."""
        self._next_pause_s.pop(standing, None)
        if self.standing is not standing:
            return False
        self._move(Standing.USABLE, "")
        self.assert_consistent()
        return True

    def end(self) -> None:
        """Nothing is left to do."""
        if self.standing is not Standing.OVER:
            self._move(Standing.OVER, "")
        self.assert_consistent()

    def is_waiting(self, now_s: float, *standings: Standing) -> bool:
        """True while it is one of `standings` and its pause is not over."""
        return self.standing in standings and now_s < self.until_s

    def _move(self, standing: Standing, reason: str) -> None:
        assert standing in LEGAL[self.standing], f"a session that is {self.standing.value} became {standing.value}"
        self.standing, self.reason = standing, reason

    def assert_consistent(self) -> None:
        """A standing that has a pause has a reason, and no other has one."""
        assert bool(self.reason) == (self.standing in PAUSES_S), (self.standing, self.reason)
        assert all(
            PAUSES_S[standing][0] <= pause_s <= PAUSES_S[standing][1]
            for standing, pause_s in self._next_pause_s.items()
        )


class CompactionStage(Enum):
    """Where the compaction of a session stands on this worker."""

    NOT_ORDERED = "not ordered"
    RUNNING = "running"


@dataclass(slots=True)
class Compaction:
    """The compaction of one session; `reason` is why the last one failed, '' when it did not."""

    stage: CompactionStage = CompactionStage.NOT_ORDERED
    reason: str = ""
    not_before_s: float = 0.0
    _pause_s: float = 0.0

    @property
    def is_running(self) -> bool:
        """True while it is under way, or waits for the process that compacts."""
        return self.stage is CompactionStage.RUNNING

    def begin(self) -> None:
        """It is ordered."""
        assert self.stage is CompactionStage.NOT_ORDERED, "a session is compacted twice at once"
        self.stage = CompactionStage.RUNNING

    def ended(self, reason: str, now_s: float, pause_s: float) -> None:
        """It ended; unless the session is done now another try follows after `pause_s`, or longer if it fails again."""
        assert self.stage is CompactionStage.RUNNING, "a compaction that was not ordered ended"
        self.stage = CompactionStage.NOT_ORDERED
        self._pause_s = min(max(pause_s, 2 * self._pause_s), LONGEST_COMPACTION_PAUSE_S) if reason else pause_s
        self.reason, self.not_before_s = reason, now_s + self._pause_s
