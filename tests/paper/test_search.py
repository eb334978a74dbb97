"""The compiled searches over quotes, against the same said in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper.compiled import jit
from arbd.paper.kernel.parameter_sets import Index, build_index, of_market
from arbd.paper.kernel.records import desk_at
from arbd.paper.kernel.search import REGION, WINDOW, row_at, row_before, search, stretches
from arbd.paper.kernel.state import DESK, NEVER
from arbd.paper.kernel.venue import row_after
from arbd.paper.market.prepared import prepare
from arbd.paper.market.series import Series
from tests.paper.markets import flat_quotes, random_quotes, wild_market

NOTHING, EVERYTHING = -np.inf, np.inf
LEVEL = st.one_of(st.floats(-0.5, 0.5), st.sampled_from([NOTHING, EVERYTHING]))


# Which edges a search looks at: both, each at or above its level; or one, at or above the first or at or below the other.
EITHER, AB_OUTSIDE, BA_OUTSIDE = range(3)
WAYS = (EITHER, AB_OUTSIDE, BA_OUTSIDE)


@jit
def do_search(desk: int, row: int, limit: int, stop: int, way: int, level: Any, other: Any) -> int:
    x = desk_at(desk, np.int64(0))
    if way == EITHER:
        return search(x, row, limit, stop, x.ab, x.ba, level, other, False)
    edges = x.ab if way == AB_OUTSIDE else x.ba
    return search(x, row, limit, stop, edges, edges, level, other, True)


@jit
def do_stretches(desk: int, row: int, stop: int, high_ab: float, high_ba: float, wanted: int) -> Any:
    return stretches(desk_at(desk, np.int64(0)), row, stop, high_ab, high_ba, wanted)


@jit
def do_row_at(desk: int, row: int, time_ns: int) -> int:
    return row_at(desk_at(desk, np.int64(0)), row, time_ns)


@jit
def do_row_before(desk: int, row: int, time_ns: int) -> int:
    return row_before(desk_at(desk, np.int64(0)), row, time_ns)


@jit
def do_row_after(desk: int, row: int, time_ns: int, venue: int) -> int:
    return row_after(desk_at(desk, np.int64(0)), row, time_ns, venue)


class Desk:
    """A market on a desk, at an address."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.index: Index = build_index(series)
        self.tables = of_market(series, self.index)
        self.desk = np.zeros(1, dtype=DESK)
        for name, table in self.tables.items():
            self.desk[name] = table.ctypes.data if isinstance(table, np.ndarray) else table
        self.address = self.desk.ctypes.data


def small(seed: int, n: int) -> Desk:
    return Desk(wild_market(seed, n).series(5.0, carry_over_gaps=True))


LONG = Desk(prepare(random_quotes(7, 3 * WINDOW + 1_000)).series(0.0, carry_over_gaps=True))


