"""What `market describe` suggests for a search is a job that is valid, runs, and does something."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper.market.describe import describe_quotes
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.paper.market.suggest import suggestions
from arbd.paper.market.synth import PROFILES, synth_profile
from arbd.paper.market.writers import write_quotes
from arbd.paper.params import PARAMETERS, check
from tests.conftest import Arbctl
from tests.paper.markets import random_quotes
from tests.paper.test_levels_and_funding import base, with_funding, with_levels

RECORDED = ("brl_two_venue_book", "binance_btc_spot_perp_tick", "bybit_binance_btc_1m")


def runs(tmp_path: Path, arbctl: Arbctl, data: Path, iterations: int = 4) -> dict[str, Any]:
    """The job that is written for a market, from `describe` to the best of its iterations."""
    job = tmp_path / "first job.yaml"
    code, out, err = arbctl("market", "describe", data, "--job", job)
    assert (code, err) == (0, "")
    assert out.endswith(f"put your fees and latencies into {job}, then: arbctl run {job}\n")
    code, out, err = arbctl("validate", job)
    assert (code, err) == (0, ""), out
    code, _, err = arbctl("run", job, "--iterations", iterations, "--workers", 1, "--session-id", "first")
    assert code == 0, err
    summary: dict[str, Any] = json.loads(arbctl("summary", "first", "--json")[1])
    assert summary["total_iterations"] == iterations
    return summary


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_job_for_a_synthetic_market_runs(tmp_path: Path, arbctl: Arbctl, profile: str) -> None:
    path = tmp_path / "it's a 'market'.parquet"
    write_quotes(synth_profile(profile, 5, 3_000), path)
    runs(tmp_path, arbctl, path)


@pytest.mark.data
@pytest.mark.parametrize("name", RECORDED)
def test_the_job_for_a_recorded_market_runs(tmp_path: Path, arbctl: Arbctl, recorded: Path, name: str) -> None:
    runs(tmp_path, arbctl, recorded / f"{name}.parquet")


def constant(rows: int) -> Quotes:
    return build_quotes({
        "ts_ns": np.arange(rows) * 10**9, "bid_a": np.full(rows, 99.0), "ask_a": np.full(rows, 99.0),
        "bid_b": np.full(rows, 99.0), "ask_b": np.full(rows, 99.0),
    }, "x")[0]  # fmt: skip


ODD = {
    "one row": constant(1),
    "nothing moves": constant(50),
    "an edge of 400 %": replace(constant(50), bid_b=np.full(50, 480.0), ask_b=np.full(50, 500.0)),
    "nothing at the touch": replace(constant(50), bid_size_a=np.zeros(50), ask_size_a=np.zeros(50)),
    "levels and funding": build_quotes(with_levels(3, 3) | with_funding("a", "b"), "x")[0],
    "old quotes": replace(constant(50), age_a_ns=np.arange(50) * 10**11),
}


@pytest.mark.parametrize("odd", sorted(ODD))
def test_the_job_for_an_odd_market_runs(tmp_path: Path, arbctl: Arbctl, odd: str) -> None:
    write_quotes(ODD[odd], tmp_path / "q.npz")
    runs(tmp_path, arbctl, tmp_path / "q.npz", 2)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_what_is_suggested_is_what_the_engine_takes(seed: int, n: int) -> None:
    for each in suggestions(describe_quotes(random_quotes(seed, n))):
        assert check(each.name, each.low) == each.low
        if each.high is not None:
            assert check(each.name, each.high) == each.high
            assert each.low < each.high
            assert not each.log or each.low > 0


def test_bounds_lie_where_the_market_does_something() -> None:
    market = describe_quotes(synth_profile("kimchi", 3, 20_000))
    found = {each.name: each for each in suggestions(market)}
    entry, stop = found["min_spread_pct"], found["stop_loss_pct"]
    assert entry.high is not None and stop.high is not None
    assert market.edge_best.quantiles_bps["50%"] < 100 * entry.low < 100 * entry.high
    assert 100 * entry.high == pytest.approx(market.edge_best.quantiles_bps["99.9%"], rel=0.01)
    assert 100 * stop.low > market.touch_a_bps + market.touch_b_bps
    median = min(market.median_size_a, market.median_size_b) * market.mid_a
    assert found["max_position"].low < median < float(found["max_position"].high or 0)
    assert set(found) <= set(PARAMETERS)


def test_a_job_that_is_there_is_not_written_over(tmp_path: Path, arbctl: Arbctl) -> None:
    write_quotes(constant(5), tmp_path / "q.csv")
    (tmp_path / "job.yaml").write_text("mine")
    code, _, err = arbctl("market", "describe", tmp_path / "q.csv", "--job", tmp_path / "job.yaml")
    assert (code, (tmp_path / "job.yaml").read_text()) == (2, "mine")
    assert "exists: name another file, or remove it" in err


def test_levels_funding_and_ages_are_described(tmp_path: Path, arbctl: Arbctl) -> None:
    quotes, _ = build_quotes(with_levels(3, 2) | with_funding("b"), "x")
    assert base().keys() <= quotes.told().keys()
    found = describe_quotes(replace(quotes, age_a_ns=np.arange(7) * 10**9))
    assert set(found.sizes) == {"1", "2", "3"}
    assert found.sizes["2"]["bid_a"] == float(np.median(quotes.levels[0].bid_size_a))
    assert found.away_bps["2"]["bid_a"] == pytest.approx(1e4 * 0.01 / 103, rel=0.05)
    assert found.age_quantiles_a_s["50%"] == 3.0
    assert (found.funding_a.payments, found.funding_b.payments) == (0, 3)
    assert found.funding_b.sum_bps == pytest.approx(3.5)
    write_quotes(quotes, tmp_path / "q.csv")
    out = arbctl("market", "describe", tmp_path / "q.csv")[1]
    assert "funding_b:\n  payments: 3" in out and "funding_a:" not in out
