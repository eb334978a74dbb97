"""The ledger's state: every iteration is always in exactly one place, whatever order records come in."""

from __future__ import annotations

import itertools

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arbd.spool import ledger
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import LEDGER, MAX_BUSY_NS, LedgerRecord, read_record
from arbd.spool.provenance import Actor
from arbd.spool.spans import Claim, Finish, Span, spans_of


def claims_of(spans: list[Span], worker: int, first_id: int) -> list[Claim]:
    return [Claim(first_id + i, span, f"w{worker}", worker) for i, span in enumerate(spans)]


class LedgerMachine(RuleBasedStateMachine):
    """Random claims, finishes, revocations, retries of a session, folded through their msgpack form."""

    @initialize(n=st.integers(1, 60))
    def opened(self, n: int) -> None:
        self.state = LedgerState()
        self.fold(ledger.opened(n))
        self.lost: list[Claim] = []
        self.ids = itertools.count(1000, 1000)

    def fold(self, record: LedgerRecord) -> None:
        self.state.fold(LEDGER.decode(ledger.pack(record)))
        self.state.assert_consistent()

    @rule(chunk=st.integers(1, 20), total=st.integers(1, 40), worker=st.integers(0, 3))
    def claim(self, chunk: int, total: int, worker: int) -> None:
        spans = self.state.take(chunk, total)
        assert sum(span.count for span in spans) == min(total, self.state.unclaimed)
        assert all(span.count <= chunk for span in spans)
        claims = claims_of(spans, worker, next(self.ids))
        if claims:
            self.fold(ledger.claimed(claims, 2, 1))

    @rule(first=st.integers(1, 60), count=st.integers(1, 10), worker=st.integers(0, 3))
    def claim_what_an_old_copy_of_the_ledger_shows(self, first: int, count: int, worker: int) -> None:
        count = min(count, self.state.n - first + 1)
        taken = {i for c in self.state.claims.values() for i in range(c.span.first, c.span.first + c.span.count)}
        wanted = set(range(first, first + count))
        before = len(self.state.claims)
        if first < self.state.cursor and (wanted & taken or not self.state.pool):
            self.fold(ledger.claimed(claims_of([Span(first, max(count, 1))], worker, next(self.ids)), 2, 1))
            assert len(self.state.claims) == before

    @precondition(lambda self: self.state.claims)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(sorted(self.state.claims.values(), key=lambda c: c.claim_id)))
        done = data.draw(st.integers(0, claim.span.count))
        left = (
            (Span(claim.span.first + done, claim.span.count - done, claim.span.epoch),)
            if done < claim.span.count
            else ()
        )
        self.fold(ledger.finished(claim.incarnation, [Finish(claim.claim_id, (done, 0, 0, 0), left)], 2))

    @rule(worker=st.integers(0, 3))
    def revoke(self, worker: int) -> None:
        self.lost += [c for c in self.state.claims.values() if c.incarnation == worker]
        self.fold(ledger.revoked(worker, "dead"))

    @precondition(lambda self: self.lost)
    @rule()
    def a_revoked_worker_comes_back(self) -> None:
        counted = self.state.counted
        claim = self.lost.pop()
        self.fold(ledger.finished(claim.incarnation, [Finish(claim.claim_id, (claim.span.count, 0, 0, 0))], 3))
        assert self.state.counted == counted

    @invariant()
    def every_iteration_is_in_one_place(self) -> None:
        if not hasattr(self, "state"):
            return
        held = [i for c in self.state.claims.values() for i in range(c.span.first, c.span.first + c.span.count)]
        pooled = [i for s in self.state.pool for i in range(s.first, s.first + s.count)]
        ahead = list(range(self.state.cursor, self.state.n + 1))
        together = held + pooled + ahead
        assert len(together) == len(set(together))
        assert len(together) + self.state.counted == self.state.n
        assert self.state.exhausted == (not together)
        states = self.state.states()
        assert sum(states.values()) == self.state.n
        assert states["claimed"] == len(held)
        assert states["pending"] + states["lost"] + states["quarantined"] == len(pooled) + len(ahead)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_spans_that_were_given_back_are_taken_first() -> None:
    state = LedgerState()
    state.fold(ledger.opened(100))
    state.fold(ledger.claimed(claims_of(state.take(10, 20), 1, 1), 1, 0))
    state.fold(ledger.revoked(1, "dead"))
    assert [(span.first, span.count) for span in state.take(10, 25)] == [(1, 10), (11, 10), (21, 5)]


