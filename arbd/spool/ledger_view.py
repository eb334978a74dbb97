"""A session as its ledger tells it: which iterations are where, and what people read of it. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import field

from arbd.spool.ledger_records import CANCELLED, PAUSED, RUNNING
from arbd.spool.provenance import Provenance
from arbd.spool.spans import Claim, Span
from arbd.values import dataclass

# Finish records over which the rate that people see is taken.
RECENT_FINISHES = 64

STATUS_NAMES = ("completed", "failed", "timeout", "crashed")


@dataclass(slots=True)
class LedgerView:
    """A session as its ledger tells it; `LedgerState` folds the records that change it."""

    n: int = 0
    opened_n: int = 0
    extended_from: int = 0
    cursor: int = 1
    epoch: int = 0
    state: str = RUNNING
    done: bool = False
    duplicates: int = 0
    pool: deque[Span] = field(default_factory=deque)
    claims: dict[tuple[int, int], Claim] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    worker_counts: dict[str, list[int]] = field(default_factory=dict)
    superseded: int = 0
    started_ns: int = 0
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RECENT_FINISHES))
    stopped: str = ""
    worked_ns: int = 0
    pace: tuple[int, int] | None = None
    busy_ns: int = 0
    timed: int = 0
    provenance: Provenance = field(default_factory=Provenance)
    _held: Counter[int] = field(default_factory=Counter)
    _searches: int = 0
    _searched: int = 0

    @property
    def counted(self) -> int:
        """Iterations whose results are recorded."""
        return sum(self.counts)

    @property
    def claimed(self) -> int:
        """Iterations that some worker holds."""
        return sum(claim.span.count for claim in self.claims.values())

    @property
    def unclaimed(self) -> int:
        """Iterations that nobody holds."""
        return self.n - self.cursor + 1 + sum(span.count for span in self.pool)

    def unclaimed_up_to(self, limit: int) -> int:
        """Those of them that are not beyond iteration `limit`."""
        return max(0, min(self.n, limit) - self.cursor + 1) + sum(span.count for span in self.pool)

    @property
    def settled(self) -> int:
        """The last iteration up to which every one is recorded."""
        outstanding = [span.first for span in self.pool] + [claim.span.first for claim in self.claims.values()]
        return min([self.cursor, *outstanding]) - 1

    @property
    def lost(self) -> int:
        """Iterations that a dead worker had and nobody has taken yet."""
        return sum(span.count for span in self.pool if span.lost and span.attempt == 1)

    @property
    def quarantined(self) -> int:
        """Iterations that failed on a suspicious host or killed their process, and wait to be tried again."""
        return sum(span.count for span in self.pool if span.attempt > 1)

    def states(self) -> dict[str, int]:
        """Iterations by state; each is in exactly one, so the sum is `n`."""
        waiting = self.unclaimed - self.lost - self.quarantined
        cancelled = self.state == CANCELLED
        return {
            "pending": 0 if cancelled else waiting,
            "claimed": 0 if cancelled else self.claimed,
            **dict(zip(STATUS_NAMES, self.counts, strict=True)),
            "lost": 0 if cancelled else self.lost,
            "quarantined": 0 if cancelled else self.quarantined,
            "cancelled": self.n - self.counted if cancelled else 0,
        }

    def unclaimed_for(self, worker_id: str, limit: int) -> int:
        """Iterations up to `limit` that nobody holds and that this worker need not leave to another."""
        return self.unclaimed_up_to(limit) - sum(span.count for span in self.pool if span.avoid == worker_id)

    @property
    def exhausted(self) -> bool:
        """True when every iteration is recorded and only compaction is left."""
        return self.n > 0 and not self.claims and not self.pool and self.cursor > self.n

    @property
    def over(self) -> bool:
        """True when nobody will evaluate anything any more, unless a person asks for it."""
        return self.done or self.state == CANCELLED

    def rate(self) -> float | None:
        """Iterations a second of late, by the workers' own clocks; None while nothing can be said."""
        if len(self.recent) < 2:
            return None
        (first_ns, first_count), (last_ns, last_count) = self.recent[0], self.recent[-1]
        if last_ns <= first_ns or last_count <= first_count:
            return None
        return (last_count - first_count) * 1e9 / (last_ns - first_ns)

    def label(self) -> str:
        """One word for people: pending, running, paused, cancelled, finishing or done."""
        if self.state == CANCELLED:
            return CANCELLED
        if self.done:
            return "done"
        if self.state == PAUSED:
            return PAUSED
        if self.exhausted:
            return "finishing"
        return RUNNING if self.cursor > 1 else "pending"

    def live_slots(self) -> int:
        """Slots of all workers that hold claims now."""
        holders = {claim.incarnation for claim in self.claims.values()}
        return sum(slots for incarnation, slots in self.slots.items() if incarnation in holders)
