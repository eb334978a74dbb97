"""The claim log of a session: what is written into it, and the state that folding its records gives. Pure: no files here.

The order of the records in the file decides, not what a writer believed when it wrote: a claim of iterations
that an earlier record had given away is void, and so is what is finished under it. Some network filesystems
show even the holder of a lock an old copy of the file; a writer learns from reading back what it really got.

Keeps I1 in the small: every iteration number is at any time in exactly one of four places: beyond the
cursor, in the pool (given back), in one claim, or counted as finished. Keeps I6: the state holds what is
outstanding, never what is done. Keeps I8: a finish whose claim was revoked changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from arbd import schema
from arbd.spool import ledger_records, ledger_view
from arbd.spool.acts import note
from arbd.spool.ledger_records import (
    LEDGER,
    MAX_BUSY_NS,
    AgainRecord,
    ClaimedSpan,
    ClaimRecord,
    DoneRecord,
    ExtendRecord,
    FinishedClaim,
    FinishRecord,
    LedgerRecord,
    OpenRecord,
    RevokeRecord,
    StateRecord,
    StopRecord,
    span_records,
)
from arbd.spool.ledger_view import LedgerView
from arbd.spool.provenance import Actor, Submission
from arbd.spool.spans import Claim, Counts, Finish, Span
from arbd.values import dataclass

# Claims take spans from the front of the pool, but for the few that a worker leaves to others.
SEARCHES_AT_ONCE = 50_000_000
SEARCHES_A_CLAIM = 1_000

COMPLETED, FAILED, TIMEOUT, CRASHED = range(4)
STATUS_NAMES = ledger_view.STATUS_NAMES

RUNNING, PAUSED, CANCELLED = ledger_records.RUNNING, ledger_records.PAUSED, ledger_records.CANCELLED

_ENCODER = msgspec.msgpack.Encoder()


def pack(record: LedgerRecord) -> bytes:
    """The payload of a ledger frame; ValueError for a record that no reader would take, which damages the ledger."""
    payload = _ENCODER.encode(record)
    LEDGER.decode(payload)
    return payload


def opened(n: int, submission: Submission | None = None) -> OpenRecord:
    """First record of every ledger."""
    # Nothing in it is new: whoever reads the earliest schema can read it.
    version, writer = schema.LEDGER.earliest, schema.LEDGER.stamp()[schema.WRITER]
    return OpenRecord(version=version, writer=writer, n=n, submission=submission)


def claimed(claims: Sequence[Claim], slots: int, wall_ns: int) -> ClaimRecord:
    """A worker with `slots` slots takes `claims`, all of one incarnation."""
    return ClaimRecord(
        worker_id=claims[0].worker_id,
        incarnation=claims[0].incarnation,
        slots=slots,
        wall_ns=wall_ns,
        claims=tuple(ClaimedSpan(c.claim_id, c.span.first, c.span.count, c.span.epoch) for c in claims),
    )


def finished(incarnation: int, finishes: Sequence[Finish], wall_ns: int, busy_ns: int = 0) -> FinishRecord:
    """Claims of an incarnation are done, with which slots were busy for so long."""
    done = tuple(FinishedClaim(f.claim_id, f.counts, span_records(f.returned)) for f in finishes)
    # Only people look at it: whatever it was measured as, the results stand.
    busy_ns = min(max(busy_ns, 0), MAX_BUSY_NS)
    return FinishRecord(incarnation=incarnation, wall_ns=wall_ns, finishes=done, busy_ns=busy_ns)


def revoked(incarnation: int, reason: str) -> RevokeRecord:
    """All outstanding claims of a dead incarnation go back to the pool."""
    return RevokeRecord(incarnation=incarnation, why=reason)


def again(spans: Sequence[Span], uncounted: Sequence[int], reason: str, actor: Actor | None = None) -> AgainRecord:
    """Finished iterations run again; `uncounted` is what leaves the counts, by status."""
    return AgainRecord(spans=span_records(spans), uncounted=_by_status(uncounted), why=reason, actor=actor)


def stopped(n: int, reason: str) -> StopRecord:
    """The session ends after iteration `n` (or after the last that was claimed already)."""
    return StopRecord(n=n, why=reason)


def extended(n: int, reason: str, actor: Actor | None = None) -> ExtendRecord:
    """A session that is done has `n` iterations from now on."""
    stamp = schema.LEDGER.stamp()
    return ExtendRecord(version=stamp[schema.LEDGER.key], writer=stamp[schema.WRITER], n=n, why=reason, actor=actor)


def switched(state: str) -> StateRecord:
    """The session is paused, resumed or cancelled."""
    return StateRecord(state=state)


def compacted(counts: Sequence[int], duplicates: int) -> DoneRecord:
    """`results.msgpack` holds every iteration, `counts` by status; the session is done."""
    return DoneRecord(counts=_by_status(counts), duplicates=duplicates)


def _by_status(counts: Sequence[int]) -> Counts:
    completed, failed, timeout, crashed = counts
    return completed, failed, timeout, crashed


@dataclass(slots=True)
class LedgerState(LedgerView):
    """A session as its ledger tells it. `fold` is the only way to change it."""

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

    def fold(self, record: LedgerRecord) -> None:
        """Apply one record; ValueError when following it costs more than workers' records do."""
        note(self.provenance, record)
        match record:
            case ClaimRecord():
                self._pass_time(record.incarnation, record.wall_ns)
                self._fold_claim(record)
            case FinishRecord():
                self._pass_time(record.incarnation, record.wall_ns)
                self._fold_finishes(record)
                self.recent.append((record.wall_ns, self.counted))
            case RevokeRecord():
                self._fold_revoke(record.incarnation)
            case AgainRecord():
                self._fold_again([part.span() for part in record.spans], record.uncounted)
            case StateRecord():
                self.state = record.state
            case StopRecord():
                self._fold_stop(record)
            case DoneRecord():
                self._fold_done(record)
            case ExtendRecord():
                self._fold_extend(record)
            case OpenRecord():
                self.n = self.opened_n = record.n

    def _fold_stop(self, record: StopRecord) -> None:
        last = max(record.n, self.cursor - 1)
        if last < self.n:
            self.n = last
            self.stopped = record.why

    def _fold_extend(self, record: ExtendRecord) -> None:
        # Of one that is done, the cursor stands behind its last iteration; records that say so may be damaged.
        if record.n > self.n:
            self.extended_from = self.n
            self.n = self.opened_n = record.n
            self.stopped = ""
            self.done = False

    def _fold_done(self, record: DoneRecord) -> None:
        """The session is done, unless the record does not count every iteration: then it is void, and another follows."""
        whole = sum(record.counts)
        # Nobody was given more than what was counted: the record that ended the search early is damaged.
        lacks_stop = self.extended_from < whole == self.cursor - 1 < self.n
        if whole != self.n and not lacks_stop:
            return
        self.n = whole
        self.done = True
        self.duplicates = record.duplicates
        self.counts = list(record.counts)
        # The rows were counted themselves: whatever claims say that a damaged ledger still shows, it is over.
        self.cursor = self.n + 1
        self.pool.clear()
        self.claims.clear()
        self.slots.clear()
        self._held.clear()

    def _pass_time(self, incarnation: int, wall_ns: int) -> None:
        """Time of work so far, by the clock of one incarnation after the other: no two hosts' are compared (I3)."""
        pace = self.pace
        if pace is not None and pace[0] == incarnation:
            self.worked_ns += max(0, wall_ns - pace[1])
        elif pace is not None and any(claim.incarnation == pace[0] for claim in self.claims.values()):
            return
        self.pace = (incarnation, wall_ns)

    def _fold_claim(self, record: ClaimRecord) -> None:
        incarnation = record.incarnation
        for claimed in record.claims:
            span = self._remove_unclaimed(claimed.first, claimed.count)
            if span is not None:
                key = (incarnation, claimed.claim_id)
                self._held[incarnation] += key not in self.claims
                self.claims[key] = Claim(claimed.claim_id, span, record.worker_id, incarnation)
        if self._held[incarnation]:
            self.slots[incarnation] = record.slots
        if not self.started_ns:
            self.started_ns = record.wall_ns
            self.recent.append((record.wall_ns, self.counted))

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

    def _fold_finishes(self, record: FinishRecord) -> None:
        before = self.counted
        for finish in record.finishes:
            self._fold_finish(record.incarnation, finish)
        if record.busy_ns > 0:
            self.busy_ns += record.busy_ns
            self.timed += self.counted - before

    def _fold_finish(self, incarnation: int, finish: FinishedClaim) -> None:
        claim = self.claims.pop((incarnation, finish.claim_id), None)
        if claim is None:
            self.superseded += sum(finish.counts)
            return
        per_worker = self.worker_counts.setdefault(claim.worker_id, [0, 0, 0, 0])
        for status, count in enumerate(finish.counts):
            self.counts[status] += count
            per_worker[status] += count
        self.pool.extend(part.span() for part in finish.returned)
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
