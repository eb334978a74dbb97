"""Every engine parameter counts: for each there is a market where changing it changes the metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arbd.errors import UsageError
from arbd.paper.engine import run
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import Quotes
from arbd.paper.params import FEE_TIERS, PARAMETERS, canonical, check, resolve
from tests.paper.markets import SECOND, flat_quotes, params_of, random_quotes, with_levels

# Opens 1 % wide, drifts wider and narrower, closes; quotes a minute apart.
WAVES = [0.0, 0.010, 0.012, 0.016, 0.009, 0.004, 0.0, -0.002, 0.0, 0.011, 0.015, 0.006, -0.001, 0.0, 0.008, 0.0] * 4
MINUTES = [60.0 * i for i in range(len(WAVES))]


def waves(**more: Any) -> Quotes:
    return flat_quotes(WAVES, t_s=MINUTES, half=2e-4, **more)


def swapped(quotes: Quotes) -> Quotes:
    """With the venues in each other's place."""
    return replace(quotes, bid_a=quotes.bid_b, ask_a=quotes.ask_b, bid_b=quotes.bid_a, ask_b=quotes.ask_a)


def losing() -> Quotes:
    """Opens, and closes by its stop at a loss, again and again."""
    return flat_quotes([0.0, 0.010, 0.030, 0.0, 0.0, 0.010, 0.030, 0.0] * 6, t_s=[60.0 * i for i in range(48)])


def days() -> Quotes:
    """`waves` over more than a day."""
    return flat_quotes(WAVES, t_s=[1800.0 * i for i in range(len(WAVES))], half=2e-4)


def tier_cases(venue: str, tier: int) -> dict[str, tuple[Quotes, dict[str, Any], Any, Any]]:
    """Of the turnover from which a tier holds, and of its fee."""
    turnover, fee = f"fee_{venue}_tier_{tier}_turnover", f"fee_{venue}_tier_{tier}_bps"
    return {
        turnover: (days(), CONVERGENCE | {fee: 5.0}, 0.0, 10.0),
        fee: (days(), CONVERGENCE | {turnover: 10.0}, 0.0, 5.0),
    }


CONVERGENCE = {"min_spread_pct": 0.5, "exit_spread_pct": 0.05}
INVENTORY = {"strategy": "inventory", "min_spread_pct": 0.5, "initial_capital": 1000.0, "max_position": 100.0}
STOPPED = {"min_spread_pct": 0.5, "exit_spread_pct": -5.0, "stop_loss_pct": 1.0}

