"""A market is known again in whatever file it stands, and no other market is taken for it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.job.limits import MARK
from arbd.job.resolve_quotes import MOST_OF_ONE, marks_of
from arbd.paper.market.quotes import Quotes, build_quotes, quotes_of
from arbd.results.trials import is_same_market

N = 3_000
START_NS = 1_700_000_000 * 10**9


@cache
def _market(seed: int) -> Quotes:
    """About a day of quotes that come at any time, with rows in which nothing changes."""
    rng = np.random.default_rng(seed)
    moves = rng.standard_normal(N) * 1e-4 * (rng.random(N) < 0.7)
    mid = 50_000_000 * np.exp(np.cumsum(moves))
    ts_ns = START_NS + np.cumsum(rng.integers(0, 60 * 10**9, N))
    columns = {"ts_ns": ts_ns, "bid_a": mid - 500, "ask_a": mid + 500, "bid_b": mid / 1300, "ask_b": mid / 1299}
    return build_quotes(columns, f"market {seed}")[0]


def _rows(market: Quotes, chosen: object) -> Quotes:
    return quotes_of({name: column[chosen] for name, column in market.told().items()})


def _written_with(market: Quotes, digits: int, time_unit_ns: int) -> Quotes:
    """As somebody writes it who has so many digits for a price, and such a unit for time."""
    told = market.told()
    written = {
        name: np.array([float(f"{value:.{digits}g}") for value in column])
        for name, column in told.items()
        if name != "ts_ns"
    }
    return quotes_of({"ts_ns": told["ts_ns"] // time_unit_ns * time_unit_ns, **written})  # fmt: skip


def _without_repeated_rows(market: Quotes) -> Quotes:
    changed = np.append(True, np.diff(market.bid_a) != 0)
    return _rows(market, changed)


@settings(deadline=None)
@given(
    part=st.tuples(st.floats(0, 0.9), st.floats(0.1, 1)), digits=st.sampled_from([8, 9, 12, 17]),
    unit_ns=st.sampled_from([1, 1_000, 10**6]), lean=st.booleans(), of=st.sampled_from([1, 3, 100, 1_000]),
)  # fmt: skip
def test_a_part_of_a_market_that_is_written_in_another_way_is_known_again(
    part: tuple[float, float], digits: int, unit_ns: int, lean: bool, of: int
) -> None:
    market = _market(1)
    first = int(part[0] * N)
    kept = _rows(market, slice(first, first + int(part[1] * (N - first))))
    kept = _written_with(_without_repeated_rows(kept) if lean else kept, digits, unit_ns)
    marks, others = marks_of(market), marks_of(kept, of)
    assert len(marks) <= MOST_OF_ONE
    assert all(MARK.fullmatch(mark) for mark in (*marks, *others))
    # A part that has none of the moments of the whole is too short to be known.
    moments = {mark.partition(":")[0] for mark in marks} & {mark.partition(":")[0] for mark in others}
    assert is_same_market(marks, others) is is_same_market(others, marks) is bool(moments)
    assert moments or len(kept) < N / 10 or of > 10


@pytest.mark.parametrize("rows", [N, N // 2, N // 5, N // 20])
def test_every_part_of_a_twentieth_of_a_market_has_a_moment_of_the_whole(rows: int) -> None:
    market = _market(1)
    for first in range(0, N - rows + 1, max(1, rows // 3)):
        assert is_same_market(marks_of(market), marks_of(_rows(market, slice(first, first + rows))))


@pytest.mark.parametrize("seed", range(2, 6))
def test_another_market_of_the_same_time_is_another(seed: int) -> None:
    assert not is_same_market(marks_of(_market(1)), marks_of(_market(seed)))


def test_the_same_prices_on_another_day_are_another_market() -> None:
    market = _market(1)
    later = quotes_of({**market.told(), "ts_ns": market.ts_ns + 86_400 * 10**9})
    assert not is_same_market(marks_of(market), marks_of(later))


@pytest.mark.parametrize("times", [[5], [5, 5], [-7, 3], [0, 2**62], [2**62 - 1, 2**62]])
def test_markets_of_hardly_any_time_or_of_all_of_it_have_marks(times: list[int]) -> None:
    n = len(times)
    prices = dict.fromkeys(("bid_a", "ask_a", "bid_b", "ask_b"), np.ones(n))
    marks = marks_of(quotes_of({"ts_ns": np.array(times, dtype=np.int64), **prices}))
    assert 1 <= len(marks) <= MOST_OF_ONE
    assert is_same_market(marks, marks)
    assert all(MARK.fullmatch(mark) for mark in marks)
