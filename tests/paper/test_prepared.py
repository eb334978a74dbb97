"""Markets as the engines see them: edges by their definition, what is no quote, ages, gaps, and the index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper.engine import run
from arbd.paper.kernel.parameter_sets import build_index
from arbd.paper.market import prepared
from arbd.paper.market.cache import load_market
from arbd.paper.market.loops import BLOCK_BITS, MAX_AB, MAX_BA, MIN_AB, MIN_BA, MIN_BEST, WINDOW_BITS
from arbd.paper.market.prepared import Market, grid_rows, prepare
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from tests.paper.markets import SECOND, params_of, random_quotes, wild_market


def same(a: Market, b: Market) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name.startswith("edge"))
        for name in ("ts_ns", "book", "edge_ab", "edge_ba", "unusable", "age_a_ns", "age_b_ns", "block", "fresh")
    )


@given(seed=st.integers(0, 2**32), n=st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_edges_are_those_of_the_definition(seed: int, n: int) -> None:
    quotes = random_quotes(seed, n)
    market = prepare(quotes)
    bid_b, ask_b = quotes.bid_b * quotes.fx, quotes.ask_b * quotes.fx
    assert np.array_equal(market.edge_ab, (quotes.bid_a - ask_b) / ask_b * 100.0)
    assert np.array_equal(market.edge_ba, (bid_b - quotes.ask_a) / quotes.ask_a * 100.0)
    assert np.array_equal(market.column("bid_b"), bid_b)
    assert not len(market.unusable)


def test_what_is_no_quote_shows_the_one_before_or_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    quotes = random_quotes(1, 50)
    bad = [0, 1, 17, 18, 49]
    quotes.ask_a[bad] = [np.nan, -1.0, 0.0, np.inf, np.nan]
    quotes.fx[[0, 30]] = np.nan
    whole = prepare(quotes)
    assert np.flatnonzero(whole.unusable & prepared.UNUSABLE_A).tolist() == bad
    assert np.flatnonzero(whole.unusable & prepared.UNUSABLE_B).tolist() == [0, 30]
    assert np.isfinite(whole.book[:, :4]).all()
    assert whole.column("ask_a")[[0, 1, 17, 18]].tolist() == quotes.ask_a[[2, 2, 16, 16]].tolist()
    assert whole.column("bid_a")[17] == quotes.bid_a[16]
    assert np.isnan(whole.edge_ab[[*bad, 30]]).all()
    # Chunks are an affair of memory alone.
    monkeypatch.setattr(prepared, "CHUNK_ROWS", 7)
    assert same(prepare(quotes), whole)


def test_a_market_from_the_cache_is_the_same_and_memory_mapped(tmp_path: Path) -> None:
    write_quotes(synth_profile("kimchi", 1, 300), tmp_path / "q.parquet")
    for _ in range(2):
        quotes, market = load_market(tmp_path / "q.parquet", tmp_path / "cache")
        assert same(market, prepare(quotes))
        assert isinstance(market.book, np.memmap)
    assert same(load_market(tmp_path / "q.parquet", None)[1], market)


def test_without_a_rule_the_series_are_the_market_itself() -> None:
    market = prepare(random_quotes(1, 100))
    assert market.series(0.0, carry_over_gaps=False).edge_ab is market.edge_ab
    assert market.series(10.0, carry_over_gaps=True).edge_ab is market.edge_ab


def test_ages_and_gaps_of_a_rule() -> None:
    quotes = random_quotes(1, 6)
    times = np.array([0, 1, 2, 50, 51, 52]) * SECOND
    ages = np.array([0, 3, 0, 9, 0, 0]) * SECOND
    market = prepare(replace(quotes, ts_ns=times, age_b_ns=ages, block=np.array([1, 1, 1, 1, 1, 2])))
    series = market.series(5.0, carry_over_gaps=False)
    assert series.ends.tolist() == [2, 4, 5]
    assert np.isnan(series.edge_ab).tolist() == [False, False, False, True, False, False]
    assert market.series(0.0, carry_over_gaps=False).ends.tolist() == [4, 5]
    assert market.series(5.0, carry_over_gaps=True).ends.tolist() == [5]


@given(seed=st.integers(0, 2**32), n=st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_the_index_has_the_extremes_of_every_block_and_the_first_row_of_every_time(seed: int, n: int) -> None:
    series = wild_market(seed, n).series(5.0, carry_over_gaps=False)
    index = build_index(series)
    ab, ba = series.edge_ab, series.edge_ba
    known = ~np.isnan(ab)
    for extremes, bits in ((index.blocks, BLOCK_BITS), (index.windows, WINDOW_BITS)):
        for at, line in enumerate(extremes.T):
            part = slice(at << bits, (at + 1) << bits)  # those after the last are empty
            a, b = ab[part][known[part]], ba[part][known[part]]
            assert line[MAX_AB] == a.max(initial=-np.inf)
            assert line[MIN_AB] == a.min(initial=np.inf)
            assert line[MAX_BA] == b.max(initial=-np.inf)
            assert line[MIN_BA] == b.min(initial=np.inf)
            assert line[MIN_BEST] == np.maximum(a, b).min(initial=np.inf)
    starts = series.ts_ns[0] + (np.arange(len(index.rows_by_time)) << index.time_shift)
    assert np.array_equal(index.rows_by_time, np.searchsorted(series.ts_ns, starts))
    assert starts[-1] > series.ts_ns[-1]


def test_the_grid_observes_the_last_quote_at_or_before_every_step() -> None:
    times = np.array([0, 10, 10, 25, 30]) * SECOND
    assert grid_rows(times, 10.0).tolist() == [2, 2, 4]
    assert grid_rows(times, 7.0).tolist() == [0, 2, 2, 3, 4]
    assert grid_rows(times[:1], 7.0).tolist() == []
    assert grid_rows(times[:0], 7.0).tolist() == []


def test_columns_that_do_not_lie_together_give_the_same() -> None:
    quotes = random_quotes(3, 200)
    table = np.empty((200, 3), dtype=np.int64)
    table[:, 1] = quotes.ts_ns
    apart = replace(quotes, ts_ns=table[:, 1])
    params = params_of(min_spread_pct=0.1, latency_a_ms=1500)
    assert run(prepare(apart), params).fills == run(prepare(quotes), params).fills != ()