def test_what_is_left_to_others_keeps_nobody_from_what_lies_behind_it() -> None:
    state = LedgerState()
    state.fold(ledger.opened(30))
    first, second, third = claims_of(state.take(10, 30), 1, 1)
    state.fold(ledger.claimed([first, second, third], 1, 0))
    avoided = Span(1, 10, 0, attempt=2, avoid="w1")
    returned = [Finish(1, (0, 0, 0, 0), (avoided,)), Finish(2, (0, 0, 0, 0), (second.span,))]
    state.fold(ledger.finished(1, returned, 1))
    assert [(span.first, span.count) for span in state.take(4, 20, "w1")] == [(11, 4), (15, 4), (19, 2)]
    # All that was given back comes before anything new, to the last iteration.
    assert [(span.first, span.count) for span in state.take(4, 5)] == [(1, 4), (5, 1)]
    state.fold(ledger.finished(1, [Finish(3, (0, 0, 0, 0), (third.span,))], 1))
    assert [(span.first, span.count) for span in state.take(10, 11)] == [(1, 10), (11, 1)]


def test_a_retry_runs_in_a_new_epoch_and_leaves_the_counts() -> None:
    state = LedgerState()
    state.fold(ledger.opened(10))
    (claim,) = claims_of(state.take(10, 10), 1, 1)
    state.fold(ledger.claimed([claim], 1, 0))
    state.fold(ledger.finished(1, [Finish(claim.claim_id, (7, 3, 0, 0))], 1))
    state.fold(ledger.compacted((7, 3, 0, 0), 0))
    assert state.label() == "done"
    state.fold(ledger.again(spans_of([2, 3, 9], 1), [0, 3, 0, 0], "retry"))
    assert (state.counts, state.done, state.label()) == ([7, 0, 0, 0], False, "running")
    assert [(span.first, span.count, span.epoch) for span in state.take(5, 9)] == [(2, 2, 1), (9, 1, 1)]


def test_labels_tell_where_a_session_is() -> None:
    state = LedgerState()
    state.fold(ledger.opened(2))
    assert state.label() == "pending"
    state.fold(ledger.switched(ledger.PAUSED))
    assert state.label() == "paused"
    state.fold(ledger.switched(ledger.RUNNING))
    (claim,) = claims_of(state.take(2, 2), 1, 1)
    state.fold(ledger.claimed([claim], 3, 5))
    assert (state.label(), state.live_slots(), state.started_ns) == ("running", 3, 5)
    state.fold(ledger.finished(1, [Finish(claim.claim_id, (2, 0, 0, 0))], 10**9 + 5))
    assert (state.label(), state.rate()) == ("finishing", 2.0)
    state.fold(ledger.switched(ledger.CANCELLED))
    assert (state.label(), state.over) == ("cancelled", True)


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="k is 'spell'"):
        read_record(msgpack.packb({"k": "spell"}), 5)


def test_states_tell_lost_quarantined_and_cancelled_iterations_apart() -> None:
    state = LedgerState()
    state.fold(ledger.opened(30))
    first, second, third = claims_of(state.take(10, 30), 1, 1)
    state.fold(ledger.claimed([first], 1, 0))
    state.fold(ledger.claimed([Claim(2, second.span, "w2", 2)], 1, 0))
    state.fold(ledger.revoked(2, "dead"))
    again = Span(3, 1, 0, attempt=2, avoid="w1")
    state.fold(ledger.finished(1, [Finish(1, (6, 1, 1, 1), (again,))], 1))
    assert state.states() == {
        "pending": 10, "claimed": 0, "completed": 6, "failed": 1, "timeout": 1, "crashed": 1,
        "lost": 10, "quarantined": 1, "cancelled": 0,
    }  # fmt: skip
    assert state.unclaimed_for("w1", 30) == state.unclaimed - 1
    assert again not in state.take(50, 50, "w1")
    assert again in state.take(50, 50, "w2")
    (retry,) = [span for span in state.take(50, 50) if span.first == 3]
    state.fold(ledger.claimed([Claim(7, retry, "w2", 2)], 1, 0))
    assert state.claims[2, 7].span.attempt == 2
    state.fold(ledger.switched(ledger.CANCELLED))
    assert state.states()["cancelled"] == 21


def test_what_comes_in_after_the_end_changes_no_count() -> None:
    state = LedgerState()
    state.fold(ledger.opened(4))
    (claim,) = claims_of(state.take(4, 4), 1, 1)
    state.fold(ledger.claimed([claim], 1, 0))
    state.fold(ledger.compacted((3, 1, 0, 0), 0))
    assert (state.claims, state.slots, state.live_slots()) == ({}, {}, 0)
    state.assert_consistent()
    state.fold(ledger.finished(1, [Finish(claim.claim_id, (4, 0, 0, 0))], 1))
    assert (state.counts, state.exhausted, state.label()) == ([3, 1, 0, 0], True, "done")


