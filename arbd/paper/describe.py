"""What a market looks like: touch, edges, how fast the premium reverts, what can be executed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arbd.paper.prepared import prepare
from arbd.paper.quotes import FloatArray, Quotes

QUANTILES = (1, 5, 50, 95, 99)
LEVELS_BPS = (0, 5, 10, 20, 30)
MAX_ACF_LAGS = 200_000


@dataclass(frozen=True, slots=True)
class EdgeFigures:
    """One edge series in bps before fees, weighted by the time for which each quote stood."""

    mean_bps: float
    sd_bps: float
    quantiles_bps: dict[str, float]
    share_of_time_above: dict[str, float]
    median_size_above_20_bps: float


@dataclass(frozen=True, slots=True)
class Description:
    """Figures of a market; a half-life is NaN where the premium does not revert within the data."""

    rows: int
    start_ns: int
    span_s: float
    median_step_s: float
    longest_gap_s: float
    blocks: int
    oldest_quote_a_s: float
    oldest_quote_b_s: float
    touch_a_bps: float
    touch_b_bps: float
    edge_ab: EdgeFigures
    edge_ba: EdgeFigures
    premium_mean_bps: float
    premium_sd_bps: float
    half_life_ar1_s: float
    half_life_acf_s: float
    median_size_a: float
    median_size_b: float

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def describe_quotes(quotes: Quotes) -> Description:
    """Compute the figures. The premium is B's mid (converted) over A's."""
    market = prepare(quotes)
    steps_s = np.diff(quotes.ts_ns) / 1e9
    weights = np.append(steps_s, 0.0) if steps_s.sum() > 0 else np.ones(len(quotes))
    mid_a = (market.column("bid_a") + market.column("ask_a")) / 2
    premium_bps = ((market.column("bid_b") + market.column("ask_b")) / 2 / mid_a - 1) * 1e4
    mean, sd = _weighted(premium_bps, weights)
    return Description(
        rows=len(quotes),
        start_ns=int(quotes.ts_ns[0]),
        span_s=float(steps_s.sum()),
        median_step_s=float(np.median(steps_s)) if len(steps_s) else math.nan,
        longest_gap_s=float(steps_s.max()) if len(steps_s) else math.nan,
        blocks=1 + int((np.diff(quotes.block) != 0).sum()),
        oldest_quote_a_s=float(quotes.age_a_ns.max() / 1e9),
        oldest_quote_b_s=float(quotes.age_b_ns.max() / 1e9),
        touch_a_bps=float(np.median((quotes.ask_a - quotes.bid_a) / mid_a) * 1e4),
        touch_b_bps=float(np.median((quotes.ask_b - quotes.bid_b) / (quotes.bid_b + quotes.ask_b)) * 2e4),
        edge_ab=_edge(
            market.edge_ab * 100, weights, np.minimum(market.column("bid_size_a"), market.column("ask_size_b"))
        ),
        edge_ba=_edge(
            market.edge_ba * 100, weights, np.minimum(market.column("ask_size_a"), market.column("bid_size_b"))
        ),
        premium_mean_bps=mean,
        premium_sd_bps=sd,
        half_life_ar1_s=_half_life_ar1(quotes, premium_bps),
        half_life_acf_s=_half_life_acf(quotes, premium_bps),
        median_size_a=float(np.median(np.minimum(quotes.bid_size_a, quotes.ask_size_a))),
        median_size_b=float(np.median(np.minimum(quotes.bid_size_b, quotes.ask_size_b))),
    )


def _weighted(values: FloatArray, weights: FloatArray) -> tuple[float, float]:
    mean = float(np.average(values, weights=weights))
    return mean, math.sqrt(float(np.average((values - mean) ** 2, weights=weights)))


def _edge(edge_bps: FloatArray, weights: FloatArray, size: FloatArray) -> EdgeFigures:
    mean, sd = _weighted(edge_bps, weights)
    order = np.argsort(edge_bps, kind="stable")
    cumulated = np.cumsum(weights[order])
    places = np.searchsorted(cumulated, np.array(QUANTILES) / 100 * cumulated[-1])
    found = edge_bps[order][np.minimum(places, len(order) - 1)]
    large = size[edge_bps > 20]
    return EdgeFigures(
        mean,
        sd,
        {f"{q}%": float(value) for q, value in zip(QUANTILES, found, strict=True)},
        {f"{level} bps": float(weights[edge_bps > level].sum() / weights.sum()) for level in LEVELS_BPS},
        float(np.median(large)) if len(large) else math.nan,
    )


def _resampled(quotes: Quotes, values: FloatArray) -> tuple[FloatArray, float]:
    """The values at even steps of the median distance of quotes, and that step in seconds."""
    steps = np.diff(quotes.ts_ns)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return values[:0], math.nan
    step = max(int(np.median(steps)), int((quotes.ts_ns[-1] - quotes.ts_ns[0]) // 2_000_000), 1)
    times = np.arange(quotes.ts_ns[0], quotes.ts_ns[-1] + 1, step)
    return values[np.searchsorted(quotes.ts_ns, times, side="right") - 1], step / 1e9


def _half_life_ar1(quotes: Quotes, values: FloatArray) -> float:
    """From the first autocorrelation at the median step."""
    even, step_s = _resampled(quotes, values)
    if len(even) < 3 or even.std() == 0:
        return math.nan
    centred = even - even.mean()
    phi = float((centred[1:] * centred[:-1]).sum() / (centred * centred).sum())
    return step_s * math.log(0.5) / math.log(phi) if 0 < phi < 1 else math.nan


def _half_life_acf(quotes: Quotes, values: FloatArray) -> float:
    """The first lag at which the autocorrelation is below one half."""
    even, step_s = _resampled(quotes, values)
    if len(even) < 3 or even.std() == 0:
        return math.nan
    centred = even - even.mean()
    size = 1 << (2 * len(centred) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    acf = np.fft.irfft(spectrum * np.conj(spectrum), size)[: min(len(centred), MAX_ACF_LAGS)]
    below = np.flatnonzero(acf < 0.5 * acf[0])
    return float(below[0] * step_s) if len(below) else math.nan
