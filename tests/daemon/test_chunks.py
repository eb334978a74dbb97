"""How much is claimed at once, and for whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.chunks import Demand, chunk_size, share
from arbd.spool import ledger
from arbd.spool.ledger import Claim, LedgerState


def state_of(n: int) -> LedgerState:
    state = LedgerState()
    state.fold(ledger.opened(n))
    return state


@pytest.mark.parametrize(
    ("n", "slots", "seconds_each", "last", "expected"),
    [
        (1000, 2, None, 1, 1),  # nothing is known yet
        (1000, 2, 1e-6, 1, 16),  # grows step by step
        (10**6, 2, 1e-3, 4096, 2000),  # two seconds of work
        (1000, 2, 1e-6, 4096, 250),  # leaves something for the others
        (1000, 2, 60.0, 16, 1),  # never less than one
        (3, 2, 1e-6, 16, 1),
    ],
)
def test_a_chunk_is_about_two_seconds_of_work(
    n: int, slots: int, seconds_each: float | None, last: int, expected: int
) -> None:
    assert chunk_size(state_of(n), slots, seconds_each, last, 2.0) == expected


def test_chunks_shrink_with_the_slots_that_are_live_elsewhere() -> None:
    state = state_of(1000)
    claims = [Claim(1, span, "other", 9) for span in state.take(10, 10)]
    state.fold(ledger.claimed(claims, 98, 1))
    assert chunk_size(state, 2, 1e-6, 4096, 2.0) == 6


def test_priority_goes_first_then_whoever_has_fewest() -> None:
    low, high = Demand("low", 0, 5, 4), Demand("high", 9, 0, 2)
    assert share([low, high], 3) == {"high": 2, "low": 1}
    assert share([Demand("a", 0, 2, 4), Demand("b", 0, 0, 4)], 4) == {"b": 3, "a": 1}
    assert share([], 3) == {}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 5)), max_size=6), st.integers(0, 12))
def test_nothing_is_given_beyond_room_or_need(wants: list[tuple[int, int, int]], free: int) -> None:
    demands = [Demand(str(i), *want) for i, want in enumerate(wants)]
    given_ = share(demands, free)
    assert sum(given_.values()) == min(free, sum(d.room for d in demands))
    assert all(count <= demands[int(name)].room for name, count in given_.items())
