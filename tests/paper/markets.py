"""Markets and parameters for engine tests."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from arbd.paper.market.prepared import Market, prepare
from arbd.paper.market.quotes import Quotes
from arbd.paper.market.quotes import quotes_of as from_columns
from arbd.paper.params import FEE_TIERS, followed, resolve

SECOND = 10**9


def quotes_of(
    bid_a: list[float],
    ask_a: list[float],
    bid_b: list[float],
    ask_b: list[float],
    *,
    t_s: list[float] | None = None,
    size: float = np.inf,
    fx: float = 1.0,
) -> Quotes:
    """Quotes one second apart, unless told."""
    n = len(bid_a)
    times = np.arange(n) if t_s is None else np.array(t_s)
    sizes = [np.full(n, size) for _ in range(4)]
    columns = [np.array(c, dtype=np.float64) for c in (bid_a, ask_a, bid_b, ask_b)]
    return Quotes((times * SECOND).astype(np.int64), *columns, *sizes, np.full(n, fx))


def flat_quotes(
    premiums: list[float], *, t_s: list[float] | None = None, size: float = np.inf, half: float = 0.0
) -> Quotes:
    """Venue A's mid is 100 x (1 + premium), B's is 100; half spreads as given."""
    a = [100.0 * (1 + p) for p in premiums]
    b = [100.0] * len(premiums)
    return quotes_of(
        [x * (1 - half) for x in a], [x * (1 + half) for x in a], [x * (1 - half) for x in b], [x * (1 + half) for x in b],
        t_s=t_s, size=size,
    )  # fmt: skip


def random_quotes(seed: int, n: int) -> Quotes:
    """A wild market: equal timestamps, gaps, zero and infinite sizes."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 0, 1, 1, 2, 7, 600, 4_000], n)
    mid = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, n)))
    premium = rng.normal(0, 5e-3, n)
    half = rng.choice([0.0, 2e-4, 5e-4], n)
    mid_b = mid * (1 + premium)
    fx = float(rng.choice([1.0, 1300.0]))
    sizes = [rng.choice([0.0, 0.05, 0.5, 1.0, 3.0, np.inf], n) for _ in range(4)]
    start = int(rng.choice([0, 1_704_067_000])) * SECOND
    return Quotes(
        start + np.cumsum(steps).astype(np.int64) * SECOND,
        mid * (1 - half), mid * (1 + half), mid_b * (1 - half) / fx, mid_b * (1 + half) / fx,
        *sizes, np.full(n, fx),
    )  # fmt: skip


def wild_market(seed: int, n: int) -> Market:
    """`wild_quotes`, at times with a book below the touch, prepared."""
    quotes = wild_quotes(seed, n)
    return prepare(with_levels(quotes, seed) if np.random.default_rng([seed, 2]).random() < 0.5 else quotes)


def with_levels(quotes: Quotes, seed: int) -> Quotes:
    """With one to three levels below the touch, some of them missing, some as dear as the one above."""
    rng, n = np.random.default_rng([seed, 3]), len(quotes)
    columns = dict(quotes.columns())
    for venue in "ab":
        for side, sign in (("bid", -1), ("ask", 1)):
            price, there = columns[f"{side}_{venue}"], np.ones(n, dtype=np.bool_)
            for level in range(2, 3 + seed % 3):
                there &= rng.random(n) < 0.9
                price = price * (1 + sign * rng.choice([0.0, 1e-4, 2e-3], n))
                size = rng.choice([0.0, 0.05, 0.5, 1.0, 3.0, np.inf], n)
                columns[f"{side}_{venue}_{level}"] = np.where(there, price, np.nan)
                columns[f"{side}_size_{venue}_{level}"] = np.where(there, size, 0.0)
    return from_columns(columns)


def wild_quotes(seed: int, n: int) -> Quotes:
    """`random_quotes`, at times with quotes that are none, old ones, gaps, funding, and fx that moves."""
    rng = np.random.default_rng([seed, 1])
    quotes = random_quotes(seed, n)
    if rng.random() < 0.3:
        for name in ("bid_a", "ask_b", "bid_size_a", "fx"):
            getattr(quotes, name)[rng.random(n) < 0.05] = np.nan
    if rng.random() < 0.5:
        ages = (rng.choice([0, 0, 3, 2_000], (2, n)) * SECOND).astype(np.int64)
        quotes = replace(quotes, age_a_ns=ages[0], age_b_ns=ages[1])
    if rng.random() < 0.5:
        quotes = replace(quotes, block=np.cumsum(rng.random(n) < 0.03).astype(np.int64))
    if rng.random() < 0.3:
        paid = np.where(rng.random((2, n)) < 0.1, rng.normal(0, 1e-3, (2, n)), np.nan)
        quotes = replace(quotes, funding_a=paid[0], funding_b=paid[1])
    if rng.random() < 0.3:
        quotes = replace(quotes, fx=quotes.fx * np.exp(rng.normal(0, 2e-3, n)))
    return quotes


