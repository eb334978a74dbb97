"""What this worker counts and times, for heartbeats, systemd's status line and monitoring.

Plain numbers that any thread may add to at any time; whoever shows them reads a copy. Counting always happens,
because it costs next to nothing; only showing needs a library.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from arbd.spool.files import Files
from arbd.spool.ledger import STATUS_NAMES
from arbd.spool.standing.firing import Standing
from arbd.spool.system import KeptFileLock
from arbd.values import dataclass

WAIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """How often something took how long."""

    def __init__(self, bounds_s: Sequence[float] = WAIT_BUCKETS_S) -> None:
        self._bounds_s = tuple(bounds_s)
        self._counts = [0] * (len(self._bounds_s) + 1)
        self._sum_s = 0.0
        self._lock = threading.Lock()

    def observe(self, seconds: float) -> None:
        """Count one."""
        with self._lock:
            self._counts[bisect.bisect_left(self._bounds_s, seconds)] += 1
            self._sum_s += seconds

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """How many took at most each bound (the last is +Inf), and the sum of all, in seconds."""
        with self._lock:
            counts, sum_s = list(self._counts), self._sum_s
        bounds = [*(f"{bound:g}" for bound in self._bounds_s), "+Inf"]
        running, total = [], 0
        for bound, count in zip(bounds, counts, strict=True):
            total += count
            running.append((bound, float(total)))
        return running, sum_s


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the coordinator saw the spool at its last beat. `states` is iterations by state, by running session."""

    about: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    superseded: int = 0
    taken_s: float | None = None

    def age_s(self, now_s: float) -> float:
        """How long ago, by the monotonic clock; 0 before the first. It grows while the spool does not answer."""
        return 0.0 if self.taken_s is None else max(0.0, now_s - self.taken_s)


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong now, as the coordinator saw it at the end of its last turn, heartbeat or not.

    `spool_trouble` is why the spool cannot be used, or ''. `since` values are of the monotonic clock, None for never.
    """

    spool_trouble: str = ""
    sessions_by_standing: Mapping[str, int] = field(default_factory=dict)
    compactions_failing: int = 0
    finishing_since_s: float | None = None
    jobs_waiting_since_s: float | None = None


class Counters:
    """The counters of one worker. `events` holds what happened to jobs, slots and leases, by name."""

    def __init__(self) -> None:
        self.chunk_wait = Histogram()
        self.lock_wait = Histogram()
        self.snapshot = Snapshot()
        self.condition = Condition()
        self.slots_busy = 0
        # By session: what is told of a load that takes long.
        self.loading: dict[str, str] = {}
        self.standing: tuple[Standing, ...] = ()
        self._recorded = [0] * len(STATUS_NAMES)
        self._events: Counter[str] = Counter()
        self._lock = threading.Lock()

    def standing_seen(self, standing: Sequence[Standing]) -> None:
        """How the standing jobs of the spool stand."""
        self.standing = tuple(standing)

    def recorded(self, counts: Sequence[int]) -> None:
        """Iterations whose results this worker recorded, by status."""
        with self._lock:
            for status, count in enumerate(counts):
                self._recorded[status] += count

    def happened(self, event: str) -> None:
        """One of `EVENTS`."""
        with self._lock:
            self._events[event] += 1

    @property
    def by_status(self) -> dict[str, int]:
        """Iterations recorded since the start."""
        with self._lock:
            return dict(zip(STATUS_NAMES, self._recorded, strict=True))

    @property
    def events(self) -> dict[str, int]:
        """How often each event happened since the start."""
        with self._lock:
            return {event: self._events[event] for event in EVENTS}


JOB_ACCEPTED, JOB_REJECTED = "job_accepted", "job_rejected"
SLOT_DIED, SESSION_PAUSED, SPOOL_TROUBLE = "slot_died", "session_paused", "spool_trouble"
LEASE_REVOKED, LIFE_LOCK_RETAKEN = "lease_revoked", "life_lock_retaken"
DAMAGE_FOUND = "damage_found"
EVENTS = (
    JOB_ACCEPTED,
    JOB_REJECTED,
    SLOT_DIED,
    SESSION_PAUSED,
    SPOOL_TROUBLE,
    LEASE_REVOKED,
    LIFE_LOCK_RETAKEN,
    DAMAGE_FOUND,
)


class MeasuredFiles(Files):
    """`Files` that tell how long locks were waited for."""

    def __init__(self, files: Files, waits: Histogram) -> None:
        super().__init__(files.system)
        self._waits = waits

    @contextlib.contextmanager
    def lock(self, path: Path, timeout_s: float, kept: KeptFileLock | None = None) -> Iterator[None]:
        """See `Files`; a lock that was not had counts with the time that it was waited for."""
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(super().lock(path, timeout_s, kept))
            finally:
                self._waits.observe(time.monotonic() - began)
            yield
