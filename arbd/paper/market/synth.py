"""Synthetic two-venue markets: the same seed gives the same bits.

The mid of venue A is a random walk whose volatility clusters (log-volatility is an Ornstein-Uhlenbeck process)
and follows the time of day. Venue B's mid is A's plus a premium: a slow and a fast Ornstein-Uhlenbeck process
(Uhlenbeck and Ornstein 1930; the usual model of a spread that reverts) with jumps that decay like the slow
one. Touch widths vary slowly around their medians, sizes are lognormal, prices lie on ticks, arrivals are
Poisson. The profiles' numbers were chosen so that `describe_quotes` gives what real markets gave.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from arbd.errors import UsageError
from arbd.near_names import nearest
from arbd.paper.arguments import as_argument
from arbd.paper.market.loops import decaying_sum
from arbd.paper.market.quotes import FloatArray, IntArray, Quotes
from arbd.values import dataclass

START_NS = 1_704_067_200 * 10**9  # 2024-01-01T00:00:00Z
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of market. Premium and touch in bps of price, half-lives and times in seconds, prices per base unit.

    `price_a` is in A's currency; `fx` is A's currency per unit of B's. `fast_share` is the part of the premium's
    variance that the fast process has.
    """

    span_s: float
    price_a: float
    fx: float
    tick_a: float
    tick_b: float
    premium_mean_bps: float
    premium_sd_bps: float
    slow_half_life_s: float
    fast_half_life_s: float
    fast_share: float
    jumps_per_day: float
    jump_sd_bps: float
    touch_a_bps: float
    touch_b_bps: float
    touch_variation: float
    size_a: float
    size_b: float
    size_sigma: float
    daily_volatility: float


PROFILES: Mapping[str, Profile] = {
    "brl": Profile(
        52_000.0, 49_000.0, 1.0, 0.01, 0.01, 19.7, 16.5, 1_950.0, 11.0, 0.10, 6.0, 20.0,
        28.0, 22.3, 0.35, 0.05, 0.0225, 1.2, 0.02,
    ),
    "spot_perp": Profile(
        344.0, 61_700.0, 1.0, 0.1, 0.01, 3.69, 0.5755, 1.08, 0.0015, 0.01, 0.0, 0.0,
        0.001, 0.0001, 0.2, 1.5, 0.5, 1.5, 0.03,
    ),
    "bybit_1m": Profile(
        43_200.0, 17_200.0, 1.0, 0.01, 0.1, -0.89, 3.05, 7_200.0, 14.0, 0.12, 0.0, 0.0,
        1.1, 0.001, 0.35, 0.001, 1.9, 1.5, 0.02,
    ),
    "kimchi": Profile(
        DAY_S, 93_000_000.0, 1_380.0, 1_000.0, 0.01, 0.0, 9.0, 1_500.0, 60.0, 0.10, 12.0, 25.0,
        1.5, 0.1, 0.35, 0.05, 1.0, 1.2, 0.025,
    ),
}  # fmt: skip


def synth_profile(name: str, seed: int, ticks: int, span_s: float | None = None) -> Quotes:
    """A market of a named profile; UsageError for an unknown one."""
    if name not in PROFILES:
        near = nearest(name, PROFILES)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"unknown profile {name!r}{hint}; known are {', '.join(PROFILES)}")
    profile = PROFILES[name]
    return synth_quotes(seed, ticks, profile if span_s is None else replace(profile, span_s=span_s))


