"""How much is claimed at once, and for whom."""

from __future__ import annotations

import pytest

from arbd.daemon.core.chunks import chunk_size, preempt
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
