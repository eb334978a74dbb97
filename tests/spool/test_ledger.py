"""The ledger's state: every iteration is always in exactly one place, whatever order records come in."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arbd.spool import ledger
from arbd.spool.ledger import Claim, Finish, LedgerState, Span, spans_of


class LedgerMachine(RuleBasedStateMachine):
    """Random claims, finishes, revocations, retries of a session, folded through their msgpack form."""

    @initialize(n=st.integers(1, 60))
    def opened(self, n: int) -> None:
        self.state = LedgerState()
        self.fold(ledger.opened(n))
        self.lost: list[Claim] = []

    def fold(self, record: dict[str, object]) -> None:
        self.state.fold(msgpack.unpackb(ledger.pack(record), strict_map_key=False))

    @rule(chunk=st.integers(1, 20), total=st.integers(1, 40), worker=st.integers(0, 3))
    def claim(self, chunk: int, total: int, worker: int) -> None:
        claims = self.state.take(chunk, total, f"w{worker}", worker)
        assert sum(c.span.count for c in claims) == min(total, self.state.unclaimed)
        assert all(c.span.count <= chunk for c in claims)
        if claims:
            self.fold(ledger.claimed(claims, 2, 1))

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
        self.fold(ledger.finished([Finish(claim.claim_id, (done, 0, 0, 0), left)], 2))

    @rule(worker=st.integers(0, 3))
    def revoke(self, worker: int) -> None:
        self.lost += [c for c in self.state.claims.values() if c.incarnation == worker]
        self.fold(ledger.revoked(worker, "dead"))

    @precondition(lambda self: self.lost)
    @rule()
    def a_revoked_worker_comes_back(self) -> None:
        counted = self.state.counted
        claim = self.lost.pop()
        self.fold(ledger.finished([Finish(claim.claim_id, (claim.span.count, 0, 0, 0))], 3))
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


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_spans_that_were_given_back_are_taken_first() -> None:
    state = LedgerState()
    state.fold(ledger.opened(100))
    first = state.take(10, 20, "a", 1)
    state.fold(ledger.claimed(first, 1, 0))
    state.fold(ledger.revoked(1, "dead"))
    assert [(c.span.first, c.span.count) for c in state.take(10, 25, "b", 2)] == [(1, 10), (11, 10), (21, 5)]


def test_a_retry_runs_in_a_new_epoch_and_leaves_the_counts() -> None:
    state = LedgerState()
    state.fold(ledger.opened(10))
    (claim,) = state.take(10, 10, "a", 1)
    state.fold(ledger.claimed([claim], 1, 0))
    state.fold(ledger.finished([Finish(claim.claim_id, (7, 3, 0, 0))], 1))
    state.fold(ledger.compacted((7, 3, 0, 0), 0))
    assert state.label() == "done"
    state.fold(ledger.again(spans_of([2, 3, 9], 1), [0, 3, 0, 0], "retry"))
    assert (state.counts, state.done, state.label()) == ([7, 0, 0, 0], False, "running")
    assert [(c.span.first, c.span.count, c.span.epoch) for c in state.take(5, 9, "a", 1)] == [(2, 2, 1), (9, 1, 1)]


def test_labels_tell_where_a_session_is() -> None:
    state = LedgerState()
    state.fold(ledger.opened(2))
    assert state.label() == "pending"
    state.fold(ledger.switched(ledger.PAUSED))
    assert state.label() == "paused"
    state.fold(ledger.switched(ledger.RUNNING))
    (claim,) = state.take(2, 2, "a", 1)
    state.fold(ledger.claimed([claim], 3, 5))
    assert (state.label(), state.live_slots(), state.started_ns) == ("running", 3, 5)
    state.fold(ledger.finished([Finish(claim.claim_id, (2, 0, 0, 0))], 10**9 + 5))
    assert (state.label(), state.rate()) == ("finishing", 2.0)
    state.fold(ledger.switched(ledger.CANCELLED))
    assert (state.label(), state.over) == ("cancelled", True)


@pytest.mark.parametrize("record", [{"k": "spell"}, {"k": "open", "v": 99, "n": 1}])
def test_a_record_of_another_kind_or_version_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="unknown record|ledger schema 99"):
        LedgerState().fold(record)