def synth_quotes(seed: int, ticks: int, profile: Profile) -> Quotes:
    """`ticks` quotes over about `profile.span_s` seconds."""
    rng = np.random.default_rng(seed)
    ts_ns = _arrivals(rng, ticks, profile.span_s)
    seconds = (ts_ns - START_NS) / 1e9
    steps_s = np.diff(seconds, prepend=seconds[:1])
    mid_a = profile.price_a * np.exp(_walk(rng, seconds, steps_s, profile.daily_volatility))
    mid_b = mid_a * (1 + _premium_bps(rng, steps_s, profile) / 1e4) / profile.fx
    bid_a, ask_a = _touch(rng, mid_a, steps_s, profile.touch_a_bps, profile.touch_variation, profile.tick_a)
    bid_b, ask_b = _touch(rng, mid_b, steps_s, profile.touch_b_bps, profile.touch_variation, profile.tick_b)

    def sizes(median: float) -> FloatArray:
        return np.maximum(np.round(median * np.exp(rng.normal(0, profile.size_sigma, ticks)), 8), 1e-8)

    return Quotes(
        ts_ns=ts_ns,
        bid_a=bid_a,
        ask_a=ask_a,
        bid_b=bid_b,
        ask_b=ask_b,
        bid_size_a=sizes(profile.size_a),
        ask_size_a=sizes(profile.size_a),
        bid_size_b=sizes(profile.size_b),
        ask_size_b=sizes(profile.size_b),
        fx=np.full(ticks, profile.fx),
    )


def _arrivals(rng: np.random.Generator, ticks: int, span_s: float) -> IntArray:
    gaps = rng.exponential(span_s / ticks, ticks)
    gaps[0] = 0.0
    return START_NS + np.cumsum(gaps * 1e9).astype(np.int64)


def _ou(
    rng: np.random.Generator, steps_s: FloatArray, half_life_s: float, sd: float, kicks: FloatArray | float = 0.0
) -> FloatArray:
    """An Ornstein-Uhlenbeck process at irregular times, started in its stationary state; `kicks` are added to it."""
    decay = np.exp(-math.log(2) / half_life_s * steps_s)
    shocks = rng.normal(0.0, 1.0, len(steps_s)) * sd * np.sqrt(1 - decay**2) + kicks
    shocks[0] = rng.normal(0.0, sd) if sd else 0.0
    process = np.empty(len(shocks))
    decaying_sum(as_argument(decay, np.float64), as_argument(shocks, np.float64), process)
    return process


def _walk(rng: np.random.Generator, seconds: FloatArray, steps_s: FloatArray, daily: float) -> FloatArray:
    """Log returns from the first quote on: clustered volatility, busiest at 14:00 UTC."""
    clustered = np.exp(_ou(rng, steps_s, 7_200.0, 0.5) - 0.125)
    of_day = 1 + 0.4 * np.cos(2 * math.pi * (seconds / DAY_S - 14 / 24))
    return np.cumsum(rng.normal(0.0, 1.0, len(steps_s)) * daily * np.sqrt(steps_s / DAY_S) * clustered * of_day)


def _premium_bps(rng: np.random.Generator, steps_s: FloatArray, profile: Profile) -> FloatArray:
    variance = profile.premium_sd_bps**2
    tau_s = profile.slow_half_life_s / math.log(2)
    rate = profile.jumps_per_day / DAY_S
    # Jumps of this rate and size add this much to the variance of what decays with tau (Campbell's theorem).
    from_jumps = rate * profile.jump_sd_bps**2 * tau_s / 2
    slow_sd = math.sqrt(max(variance * (1 - profile.fast_share) - from_jumps, 0.1 * variance))
    jumps = rng.poisson(rate * steps_s) * rng.normal(0.0, profile.jump_sd_bps, len(steps_s))
    slow = _ou(rng, steps_s, profile.slow_half_life_s, slow_sd, jumps)
    fast = _ou(rng, steps_s, profile.fast_half_life_s, math.sqrt(variance * profile.fast_share))
    return profile.premium_mean_bps + slow + fast


def _touch(
    rng: np.random.Generator, mid: FloatArray, steps_s: FloatArray, touch_bps: float, variation: float, tick: float
) -> tuple[FloatArray, FloatArray]:
    """Bid and ask around a mid, on ticks and at least one tick apart."""
    width_bps = touch_bps * np.maximum(1 + _ou(rng, steps_s, 120.0, variation), 0.05)
    half = mid * width_bps / 2e4
    bid = np.floor((mid - half) / tick)
    ask = np.maximum(np.ceil((mid + half) / tick), bid + 1)
    decimals = max(0, -math.floor(math.log10(tick)))
    return np.round(bid * tick, decimals), np.round(ask * tick, decimals)
