"""The compiled engine gives the reference's metrics, blocks and fills, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper.engine import Run, run, run_reference
from arbd.paper.params import resolve
from arbd.paper.prepared import prepare
from arbd.paper.quotes import Quotes
from arbd.paper.readers import read_quotes
from arbd.paper.synth import synth_profile
from tests.paper.markets import any_params, random_quotes


def bits(value: float) -> bytes:
    return np.float64(value).tobytes() if value == value else b"nan"


def assert_same(a: Run, b: Run) -> None:
    different = {n: (a.metrics[n], b.metrics[n]) for n in a.metrics if bits(a.metrics[n]) != bits(b.metrics[n])}
    assert not different
    assert a.fills == b.fills
    assert a.blocks.tobytes() == b.blocks.tobytes()
    assert a.equity.tobytes() == b.equity.tobytes()


def check(quotes: Quotes, params: dict[str, Any]) -> Run:
    market = prepare(quotes)
    compiled = run(market, params)
    assert_same(compiled, run_reference(market, params))
    return compiled


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
@given(data=st.data(), seed=st.integers(0, 2**32), n=st.integers(0, 300))
@settings(max_examples=200, deadline=None)
def test_compiled_engine_equals_reference(strategy: str, data: st.DataObject, seed: int, n: int) -> None:
    check(random_quotes(seed, n), data.draw(any_params(strategy)))


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
def test_equal_on_a_realistic_market_with_many_trades(strategy: str) -> None:
    quotes = synth_profile("kimchi", seed=3, ticks=20_000)
    params = resolve(
        {"strategy": strategy, "min_spread_pct": 0.05, "fee_a_bps": 1, "fee_b_bps": 1, "latency_a_ms": 800}
    )
    assert check(quotes, params).metrics["trades"] > 20


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "threshold"),
    [("brl_two_venue_book", 0.1), ("binance_btc_spot_perp_tick", 0.04), ("bybit_binance_btc_1m", 0.03)],
)
@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
def test_equal_on_recorded_quotes(recorded: Path, name: str, threshold: float, strategy: str) -> None:
    quotes, _ = read_quotes(recorded / f"{name}.parquet")
    params = resolve({"strategy": strategy, "min_spread_pct": threshold, "exit_spread_pct": 0.02, "latency_b_ms": 300})
    assert check(quotes, params).metrics["signals"] > 0
