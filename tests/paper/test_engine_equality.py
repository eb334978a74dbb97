"""The compiled engine gives the reference's metrics, blocks and fills, to the bit, whichever way it goes."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper.engine import Run, run, run_reference, series_for
from arbd.paper.kernel import parameter_sets
from arbd.paper.kernel.parameter_sets import WAYS
from arbd.paper.market.prepared import Market, parameter_rows, prepare
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.synth import synth_profile
from arbd.paper.objective import PaperObjective
from arbd.paper.params import PARAMETERS, resolve
from tests.paper.markets import any_params, quotes_of, random_params, random_quotes, wild_market

# 250 markets are the 5,000 cases per strategy of a whole examination.
MARKETS, SETS = int(os.environ.get("ARBD_EQUALITY_MARKETS", "50")), 20


def bits(value: float) -> bytes:
    return np.float64(value).tobytes() if value == value else b"nan"


def assert_same_metrics(a: dict[str, float], b: dict[str, float]) -> None:
    different = {name: (a[name], b[name]) for name in a if bits(a[name]) != bits(b[name])}
    assert not different


def assert_same(a: Run, b: Run) -> None:
    assert_same_metrics(a.metrics, b.metrics)
    assert a.fills == b.fills
    assert a.rejects == b.rejects
    assert a.blocks.tobytes() == b.blocks.tobytes()
    assert a.equity.tobytes() == b.equity.tobytes()


def check(market: Market, params: dict[str, Any]) -> Run:
    known = run_reference(market, params)
    for way in WAYS:
        assert_same(run(market, params, way), known)
    return known


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
def test_sets_of_random_markets_swept_together_equal_the_reference(strategy: str) -> None:
    rng, traded = random.Random(strategy), 0
    for seed in range(MARKETS):
        market = wild_market(seed, rng.choice([0, 1, 2, 7, 60, 150, 150, 300]))
        sets = [random_params(rng, strategy) for _ in range(SETS)]
        values, blocks = PaperObjective([market], {}).evaluate_batch(
            {name: [p[name] for p in sets] for name in sets[0]}
        )
        for at, params in enumerate(sets):
            known = run_reference(market, params)
            assert_same_metrics({name: column[at] for name, column in values.items()}, known.metrics)
            assert blocks[at].tobytes() == known.blocks.tobytes()
            again = run(market, params, rng.choice(list(WAYS)))
            assert (again.fills, again.rejects) == (known.fills, known.rejects)
            traded += len(known.fills) > 0
    assert traded > MARKETS * SETS / 5


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
def test_sets_that_use_nothing_rare_equal_the_reference_by_the_code_that_leaves_it_out(strategy: str) -> None:
    rng, traded = random.Random(f"plain {strategy}"), 0
    rare = {
        name: 0 for name in PARAMETERS if name.startswith(("lot_", "min_notional", "tick_", "funding_", "borrow_", "reject_", "feed_", "fee_a_t", "fee_b_t"))
    } | {"latency_jitter": 0, "give_up_trades_per_day": 0, "give_up_drawdown_pct": 0.0}  # fmt: skip
    usual = {"gap": "hold", "center": "none", "max_quote_age_s": 0, "max_quote_age_a_s": 0, "max_quote_age_b_s": 0}
    usual |= {"mark": "hedged"}
    for seed in range(MARKETS):
        market = prepare(random_quotes(seed, rng.choice([2, 60, 150, 300])))
        sets = [random_params(rng, strategy) | rare | usual for _ in range(SETS)]
        rows = parameter_rows({name: [p[name] for p in sets] for name in sets[0]}, SETS)
        assert parameter_sets.is_plain(series_for(market, sets[0]), rows.any(axis=0))
        values, blocks = PaperObjective([market], {}).evaluate_batch(
            {name: [p[name] for p in sets] for name in sets[0]}
        )
        for at, params in enumerate(sets):
            known = run_reference(market, params)
            assert_same_metrics({name: column[at] for name, column in values.items()}, known.metrics)
            assert blocks[at].tobytes() == known.blocks.tobytes()
            traded += len(known.fills) > 0
    assert traded > MARKETS * SETS / 4


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
@given(data=st.data(), seed=st.integers(0, 2**32), n=st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_every_way_equals_the_reference(strategy: str, data: st.DataObject, seed: int, n: int) -> None:
    check(wild_market(seed, n), data.draw(any_params(strategy)))


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
def test_a_market_over_several_windows_in_which_runs_begin_and_cease_to_be_walked(strategy: str) -> None:
    """Calm and wild stretches in turn; the sizes are too small at times, so that orders fail quote after quote."""
    calm = random_quotes(5, 12_000)
    wild = np.arange(12_000) // 3_000 % 2 == 1
    quotes = replace(
        calm,
        bid_a=np.where(wild, calm.bid_a, calm.bid_b * calm.fx * 0.999),
        ask_a=np.where(wild, calm.ask_a, calm.ask_b * calm.fx * 1.001),
    )
    market = prepare(quotes)
    rng = random.Random(strategy)
    enduring = {"give_up_trades_per_day": 0, "give_up_drawdown_pct": 0.0, "circuit_breaker_pct": 0.0}
    sets = [random_params(rng, strategy) | enduring for _ in range(12)]
    runs = [run_reference(market, params) for params in sets]
    for way in WAYS:
        for params, known in zip(sets, runs, strict=True):
            assert_same(run(market, params, way), known)
    assert sum(len(known.fills) for known in runs) > 1_000


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_trades_per_hour": 2},
        {"cooldown_s": 9_000, "fee_a_bps": 20},
        {"max_daily_loss": 1.0, "fee_a_bps": 20},
        {"circuit_breaker_pct": 0.05, "fee_a_bps": 20, "grid_s": 600},
        {"max_hold_s": 9_000, "exit_spread_pct": -1.0},
        {"max_hold_s": 90_000, "exit_spread_pct": -1.0},
        {"rebalance": "transfer", "transfer_delay_s": 9_000},
        {"rebalance": "reverse", "rebalance_spread_pct": -0.1},
        {"feed_latency_a_ms": 1500, "max_trades_per_hour": 2},
    ],
    ids=str,
)
def test_runs_that_wait_for_longer_than_a_window_equal_the_reference(strategy: str, limits: dict[str, Any]) -> None:
    """Refused, without balances, or with a position that is held; edges call for entries all over, and in waves."""
    n, rng = 13_000, np.random.default_rng(2)
    a = 100 * (1 + 3e-3 * np.sin(np.arange(n) / 1_500) + rng.normal(0, 4e-4, n))
    market = prepare(
        quotes_of(*(list(side) for side in (a * 0.9999, a * 1.0001, np.full(n, 99.99), np.full(n, 100.01))), size=2.0)
    )
    own = {"strategy": strategy, "max_position": 400.0, "initial_capital": 1_000.0, "latency_b_ms": 1_500} | limits
    signals = [check(market, resolve(own | {"min_spread_pct": spread})).metrics["signals"] for spread in (0.05, 0.25)]
    assert min(signals) > 0


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
def test_equal_on_a_realistic_market_with_many_trades(strategy: str) -> None:
    market = prepare(synth_profile("kimchi", seed=3, ticks=20_000))
    params = resolve(
        {"strategy": strategy, "min_spread_pct": 0.05, "fee_a_bps": 1, "fee_b_bps": 1, "latency_a_ms": 800}
    )
    assert check(market, params).metrics["trades"] > 20


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_smallest_markets(strategy: str, n: int) -> None:
    one = quotes_of([101.0] * n, [101.1] * n, [100.0] * n, [100.1] * n, t_s=[5.0] * n)
    check(prepare(one), resolve({"strategy": strategy, "min_spread_pct": 0.5}))
    check(prepare(replace(one, bid_a=np.full(n, np.nan))), resolve({"strategy": strategy, "min_spread_pct": 0.5}))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "threshold"),
    [("brl_two_venue_book", 0.1), ("binance_btc_spot_perp_tick", 0.04), ("bybit_binance_btc_1m", 0.03)],
)
@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
@pytest.mark.parametrize("max_quote_age_s", [0.0, 3.0])
def test_equal_on_recorded_quotes(
    recorded: Path, name: str, threshold: float, strategy: str, max_quote_age_s: float
) -> None:
    quotes, _ = read_quotes(recorded / f"{name}.parquet")
    params = resolve(
        {
            "strategy": strategy, "min_spread_pct": threshold, "exit_spread_pct": 0.02, "latency_b_ms": 300,
            "max_quote_age_s": max_quote_age_s,
        }
    )  # fmt: skip
    assert check(prepare(quotes), params).metrics["signals"] > 0


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
def test_of_runs_that_are_given_up_no_equity_is_what_memory_held_before(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_of_rubbish(shape: Any, dtype: Any = float, **more: Any) -> Any:
        made = np.zeros(shape, dtype, **more)
        if made.dtype == np.float64:
            made[...] = np.inf
        return made

    # What is compiled takes its own `empty`, and is compiled before.
    run(wild_market(0, 10), resolve({"strategy": strategy, "center": "ewma", "center_half_life_s": 10.0}))
    monkeypatch.setattr(parameter_sets.np, "empty", full_of_rubbish)
    rng, given_up = random.Random(strategy), 0
    for seed in range(10):
        sets = [random_params(rng, strategy) | {"give_up_trades_per_day": rng.choice([0, 1])} for _ in range(10)]
        for params in sets:
            found = run(wild_market(seed, 150), params, rng.choice(list(WAYS)))
            given_up += found.metrics["given_up"] == 1
            assert np.isnan(found.equity).all() if found.metrics["given_up"] else np.isfinite(found.equity).all()
            assert np.isfinite(found.blocks).all()
    assert given_up > 10