# parameter: (market, what is given besides, one value, another value)
CASES: dict[str, tuple[Quotes, dict[str, Any], Any, Any]] = {
    "strategy": (waves(), {"min_spread_pct": 0.5}, "convergence", "inventory"),
    "min_spread_pct": (waves(), CONVERGENCE, 0.5, 1.1),
    "exit_spread_pct": (waves(), CONVERGENCE, 0.05, 0.5),
    "take_profit_pct": (waves(), CONVERGENCE, 0.0, 0.3),
    "stop_loss_pct": (waves(), CONVERGENCE, 0.0, 0.3),
    "max_hold_s": (waves(), CONVERGENCE, 0.0, 120.0),
    "latency_a_ms": (waves(), CONVERGENCE, 0.0, 60_000.0),
    "latency_b_ms": (random_quotes(7, 500), CONVERGENCE, 0.0, 3_000.0),
    "slippage_bps": (waves(), CONVERGENCE, 0.0, 5.0),
    "participation": (waves(size=0.5), CONVERGENCE, 1.0, 0.5),
    "book_levels": (with_levels(waves(size=0.3), 1), CONVERGENCE | {"max_position": 300.0}, 50, 1),
    "lot_step": (waves(size=0.55), CONVERGENCE, 0.0, 0.25),
    "min_notional": (waves(size=0.5), CONVERGENCE, 0.0, 60.0),
    "fee_a_bps": (waves(), CONVERGENCE, 0.0, 5.0),
    "fee_b_bps": (waves(), CONVERGENCE, 0.0, 5.0),
    "max_position": (waves(), CONVERGENCE, 100.0, 50.0),
    "max_daily_loss": (losing(), STOPPED, 0.0, 1.0),
    "max_trades_per_hour": (waves(), CONVERGENCE, 0, 1),
    "circuit_breaker_pct": (losing(), STOPPED, 0.0, 0.1),
    "cooldown_s": (losing(), STOPPED, 0.0, 600.0),
    "initial_capital": (waves(), CONVERGENCE, 1000.0, 2000.0),
    "base_share": (waves(), INVENTORY, 0.5, 0.05),
    "rebalance": (waves(), INVENTORY | {"max_position": 400.0, "rebalance_trigger": 0.45}, "none", "transfer"),
    "rebalance_trigger": (waves(), INVENTORY | {"max_position": 200.0, "transfer_delay_s": 0}, 0.05, 0.45),
    "rebalance_spread_pct": (
        waves(), INVENTORY | {"rebalance": "reverse", "rebalance_trigger": 0.45, "max_position": 200.0}, 0.5, -0.5
    ),
    "transfer_fee_pct": (waves(), INVENTORY | {"max_position": 200.0, "rebalance_trigger": 0.45}, 0.0, 0.5),
    "transfer_delay_s": (waves(), INVENTORY | {"max_position": 400.0, "rebalance_trigger": 0.45}, 0.0, 3_000.0),
    "max_quote_age_s": (replace(waves(), age_a_ns=np.arange(len(WAVES)) % 3 * SECOND), CONVERGENCE, 0.0, 1.5),
    "max_quote_age_a_s": (replace(waves(), age_a_ns=np.arange(len(WAVES)) % 3 * SECOND), CONVERGENCE, 0.0, 1.5),
    "max_quote_age_b_s": (replace(waves(), age_b_ns=np.arange(len(WAVES)) % 3 * SECOND), CONVERGENCE, 0.0, 1.5),
    "gap": (replace(waves(), block=np.arange(len(WAVES)) // 4), CONVERGENCE, "hold", "close_before"),
    "min_spread_ab_pct": (waves(), CONVERGENCE, 0.5, 1.1),
    "min_spread_ba_pct": (swapped(waves()), CONVERGENCE, 0.5, 1.1),
    "center": (waves(), CONVERGENCE | {"center_half_life_s": 300.0}, "none", "ewma"),
    "center_half_life_s": (waves(), CONVERGENCE | {"center": "ewma"}, 60.0, 6_000.0),
    "entry_sigma": (waves(), CONVERGENCE | {"center": "ewma"}, 0.0, 2.0),
    "latency_jitter": (waves(), CONVERGENCE | {"latency_a_ms": 60_000.0}, 0.0, 1.0),
    "reject_pct_a": (waves(), CONVERGENCE, 0.0, 50.0),
    "reject_pct_b": (waves(), CONVERGENCE, 0.0, 50.0),
    "execution_seed": (waves(), CONVERGENCE | {"reject_pct_a": 50.0}, 1, 2),
    "unhedged": (waves(), CONVERGENCE | {"reject_pct_a": 50.0}, "hedge", "unwind"),
    "hedge_latency_ms": (waves(), CONVERGENCE | {"reject_pct_a": 50.0}, 0.0, 200_000.0),
    "lot_step_a": (waves(size=0.55), CONVERGENCE, 0.0, 0.25),
    "lot_step_b": (waves(size=0.55), CONVERGENCE, 0.0, 0.25),
    "min_notional_a": (waves(size=0.5), CONVERGENCE, 0.0, 60.0),
    "min_notional_b": (waves(size=0.5), CONVERGENCE, 0.0, 60.0),
    "tick_a": (waves(), CONVERGENCE, 0.0, 0.5),
    "tick_b": (waves(), CONVERGENCE, 0.0, 0.5),
    "funding_a_bps_8h": (waves(), CONVERGENCE, 0.0, 3.0),
    "funding_b_bps_8h": (waves(), CONVERGENCE, 0.0, -3.0),
    "borrow_a_pct_year": (waves(), CONVERGENCE, 0.0, 20.0),
    "borrow_b_pct_year": (swapped(waves()), CONVERGENCE, 0.0, 20.0),
    "give_up_trades_per_day": (waves(), CONVERGENCE, 0, 2),
    "give_up_drawdown_pct": (losing(), STOPPED, 0.0, 0.1),
    "mark": (waves(), INVENTORY, "hedged", "market"),
    "feed_latency_a_ms": (waves(), CONVERGENCE, 0.0, 60_000.0),
    "feed_latency_b_ms": (swapped(waves()), CONVERGENCE, 0.0, 60_000.0),
    **{
        name: case
        for venue in "ab"
        for tier in range(1, FEE_TIERS + 1)
        for name, case in tier_cases(venue, tier).items()
    },
    "grid_s": (waves(), CONVERGENCE, 3600.0, 600.0),
}  # fmt: skip


def test_the_table_covers_every_parameter() -> None:
    assert set(CASES) == set(PARAMETERS)


@pytest.mark.parametrize("name", sorted(CASES))
def test_changing_it_changes_the_metrics(name: str) -> None:
    quotes, given, one, other = CASES[name]
    market = prepare(quotes)
    first = run(market, params_of(**given, **({} if name in given else {name: one})) | {name: check(name, one)}).metrics
    second = run(market, params_of(**given) | {name: check(name, other)}).metrics
    different = [m for m in first if first[m] != second[m] and not (first[m] != first[m] and second[m] != second[m])]
    assert different


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match="unknown parameter 'min_spred_pct'; did you mean 'min_spread_pct'"):
        resolve({"min_spred_pct": 1})


def test_aliases_of_the_seed_system_are_understood() -> None:
    assert canonical("max_position_krw") == "max_position"
    assert resolve({"circuit_breaker_threshold": 3})["circuit_breaker_pct"] == 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("slippage_bps", -1, "slippage_bps is -1; it can be 0 to 10000 bps"),
        ("slippage_bps", "low", "is 'low'; it is a number in bps"),
        ("slippage_bps", True, "is True; it is a number"),
        ("slippage_bps", float("nan"), "is nan"),
        ("strategy", "martingale", "it can be convergence, inventory"),
        ("max_trades_per_hour", 1.5, "it is an integer"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(name, value)