@given(seed=st.integers(0, 2**32), n=st.integers(1, 300), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_search_finds_the_first_quote_at_or_beyond_a_level(seed: int, n: int, data: st.DataObject) -> None:
    check_search(small(seed, n), data)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_search_goes_on_from_the_window_that_it_found(data: st.DataObject) -> None:
    check_search(LONG, data)


def check_search(at: Desk, data: st.DataObject) -> None:
    n, ab, ba = len(at.series), at.series.edge_ab, at.series.edge_ba
    some = np.sort(np.concatenate([ab[~np.isnan(ab)], ba[~np.isnan(ba)], [0.0]]))
    level = st.one_of(LEVEL, st.sampled_from(some[:: max(1, len(some) // 50)].tolist()), st.just(float(some[-1])))
    row = data.draw(st.integers(0, n - 1))
    way, levels = data.draw(st.sampled_from(WAYS)), (data.draw(level), data.draw(level))
    assert_found(at, row, data.draw(st.integers(row + 1, n)), way, levels)


def assert_found(at: Desk, row: int, limit: int, way: int, levels: tuple[float, float]) -> None:
    n, ab, ba = len(at.series), at.series.edge_ab, at.series.edge_ba
    level, other = levels
    edges = ab if way == AB_OUTSIDE else ba
    hits = (ab >= level) | (ba >= other) if way == EITHER else (edges >= level) | (edges <= other)
    known = np.flatnonzero(hits[row:limit])
    expected = row + int(known[0]) if len(known) else limit
    found, windows = row, 0
    while True:
        stop = min(n, (found // WINDOW + 1) * WINDOW)
        found = do_search(at.address, found, limit, stop, way, *levels)
        if found < stop or found >= limit:
            break
        assert found <= expected
        windows += 1
    assert found == expected
    assert windows <= 4


@pytest.mark.parametrize("seed", range(4))
def test_a_search_for_what_is_rare_passes_over_windows_and_goes_never_back(seed: int) -> None:
    check_rare(LONG, seed, 50)


def check_rare(at: Desk, seed: int, times: int) -> None:
    rng, n = np.random.default_rng(seed), len(at.series)
    ab, ba = np.sort(at.series.edge_ab), np.sort(at.series.edge_ba)
    for _ in range(times):
        way = int(rng.choice(WAYS))
        one = ab if way != BA_OUTSIDE else ba
        level = rng.choice([EVERYTHING, *one[-3:]])
        other = rng.choice([EVERYTHING, *ba[-3:]] if way == EITHER else [NOTHING, *one[:3]])
        row, limit = np.sort(rng.choice(n + 1, 2, replace=False)).tolist()
        assert_found(at, row, limit, way, (level, other))


def test_a_search_passes_over_regions_of_windows_and_what_is_counted_over_none() -> None:
    at = Desk(prepare(random_quotes(3, 2 * REGION * WINDOW + 5_000)).series(0.0, carry_over_gaps=True))
    check_rare(at, 1, 100)
    for level in np.sort(at.series.edge_ab)[[-1, -30, -1_000]].tolist():
        assert_stretches(at, 0, len(at.series), (level, EVERYTHING), 0)


def test_what_is_in_the_first_window_of_the_last_region_is_found() -> None:
    premiums = np.zeros(REGION * WINDOW + 100)
    premiums[-50] = 0.01
    at = Desk(prepare(flat_quotes(premiums.tolist())).series(0.0, carry_over_gaps=True))
    for level in (0.5, EVERYTHING):
        for row in (10, REGION * WINDOW - 5):
            assert_found(at, row, len(premiums), EITHER, (level, EVERYTHING))


@given(seed=st.integers(0, 2**32), n=st.integers(1, 300), wanted=st.integers(0, 1), data=st.data())
@settings(max_examples=60, deadline=None)
def test_stretches_that_begin_are_counted(seed: int, n: int, wanted: int, data: st.DataObject) -> None:
    check_stretches(small(seed, n), wanted, data)


@given(wanted=st.integers(0, 1), data=st.data())
@settings(max_examples=60, deadline=None)
def test_stretches_over_whole_blocks_and_windows(wanted: int, data: st.DataObject) -> None:
    check_stretches(LONG, wanted, data)


@given(seed=st.integers(0, 2**32), wanted=st.integers(0, 1))
@settings(max_examples=30, deadline=None)
def test_stretches_where_whole_blocks_are_alike_and_others_are_not(seed: int, wanted: int) -> None:
    rng = np.random.default_rng(seed)
    # Long stretches with short ones between.
    lengths = np.where(rng.random(30) < 0.5, rng.integers(1, 5, 30), rng.integers(64, 200, 30))
    premiums = np.repeat(np.tile([0.0, 0.01], 15), lengths)
    at = Desk(prepare(flat_quotes(premiums.tolist())).series(0.0, carry_over_gaps=True))
    for _ in range(50):
        row, stop = sorted(rng.integers(0, len(premiums) + 1, 2).tolist())
        assert_stretches(at, row, stop, (0.5, NOTHING if rng.random() < 0.1 else EVERYTHING), wanted)


def check_stretches(at: Desk, wanted: int, data: st.DataObject) -> None:
    n = len(at.series)
    high_ab, high_ba = data.draw(LEVEL), data.draw(LEVEL)
    row = data.draw(st.integers(0, n))
    assert_stretches(at, row, data.draw(st.integers(row, n)), (high_ab, high_ba), wanted)


def assert_stretches(at: Desk, row: int, stop: int, levels: tuple[float, float], wanted: int) -> None:
    ab, ba, (high_ab, high_ba) = at.series.edge_ab, at.series.edge_ba, levels
    part = slice(row, stop)
    known = ~np.isnan(ab[part])
    wants = ((ab[part] >= high_ab) | (ba[part] >= high_ba))[known]
    states = np.concatenate([[bool(wanted)], wants])
    found = do_stretches(at.address, row, stop, high_ab, high_ba, wanted)
    assert found == (int((states[1:] & ~states[:-1]).sum()), int(states[-1]))


@given(seed=st.integers(0, 2**32), n=st.integers(1, 300), data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_row_of_a_time_is_the_first_that_is_not_before_it(seed: int, n: int, data: st.DataObject) -> None:
    at = small(seed, n)
    ts = at.series.ts_ns
    row = data.draw(st.integers(0, n - 1))
    time_ns = data.draw(st.one_of(st.integers(int(ts[0]) - 5, int(ts[-1]) + 5), st.sampled_from(ts.tolist())))
    first = int(np.searchsorted(ts, time_ns))
    later = max(row + 1, first)
    assert do_row_at(at.address, row, time_ns) == (NEVER if time_ns > ts[-1] else later)
    before = do_row_before(at.address, row, time_ns)
    assert before == NEVER if time_ns > ts[-1] else row < before <= later
    for venue in range(2):
        usable = (at.series.unusable >> venue) & 1 == 0 if len(at.series.unusable) else np.ones(n, dtype=np.bool_)
        may = np.flatnonzero(usable[max(row, first) :])
        assert do_row_after(at.address, row, time_ns, venue) == (max(row, first) + int(may[0]) if len(may) else n)


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_row_of_a_time_among_many_quotes_of_one_moment(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    # A crowd, and a day without a quote: all of the crowd stands in one place of the table of times.
    crowd = np.sort(rng.integers(0, 1_000, data.draw(st.integers(65, 600)))) / 1e6
    times = np.concatenate([crowd, 86_400.0 + np.arange(data.draw(st.integers(0, 9)))])
    at = Desk(prepare(flat_quotes([0.0] * len(times), t_s=times.tolist())).series(0.0, carry_over_gaps=True))
    ts = at.series.ts_ns
    for _ in range(20):
        row = int(rng.integers(0, len(ts)))
        time_ns = int(rng.choice(ts)) + int(rng.integers(-1, 2))
        later = max(row + 1, int(np.searchsorted(ts, time_ns)))
        assert do_row_at(at.address, row, time_ns) == (NEVER if time_ns > ts[-1] else later)
