"""How much is claimed at once, and for whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.core.chunks import Demand, chunk_size, preempt, share
from arbd.spool import ledger
from arbd.spool.ledger import LedgerState
from arbd.spool.spans import Claim


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
        (1000, 2, 1e-3, 4096, 250),  # leaves something for the others
        (400, 2, 1e-4, 4096, 200),  # but not so little that claiming it takes as long
        (1000, 2, 60.0, 16, 1),  # never less than one
        (3, 2, 1.0, 16, 1),
        (3, 2, 1e-6, 16, 3),
    ],
)
def test_a_chunk_is_about_two_seconds_of_work(
    n: int, slots: int, seconds_each: float | None, last: int, expected: int
) -> None:
    assert chunk_size(state_of(n), n, slots, seconds_each, last, 2.0) == expected


def test_chunks_shrink_with_the_slots_that_are_live_elsewhere() -> None:
    state = state_of(1000)
    claims = [Claim(1, span, "other", 9) for span in state.take(10, 10)]
    state.fold(ledger.claimed(claims, 98, 1))
    assert chunk_size(state, state.unclaimed, 2, 1e-2, 4096, 2.0) == 6


def test_priority_goes_first_then_whoever_has_fewest() -> None:
    low, high = Demand("low", 0, 5, 4), Demand("high", 9, 0, 2)
    assert share([low, high], 3, {}) == {"high": 2, "low": 1}
    assert share([Demand("a", 0, 2, 4), Demand("b", 0, 0, 4)], 4, {}) == {"b": 3, "a": 1}
    assert share([], 3, {}) == {}


def test_urgent_work_is_claimed_though_all_slots_have_other_work() -> None:
    low, high = Demand("low", 0, 4, 4), Demand("high", 9, 0, 2)
    assert share([low, high], 4, {0: 4}) == {"high": 2}
    assert share([low, high], 4, {0: 2, 9: 3}) == {"high": 1}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 5)), max_size=6),
    st.integers(0, 12),
    st.dictionaries(st.integers(0, 2), st.integers(0, 6)),
)
def test_nothing_is_given_beyond_room_or_depth(
    wants: list[tuple[int, int, int]], depth: int, out: dict[int, int]
) -> None:
    demands = [Demand(str(i), *want) for i, want in enumerate(wants)]
    given_ = share(demands, depth, out)
    assert all(count <= demands[int(name)].room for name, count in given_.items())
    for priority in (0, 1, 2):
        as_urgent = sum(count for name, count in given_.items() if demands[int(name)].priority >= priority)
        if any(demands[int(name)].priority == priority for name in given_):
            assert as_urgent + sum(n for other, n in out.items() if other >= priority) <= depth


@pytest.mark.parametrize(
    ("waiting", "running", "expected"),
    [
        ([5], [(0, False), (0, False)], [0]),
        ([5, 5, 5], [(0, False), (0, False)], [0, 1]),
        ([5], [(0, True), (0, False)], []),
        ([5], [(5, False), (7, False)], []),
        ([5, 0], [(1, False), (0, False)], [1]),
        ([], [(0, False)], []),
        ([9, 5], [(6, False), (0, False)], [1]),
        ([9, 9], [(6, False), (0, False)], [1, 0]),
    ],
)
def test_as_many_less_urgent_tasks_give_way_as_urgent_ones_wait(
    waiting: list[int], running: list[tuple[int, bool]], expected: list[int]
) -> None:
    assert preempt(waiting, running) == expected