def params_of(**given: Any) -> dict[str, Any]:
    """Resolved parameters for cheap hand calculation: no costs unless given."""
    free = {"fee_a_bps": 0, "fee_b_bps": 0, "slippage_bps": 0, "max_position": 100.0, "initial_capital": 1000.0}
    return resolve({**free, **given})


# A parameter that follows another where it is not given.
NOT_GIVEN = None
# Values of parameters that make things happen in `random_quotes`.
LIVELY: dict[str, tuple[Any, ...]] = {
    "min_spread_pct": (-0.2, 0.1, 0.3, 0.5, 1.0),
    "exit_spread_pct": (-0.5, 0.0, 0.3),
    "take_profit_pct": (0, 0.3, 0.8),
    "stop_loss_pct": (0, 0.3, 0.8),
    "max_hold_s": (0, 5, 900.5),
    "latency_a_ms": (0, 1, 1500, 10_000),
    "latency_b_ms": (0, 700, 3000),
    "slippage_bps": (0, 3, 20),
    "participation": (0.1, 0.5, 1),
    "book_levels": (50, 50, 3, 2, 1),
    "lot_step": (0, 0.01, 0.1, 0.25),
    "min_notional": (0, 5, 30),
    "fee_a_bps": (-1, 0, 10),
    "fee_b_bps": (0, 7),
    "max_position": (50, 100, 1000),
    "max_daily_loss": (0, 0.5, 5),
    "max_trades_per_hour": (0, 1, 3, 10),
    "circuit_breaker_pct": (0, 0.01, 0.5),
    "cooldown_s": (0, 60, 3600),
    "initial_capital": (500, 1000, 10_000),
    "base_share": (0, 0.1, 0.5, 1),
    "mark": ("hedged", "hedged", "market"),
    "rebalance": ("none", "transfer", "reverse"),
    "rebalance_trigger": (0, 0.2, 0.45),
    "rebalance_spread_pct": (-1, 0, 0.2),
    "transfer_fee_pct": (0, 0.1, 1),
    "transfer_delay_s": (0, 30, 4000),
    "grid_s": (60, 600, 3600),
    "max_quote_age_s": (0, 0, 5, 1000),
    "max_quote_age_a_s": (0, 0, 0, 2),
    "max_quote_age_b_s": (0, 0, 0, 30),
    "gap": ("hold", "hold", "close_before"),
    "min_spread_ab_pct": (NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, -0.1, 0.4),
    "min_spread_ba_pct": (NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, 0.2, 0.6),
    "center": ("none", "none", "ewma"),
    "center_half_life_s": (5.0, 600.0),
    "entry_sigma": (0, 0, 1.0),
    "feed_latency_a_ms": (0, 0, 0, 1500, 10_000),
    "feed_latency_b_ms": (0, 0, 0, 700),
    "latency_jitter": (0, 0, 1.0),
    "reject_pct_a": (0, 0, 20),
    "reject_pct_b": (0, 0, 50),
    "execution_seed": (1, 2),
    "unhedged": ("hedge", "unwind"),
    "hedge_latency_ms": (0, 0, 2500),
    "lot_step_a": (NOT_GIVEN, NOT_GIVEN, 0.1, 0.07),
    "lot_step_b": (NOT_GIVEN, NOT_GIVEN, 0.25, 0.0),
    "min_notional_a": (NOT_GIVEN, NOT_GIVEN, 10),
    "min_notional_b": (NOT_GIVEN, NOT_GIVEN, 0, 20),
    "tick_a": (0, 0, 0.01, 1.0),
    "tick_b": (0, 0, 0.05),
    **{
        f"fee_{venue}_tier_{tier}_{part}": values
        for venue in "ab"
        for tier in range(1, FEE_TIERS + 1)
        for part, values in (("turnover", (0, 0, 50.0 * tier, 500)), ("bps", (-1, 0, 3.5)))
    },
    "funding_a_bps_8h": (0, 0, 1.0, -2.0),
    "funding_b_bps_8h": (0, 0, 3.0),
    "borrow_a_pct_year": (0, 0, 12.0),
    "borrow_b_pct_year": (0, 0, 50.0),
    "give_up_trades_per_day": (0, 0, 0, 5),
    "give_up_drawdown_pct": (0, 0, 0, 0.2),
}


@st.composite
def any_params(draw: st.DrawFn, strategy: str) -> dict[str, Any]:
    """Parameters that make things happen in `random_quotes`."""
    return _resolved(strategy, {name: draw(st.sampled_from(values)) for name, values in LIVELY.items()})


def random_params(rng: random.Random, strategy: str) -> dict[str, Any]:
    """The same without hypothesis, which is too slow for thousands of sets."""
    return _resolved(strategy, {name: rng.choice(values) for name, values in LIVELY.items()})


def _resolved(strategy: str, drawn: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in drawn.items() if value is not NOT_GIVEN}
    return dict(followed(resolve({"strategy": strategy} | given)))
