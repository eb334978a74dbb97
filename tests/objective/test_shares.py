"""Shares of a market: the same stretches for every set, from even places over the whole time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arbd.objective.markets import MIN_STRETCH, STRETCHES, share, stretches
from arbd.paper.market.prepared import prepare
from tests.paper.markets import random_quotes

budgets = st.floats(1e-3, 1.0, exclude_max=True)


@given(st.integers(1, 200_000), budgets)
def test_stretches_are_even_and_lie_over_the_whole_time(n: int, budget: float) -> None:
    found = stretches(n, budget)
    assert 1 <= len(found) <= STRETCHES
    assert (found[0][0], found[-1][1] <= n) == (0, True)
    assert all(first < last for first, last in found)
    assert all(last <= first for (_, last), (first, _) in pairwise(found))
    used = sum(last - first for first, last in found)
    assert n * budget <= used <= n * budget + len(found)
    if len(found) > 1:
        assert all(last - first >= MIN_STRETCH for first, last in found)
        # The first of every eighth, or whatever there are.
        assert [first for first, _ in found] == [n * at // len(found) for at in range(len(found))]


@given(st.integers(1, 200_000), budgets, budgets)
def test_a_larger_share_of_as_many_stretches_holds_all_of_a_smaller_one(n: int, one: float, other: float) -> None:
    small, large = stretches(n, min(one, other)), stretches(n, max(one, other))
    if len(small) == len(large):
        assert all(a[0] == b[0] and a[1] <= b[1] for a, b in zip(small, large, strict=True))


def test_a_part_is_a_market_of_its_own_and_the_whole_is_the_market() -> None:
    market = prepare(random_quotes(1, 8 * MIN_STRETCH))
    assert share(market, 1.0) == [(0, market)]
    parts = share(market, 0.5)
    assert [first for first, _ in parts] == [at * len(market) // 4 for at in range(4)]
    for first, part in parts:
        assert np.array_equal(part.ts_ns, market.ts_ns[first : first + len(part)])


def test_the_smallest_share_holds_quotes_of_the_whole_time() -> None:
    market = prepare(random_quotes(1, 72 * MIN_STRETCH))
    parts = share(market, 1 / 9)
    assert len(parts) == STRETCHES
    assert [first * STRETCHES // len(market) for first, _ in parts] == list(range(STRETCHES))
