"""What must hold of every run, whatever the market."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper.engine import run, series_for
from arbd.paper.fills import ENTRY, GAP, REBALANCE
from arbd.paper.market.prepared import prepare
from arbd.paper.reference.strategies import InventoryRun
from tests.paper.markets import any_params, random_quotes

MONEY = ("min_notional", "max_position", "max_daily_loss", "initial_capital")
runs = given(
    data=st.data(),
    seed=st.integers(0, 2**32),
    n=st.integers(1, 200),
    strategy=st.sampled_from(["convergence", "inventory"]),
)
few = settings(max_examples=80, deadline=None)


@runs
@few
def test_fees_slippage_and_turnover_are_the_sums_over_fills(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    params = data.draw(any_params(strategy)) | {"transfer_fee_pct": 0.0}
    found = run(prepare(random_quotes(seed, n)), params)
    assert found.metrics["total_fees"] == pytest.approx(sum(f.fee for f in found.fills), abs=1e-9)
    assert found.metrics["slippage_cost"] == pytest.approx(sum(f.slippage for f in found.fills), abs=1e-9)
    notional = sum(f.price * f.size for f in found.fills)
    assert found.metrics["turnover"] == pytest.approx(notional / params["initial_capital"], abs=1e-9)


@runs
@few
def test_both_legs_of_every_order_trade_the_same_quantity(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    found = run(prepare(random_quotes(seed, n)), data.draw(any_params(strategy)))
    for leg_a, leg_b in zip(found.fills[::2], found.fills[1::2], strict=True):
        assert (leg_a.venue, leg_b.venue) == (0, 1)
        assert leg_a.side == -leg_b.side
        assert leg_a.size == leg_b.size > 0


@runs
@few
def test_no_fill_takes_more_than_its_part_of_the_size_shown(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    quotes, params = random_quotes(seed, n), data.draw(any_params(strategy))
    for fill in run(prepare(quotes), params).fills:
        if fill.reason == GAP:
            continue  # before a gap all is closed, whatever the sizes show
        name = f"{'ask' if fill.side > 0 else 'bid'}_size_{'ab'[fill.venue]}"
        assert fill.size <= params["participation"] * getattr(quotes, name)[fill.row] * (1 + 1e-9)


@runs
@few
def test_cash_flows_add_up_to_equity(data: st.DataObject, seed: int, n: int, strategy: str) -> None:
    params = data.draw(any_params(strategy)) | {"transfer_fee_pct": 0.0}
    market = prepare(random_quotes(seed, n))
    found = run(market, params)
    cash = sum(-f.side * f.price * f.size - f.fee for f in found.fills)
    held = [sum(f.side * f.size for f in found.fills if f.venue == venue) for venue in (0, 1)]
    worth = 0.0
    if strategy == "convergence":
        marks = [
            market.column("bid_a")[-1] if held[0] > 0 else market.column("ask_a")[-1],
            market.column("bid_b")[-1] if held[1] > 0 else market.column("ask_b")[-1],
        ]
        worth = held[0] * marks[0] + held[1] * marks[1]
    assert found.metrics["pnl"] == pytest.approx(cash + worth, abs=1e-7)


@given(data=st.data(), seed=st.integers(0, 2**32), n=st.integers(1, 200))
@few
def test_balances_are_never_negative(data: st.DataObject, seed: int, n: int) -> None:
    class Watched(InventoryRun):
        def decide(self, row: int) -> None:
            super().decide(row)
            assert min(self.quote) >= -1e-9
            assert min(self.base) >= -1e-12

        def apply(self, row: int) -> None:
            super().apply(row)
            assert min(self.quote) >= -1e-9
            assert min(self.base) >= -1e-12

    params = data.draw(any_params("inventory"))
    Watched(series_for(prepare(random_quotes(seed, n)), params), params).walk()


@given(data=st.data(), seed=st.integers(0, 2**32), n=st.integers(1, 200))
@few
def test_no_entry_leg_fills_before_its_latency(data: st.DataObject, seed: int, n: int) -> None:
    # With a single decision allowed the decision's time is known: the first signal.
    params = data.draw(any_params("convergence")) | {"max_trades_per_hour": 1}
    market = prepare(random_quotes(seed, n))
    entries = [f for f in run(market, params).fills if f.reason == ENTRY][:2]
    wanted = np.flatnonzero((market.edge_ab >= params["min_spread_pct"]) | (market.edge_ba >= params["min_spread_pct"]))
    if entries:
        first = market.ts_ns[wanted[0]]
        for fill, latency in zip(entries, ("latency_a_ms", "latency_b_ms"), strict=True):
            assert fill.ts_ns >= first + int(params[latency] * 1e6)


@given(
    data=st.data(),
    seed=st.integers(0, 2**32),
    n=st.integers(1, 200),
    strategy=st.sampled_from(["convergence", "inventory"]),
)
@few
def test_scaling_prices_and_money_by_a_power_of_two_scales_pnl_exactly(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    quotes, params = random_quotes(seed, n), data.draw(any_params(strategy))
    scaled_quotes = replace(
        quotes, **{name: getattr(quotes, name) * 4 for name in ("bid_a", "ask_a", "bid_b", "ask_b")}
    )
    scaled: dict[str, Any] = params | {name: params[name] * 4 for name in MONEY}
    before, after = run(prepare(quotes), params).metrics, run(prepare(scaled_quotes), scaled).metrics
    for name in ("pnl", "realized_pnl", "total_fees", "max_drawdown"):
        assert after[name] == 4 * before[name]
    assert after["trades"] == before["trades"]


@given(seed=st.integers(0, 2**32), n=st.integers(1, 200), threshold=st.sampled_from([0.1, 0.3, 0.5]))
@few
def test_costs_never_raise_the_pnl_of_the_same_inventory_trades(seed: int, n: int, threshold: float) -> None:
    # Sizes are bounded by max_position alone, so that costs change no quantity but through the price paid.
    from arbd.paper.params import resolve

    quotes = replace(
        random_quotes(seed, n),
        **{name: np.full(n, np.inf) for name in ("bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b")},
    )
    base = {
        "strategy": "inventory",
        "min_spread_pct": threshold,
        "max_position": 1.0,
        "initial_capital": 1e6,
        "rebalance": "none",
    }
    free = run(prepare(quotes), resolve({**base, "fee_a_bps": 0, "fee_b_bps": 0, "slippage_bps": 0}))
    costly = run(prepare(quotes), resolve({**base, "fee_a_bps": 5, "fee_b_bps": 5, "slippage_bps": 5}))
    assert costly.metrics["trades"] == free.metrics["trades"]
    assert costly.metrics["pnl"] <= free.metrics["pnl"] + 1e-12


def test_rebalancing_trades_carry_their_reason() -> None:
    quotes = random_quotes(5, 3000)
    from arbd.paper.params import resolve

    params = resolve(
        {"strategy": "inventory", "min_spread_pct": 0.6, "rebalance": "reverse", "rebalance_trigger": 0.45,
         "rebalance_spread_pct": -0.5, "initial_capital": 1000, "max_position": 100}
    )  # fmt: skip
    assert REBALANCE in {fill.reason for fill in run(prepare(quotes), params).fills}
