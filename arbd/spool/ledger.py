"""The claim log of a session: its record types and the state that folding them gives. Pure: no files here.

The order of the records in the file decides, not what a writer believed when it wrote: a claim of iterations
that an earlier record had given away is void, and so is what is finished under it. Some network filesystems
show even the holder of a lock an old copy of the file; a writer learns from reading back what it really got.

Keeps I1 in the small: every iteration number is at any time in exactly one of four places: beyond the
cursor, in the pool (given back), in one claim, or counted as finished. Keeps I6: the state holds what is
outstanding, never what is done. Keeps I8: a finish whose claim was revoked changes nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from arbd import schema
from arbd.spool.spans import Claim, Finish, Span

# Finish records over which the rate that people see is taken.
RECENT_FINISHES = 64

# Claims take spans from the front of the pool, but for the few that a worker leaves to others.
SEARCHES_AT_ONCE = 50_000_000
SEARCHES_A_CLAIM = 1_000

COMPLETED, FAILED, TIMEOUT, CRASHED = range(4)
STATUS_NAMES = ("completed", "failed", "timeout", "crashed")

RUNNING, PAUSED, CANCELLED = "running", "paused", "cancelled"


def pack(record: dict[str, Any]) -> bytes:
    """The payload of a ledger frame."""
    return bytes(msgpack.packb(record))


def opened(n: int) -> dict[str, Any]:
    """First record of every ledger."""
    return {"k": "open", **schema.LEDGER.stamp(), "n": n}


def claimed(claims: Sequence[Claim], slots: int, wall_ns: int) -> dict[str, Any]:
    """A worker with `slots` slots takes `claims` (all of one incarnation). `wall_ns` is for people alone (I3)."""
    return {
        "k": "claim",
        "w": claims[0].worker_id,
        "i": claims[0].incarnation,
        "s": slots,
        "t": wall_ns,
        "c": [[c.claim_id, c.span.first, c.span.count, c.span.epoch] for c in claims],
    }


def finished(incarnation: int, finishes: Sequence[Finish], wall_ns: int) -> dict[str, Any]:
    """Claims of an incarnation are done; their results are durable (I2). `wall_ns` is for people alone (I3)."""
    return {
        "k": "finish",
        "i": incarnation,
        "t": wall_ns,
        "c": [[f.claim_id, list(f.counts), [span.plain() for span in f.returned]] for f in finishes],
    }


def revoked(incarnation: int, reason: str) -> dict[str, Any]:
    """All outstanding claims of a dead incarnation go back to the pool."""
    return {"k": "revoke", "i": incarnation, "why": reason}


def again(spans: Sequence[Span], uncounted: Sequence[int], reason: str) -> dict[str, Any]:
    """Finished iterations run again; `uncounted` is what leaves the counts, by status."""
    return {"k": "again", "r": [span.plain() for span in spans], "u": list(uncounted), "why": reason}


def stopped(n: int, reason: str) -> dict[str, Any]:
    """The session ends after iteration `n` (or after the last that was claimed already)."""
    return {"k": "stop", "n": n, "why": reason}


def switched(state: str) -> dict[str, Any]:
    """The session is paused, resumed or cancelled."""
    return {"k": "state", "s": state}


def compacted(counts: Sequence[int], duplicates: int) -> dict[str, Any]:
    """`results.msgpack` holds every iteration, `counts` by status; the session is done."""
    return {"k": "done", "c": list(counts), "d": duplicates}


@dataclass(slots=True)
class LedgerState:
    """A session as its ledger tells it. `fold` is the only way to change it."""

    n: int = 0
    opened_n: int = 0
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

    def take(self, chunk: int, total: int, leave_to_others: str = "", limit: int | None = None) -> list[Span]:
        """Spans of at most `chunk` iterations each, `total` in all, none beyond `limit`, to claim next.

        Spans that were given back come first, but for those that worker `leave_to_others` should avoid.
        Changes nothing: folding the claim record does.
        """
        last = self.n if limit is None else min(self.n, limit)
        spans: list[Span] = []
        for returned in self.pool:
            if leave_to_others and returned.avoid == leave_to_others:
                continue
            rest: Span | None = returned
            while rest is not None and total > 0:
                span, rest = rest.split(min(chunk, total))
                spans.append(span)
                total -= span.count
            if total <= 0:
                break
        cursor = self.cursor
        while total > 0 and cursor <= last:
            span = Span(cursor, min(chunk, total, last - cursor + 1))
            spans.append(span)
            cursor += span.count
            total -= span.count
        return spans

    def fold(self, record: dict[str, Any]) -> None:
        """Apply one record; ValueError or KeyError when it is none that a ledger can hold."""
        kind = record["k"]
        if "t" in record:
            self._pass_time(record["i"], record["t"])
        if kind == "claim":
            self._fold_claim(record)
        elif kind == "finish":
            for claim_id, counts, returned in record["c"]:
                self._fold_finish((record["i"], claim_id), counts, [Span(*span) for span in returned])
            self.recent.append((record["t"], self.counted))
        elif kind == "revoke":
            self._fold_revoke(record["i"])
        elif kind == "again":
            self._fold_again([Span(*span) for span in record["r"]], record["u"])
        elif kind == "state":
            self.state = record["s"]
        else:
            self._fold_stage(kind, record)

    def _fold_stage(self, kind: str, record: dict[str, Any]) -> None:
        """Records that begin and end a session."""
        if kind == "stop":
            if max(record["n"], self.cursor - 1) < self.n:
                self.n = max(record["n"], self.cursor - 1)
                self.stopped = record["why"]
        elif kind == "done":
            self.done = True
            self.duplicates = record["d"]
            self.counts = list(record["c"])
            # The rows were counted themselves: whatever claims say that a damaged ledger still shows, it is over.
            self.cursor = self.n + 1
            self.pool.clear()
            self.claims.clear()
            self.slots.clear()
            self._held.clear()
        elif kind == "open":
            self.n = self.opened_n = record["n"]
        else:
            raise ValueError(f"unknown record {kind!r}")

    def _pass_time(self, incarnation: int, wall_ns: int) -> None:
        """Time of work so far, by the clock of one incarnation after the other: no two hosts' are compared (I3)."""
        pace = self.pace
        if pace is not None and pace[0] == incarnation:
            self.worked_ns += max(0, wall_ns - pace[1])
        elif pace is not None and any(claim.incarnation == pace[0] for claim in self.claims.values()):
            return
        self.pace = (incarnation, wall_ns)

    def _fold_claim(self, record: dict[str, Any]) -> None:
        incarnation = record["i"]
        for claim_id, first, count, _ in record["c"]:
            span = self._remove_unclaimed(first, count)
            if span is not None:
                self._held[incarnation] += (incarnation, claim_id) not in self.claims
                self.claims[incarnation, claim_id] = Claim(claim_id, span, record["w"], incarnation)
        if self._held[incarnation]:
            self.slots[incarnation] = record["s"]
        if not self.started_ns:
            self.started_ns = record["t"]
            self.recent.append((record["t"], self.counted))

    def _remove_unclaimed(self, first: int, count: int) -> Span | None:
        """Take iterations out of what nobody holds; None, and nothing is taken, when somebody has them."""
        self._searches += 1
        # Nothing beyond the cursor was ever given back.
        for index, span in enumerate(self.pool if first < self.cursor else ()):
            if span.first <= first and first + count <= span.first + span.count:
                before = span.part(span.first, first - span.first)
                after = span.part(first + count, span.first + span.count - first - count)
                self._count_search(index)
                del self.pool[index]
                for part in (after, before):
                    if part.count > 0:
                        self.pool.insert(index, part)
                return Span(first, count, span.epoch, span.attempt, span.avoid)
        if first < self.cursor:
            self._count_search(len(self.pool))
        if first < self.cursor or first + count - 1 > self.n:
            return None
        if first > self.cursor:
            # The record that claimed these is damaged; whoever holds them, they must not be lost sight of.
            self.pool.append(Span(self.cursor, first - self.cursor, self.epoch))
        self.cursor = first + count
        return Span(first, count)

    def _count_search(self, spans: int) -> None:
        """ValueError when claims look so far into the pool that only somebody who wants to cost time writes them."""
        self._searched += spans
        if self._searched > SEARCHES_AT_ONCE + SEARCHES_A_CLAIM * self._searches:
            raise ValueError("claims and revocations that cost more to follow than those of workers do")

    def _fold_finish(self, claim_id: tuple[int, int], counts: Sequence[int], returned: list[Span]) -> None:
        claim = self.claims.pop(claim_id, None)
        if claim is None:
            self.superseded += sum(counts)
            return
        per_worker = self.worker_counts.setdefault(claim.worker_id, [0, 0, 0, 0])
        for status, count in enumerate(counts):
            self.counts[status] += count
            per_worker[status] += count
        self.pool.extend(returned)
        self._held[claim.incarnation] -= 1
        self._forget_idle_slots(claim.incarnation)

    def _fold_revoke(self, incarnation: int) -> None:
        self._searches += 1
        self._count_search(len(self.claims))
        lost = [claim for claim in self.claims.values() if claim.incarnation == incarnation]
        for claim in lost:
            del self.claims[claim.incarnation, claim.claim_id]
            self.pool.append(replace(claim.span, lost=True))
        self._held[incarnation] = 0
        self._forget_idle_slots(incarnation)

    def _fold_again(self, spans: list[Span], uncounted: Sequence[int]) -> None:
        for status, count in enumerate(uncounted):
            self.counts[status] -= count
        self.pool.extend(spans)
        self.epoch = max([self.epoch, *(span.epoch for span in spans)])
        self.done = False

    def assert_consistent(self) -> None:
        """Every iteration is in exactly one place, as long as what was folded is what workers write.

        For tests: a ledger is written by other hosts, and what they write may be damaged or a lie.
        """
        spans = sorted((span.first, span.count) for span in (*self.pool, *(c.span for c in self.claims.values())))
        end = 1
        for first, count in spans:
            assert count >= 1 and end <= first, f"iteration {first} is in two places"
            end = first + count
        assert end <= self.cursor <= self.n + 1, (end, self.cursor, self.n)
        assert self.counted + self.claimed + self.unclaimed == self.n, (
            self.counted,
            self.claimed,
            self.unclaimed,
            self.n,
        )
        assert sum(self.states().values()) == self.n
        held = Counter(claim.incarnation for claim in self.claims.values())
        assert held == +self._held and self.slots.keys() == held.keys(), (held, self._held, self.slots)

    def _forget_idle_slots(self, incarnation: int) -> None:
        if not self._held[incarnation]:
            del self._held[incarnation]
            self.slots.pop(incarnation, None)