@pytest.mark.parametrize(
    "record",
    [
        ledger.finished(1, [Finish(1, (-1, 0, 0, 0))], 0),
        ledger.finished(-1, [], 0),
        ledger.claimed([Claim(1, Span(1, 1), "../w", 1)], 1, 0),
        ledger.claimed([Claim(1, Span(0, 1), "w", 1)], 1, 0),
        ledger.claimed([Claim(1, Span(1, 1), "w", 1)], -1, 0),
        ledger.revoked(1, "x" * 1_000_000),
        ledger.stopped(-1, "early"),
        ledger.extended(0, "more"),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_that_no_reader_takes_is_not_written(record: LedgerRecord) -> None:
    with pytest.raises(ValueError, match="the record"):
        ledger.pack(record)


@pytest.mark.parametrize("busy_ns", [-(2**70), -160, 0, 1, 2**70])
def test_a_finish_is_readable_whatever_time_was_measured(busy_ns: int) -> None:
    record = LEDGER.decode(ledger.pack(ledger.finished(1, [Finish(1, (1, 0, 0, 0))], 0, busy_ns)))
    state = LedgerState()
    state.fold(ledger.opened(3))
    state.fold(record)
    assert state.busy_ns == min(max(busy_ns, 0), MAX_BUSY_NS)


def test_a_time_of_work_below_nothing_that_an_earlier_version_wrote_is_passed_over() -> None:
    state = LedgerState()
    state.fold(ledger.opened(3))
    (claim,) = claims_of(state.take(3, 3), 1, 1)
    state.fold(ledger.claimed([claim], 1, 0))
    finish = {"k": "finish", "i": 1, "t": 1, "c": [[claim.claim_id, [3, 0, 0, 0], []]], "b": -160}
    state.fold(read_record(msgpack.packb(finish), 3))
    assert (state.counted, state.busy_ns, state.timed) == (3, 0, 0)


def test_time_of_work_is_that_of_one_incarnation_after_the_other() -> None:
    state = LedgerState()
    state.fold(ledger.opened(30))
    first, second = claims_of(state.take(10, 20), 1, 1)
    state.fold(ledger.claimed([first], 1, 100))
    # Of another's clock nothing is compared while the first one holds something.
    state.fold(ledger.claimed([Claim(2, second.span, "w2", 2)], 1, 10**9))
    state.fold(ledger.finished(1, [Finish(1, (10, 0, 0, 0))], 160))
    assert state.worked_ns == 60


def test_the_time_of_whoever_goes_on_is_counted_and_a_clock_that_goes_back_adds_none() -> None:
    state = LedgerState()
    state.fold(ledger.opened(30))
    first, second = claims_of(state.take(10, 20), 1, 1)
    state.fold(ledger.claimed([first], 1, 100))
    state.fold(ledger.finished(1, [Finish(1, (10, 0, 0, 0))], 90))
    assert state.worked_ns == 0
    state.fold(ledger.claimed([Claim(2, second.span, "w2", 2)], 1, 1_000))
    state.fold(ledger.finished(2, [Finish(2, (10, 0, 0, 0))], 1_070))
    assert state.worked_ns == 70


@pytest.mark.parametrize(
    ("asked", "claimed", "last"), [(12, 0, 12), (12, 10, 12), (5, 20, 20), (30, 0, 30), (40, 0, 30)]
)
def test_a_session_that_is_stopped_ends_where_asked_or_with_what_was_claimed(
    asked: int, claimed: int, last: int
) -> None:
    state = LedgerState()
    state.fold(ledger.opened(30))
    if claimed:
        state.fold(ledger.claimed(claims_of(state.take(10, claimed), 1, 1), 1, 0))
    state.fold(ledger.stopped(asked, "no better"))
    # Whoever asks for all that there is stops nothing.
    assert (state.n, state.opened_n, state.stopped) == (last, 30, "no better" if last < 30 else "")
    state.assert_consistent()


@pytest.mark.parametrize(("asked", "n", "why"), [(40, 40, ""), (12, 12, "no better"), (5, 12, "no better")])
def test_a_session_that_was_stopped_and_is_extended_is_stopped_no_more(asked: int, n: int, why: str) -> None:
    state = LedgerState()
    for record in (ledger.opened(30), ledger.stopped(12, "no better"), ledger.extended(asked, "asked for")):
        state.fold(record)
        state.assert_consistent()
    assert (state.n, state.stopped) == (n, why)


def test_a_session_that_is_done_has_nothing_left_whatever_a_damaged_ledger_shows() -> None:
    state = LedgerState()
    state.fold(ledger.opened(30))
    first, second = claims_of(state.take(10, 20), 1, 1)
    state.fold(ledger.claimed([first, second], 1, 0))
    state.fold(ledger.finished(1, [Finish(1, (0, 0, 0, 0), (first.span,))], 1))
    state.fold(ledger.compacted((20, 5, 3, 2), 4))
    assert (state.done, state.counts, state.duplicates, state.cursor) == (True, [20, 5, 3, 2], 4, 31)
    assert (list(state.pool), state.claims, state.exhausted, state.unclaimed) == ([], {}, True, 0)
    state.assert_consistent()


def test_who_submitted_a_session_and_what_was_done_to_it_is_kept() -> None:
    state = LedgerState()
    actor = Actor(user="ann", uid=1, host="desk", wall_ns=1, reason="a new disk")
    state.fold(ledger.opened(4))
    (claim,) = claims_of(state.take(4, 4), 1, 1)
    state.fold(ledger.claimed([claim], 1, 0))
    state.fold(ledger.finished(1, [Finish(claim.claim_id, (0, 4, 0, 0))], 1))
    state.fold(ledger.again([Span(1, 4, 1)], [0, 4, 0, 0], "asked for", actor))
    assert [action.actor for action in state.provenance.since(0)] == [actor]


def test_a_ledger_whose_claims_look_far_into_the_pool_again_and_again_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "SEARCHES_AT_ONCE", 50)
    monkeypatch.setattr(ledger, "SEARCHES_A_CLAIM", 1)
    state = LedgerState()
    state.fold(ledger.opened(200))
    claims = claims_of(state.take(1, 100), 1, 1)
    state.fold(ledger.claimed(claims, 1, 0))
    state.fold(ledger.finished(1, [Finish(c.claim_id, (0, 0, 0, 0), (c.span,)) for c in claims], 1))
    for iteration in (101, 102, 103):
        # What is new is looked for nowhere.
        state.fold(ledger.claimed([Claim(100 + iteration, Span(iteration, 1), "w1", 1)], 1, 2))
    # 50, and one for each of 104 claims, are enough for one look at the last of a hundred spans.
    state.fold(ledger.claimed([Claim(300, Span(100, 1), "w1", 1)], 1, 2))
    with pytest.raises(ValueError, match="cost more to follow"):
        state.fold(ledger.claimed([Claim(301, Span(99, 1), "w1", 1)], 1, 3))


def test_a_ledger_that_revokes_nothing_again_and_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SEARCHES_AT_ONCE", 50)
    monkeypatch.setattr(ledger, "SEARCHES_A_CLAIM", 1)
    state = LedgerState()
    state.fold(ledger.opened(200))
    state.fold(ledger.claimed(claims_of(state.take(1, 100), 1, 1), 1, 0))
    state.fold(ledger.revoked(9, "dead"))
    with pytest.raises(ValueError, match="cost more to follow"):
        state.fold(ledger.revoked(9, "dead"))


@given(
    n=st.integers(1, 12),
    counts=st.tuples(*[st.integers(0, 6)] * 4),
    claimed=st.integers(0, 12),
    extended=st.integers(0, 12),
)
def test_a_done_record_that_does_not_count_every_iteration_is_void_and_another_one_is_believed(
    n: int, counts: tuple[int, int, int, int], claimed: int, extended: int
) -> None:
    state = LedgerState()
    state.fold(ledger.opened(n))
    if extended:
        state.fold(ledger.compacted((n, 0, 0, 0), 0))
        state.fold(ledger.extended(n + extended, "more"))
    whole = state.n
    claims = claims_of(state.take(whole, min(claimed, state.unclaimed)), 1, 1) if state.unclaimed and claimed else []
    if claims:
        state.fold(ledger.claimed(claims, 1, 0))
    given_out, before = state.cursor - 1, (state.n, list(state.counts), dict(state.claims), list(state.pool))
    state.fold(ledger.compacted(counts, 1))
    counted = sum(counts)
    # A search may have ended early, by a record that is damaged: then nothing beyond it was ever given out.
    ended_early = counted == given_out and (n if extended else 0) < counted
    assert state.done == (counted == whole or ended_early)
    if not state.done:
        assert (state.n, list(state.counts), dict(state.claims), list(state.pool)) == before
        state.fold(ledger.compacted((whole, 0, 0, 0), 0))
        assert (state.label(), state.n) == ("done", whole)
    state.assert_consistent()
