"""What a market looks like: touch, edges, how fast the premium reverts, what can be executed."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import PRICES, FloatArray, Quotes, quotes_of
from arbd.values import dataclass

QUANTILES = (0.1, 1, 5, 25, 50, 75, 95, 99, 99.9)
TIME_QUANTILES = (50, 90, 99, 99.9)
LEVELS_BPS = (0, 5, 10, 20, 30)
MAX_ACF_LAGS = 200_000
MAX_ROWS = 1 << 19
PIECE_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class EdgeFigures:
    """One edge series in bps before fees, weighted by the time for which each quote stood."""

    mean_bps: float
    sd_bps: float
    quantiles_bps: dict[str, float]
    share_of_time_above: dict[str, float]
    median_size_above_20_bps: float


@dataclass(frozen=True, slots=True)
class FundingFigures:
    """What a venue's perpetual paid: who is long pays a positive rate."""

    payments: int
    mean_bps: float
    sum_bps: float
    per_day_bps: float


@dataclass(frozen=True, slots=True)
class Description:
    """Figures of a market; a half-life is NaN where the premium does not revert within the data.

    All are of what was recorded: the time between two blocks belongs to no quote, and counts in no figure. `coverage` is
    the part of the time from the first quote to the last that is within blocks. `edge_best` is the larger edge of the
    two. `sizes` has the median size of each side by level, the touch being level 1, `away_bps` how far a level's price
    is from the touch's.
    """

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
    mid_a: float
    coverage: float
    step_quantiles_s: dict[str, float]
    age_quantiles_a_s: dict[str, float]
    age_quantiles_b_s: dict[str, float]
    edge_best: EdgeFigures
    sizes: dict[str, dict[str, float]]
    away_bps: dict[str, dict[str, float]]
    funding_a: FundingFigures
    funding_b: FundingFigures

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def describe_quotes(quotes: Quotes) -> Description:
    """Compute the figures. The premium is B's mid (converted) over A's.

    Of more than MAX_ROWS rows every k-th is looked at, as standing until the next that is; rows, span, gaps, blocks,
    oldest quotes and funding are of all.
    """
    step = -(-len(quotes) // MAX_ROWS)
    if step <= 1:
        return _described(quotes)
    thin = quotes_of({name: np.ascontiguousarray(column[::step]) for name, column in quotes.told().items()})
    return replace(_described(thin), **_of_all(quotes, step))


def _of_all(quotes: Quotes, step: int) -> dict[str, Any]:
    """What a part of the rows does not tell, piece by piece."""
    n, span_ns, longest_ns, seams = len(quotes), 0, 0, 0
    paid: dict[str, list[FloatArray]] = {"a": [], "b": []}
    for start in range(0, n, PIECE_ROWS):
        rows = slice(start, start + PIECE_ROWS + 1)
        steps, within = np.diff(quotes.ts_ns[rows]), np.diff(quotes.block[rows]) == 0
        if len(steps):
            span_ns += int(steps[within].sum())
            longest_ns = max(longest_ns, int(steps[within].max(initial=0)))
            seams += int((~within).sum())
        for venue, found in paid.items():
            rates = getattr(quotes, f"funding_{venue}")[start : start + PIECE_ROWS]
            found.append(np.asarray(rates[~np.isnan(rates)] if rates.strides != (0,) else rates[:0]))
    whole_s = float(quotes.ts_ns[-1] - quotes.ts_ns[0]) / 1e9
    sampled = np.arange(0, n - 1, step)
    steps_s = (quotes.ts_ns[sampled + 1] - quotes.ts_ns[sampled])[
        quotes.block[sampled + 1] == quotes.block[sampled]
    ] / 1e9
    return {
        "rows": n,
        "span_s": span_ns / 1e9,
        "longest_gap_s": longest_ns / 1e9,
        "blocks": 1 + seams,
        "coverage": span_ns / 1e9 / whole_s if whole_s > 0 else 1.0,
        "median_step_s": float(np.median(steps_s)) if len(steps_s) else math.nan,
        "step_quantiles_s": _times(steps_s),
        "oldest_quote_a_s": float(quotes.age_a_ns.max() / 1e9),
        "oldest_quote_b_s": float(quotes.age_b_ns.max() / 1e9),
        **{f"funding_{venue}": _paid(np.concatenate(found), whole_s) for venue, found in paid.items()},
    }


def _described(quotes: Quotes) -> Description:
    market = prepare(quotes)
    within = np.diff(quotes.block) == 0
    all_steps_s = np.diff(quotes.ts_ns) / 1e9
    steps_s = all_steps_s[within]
    weights = np.append(np.where(within, all_steps_s, 0.0), 0.0) if steps_s.sum() > 0 else np.ones(len(quotes))
    mid_a = (market.column("bid_a") + market.column("ask_a")) / 2
    premium_bps = ((market.column("bid_b") + market.column("ask_b")) / 2 / mid_a - 1) * 1e4
    mean, sd = _weighted(premium_bps, weights)
    size_ab = np.minimum(market.column("bid_size_a"), market.column("ask_size_b"))
    size_ba = np.minimum(market.column("ask_size_a"), market.column("bid_size_b"))
    ab_is_best = market.edge_ab >= market.edge_ba
    whole_s = float(all_steps_s.sum())
    return Description(
        rows=len(quotes),
        start_ns=int(quotes.ts_ns[0]),
        span_s=float(steps_s.sum()),
        median_step_s=float(np.median(steps_s)) if len(steps_s) else math.nan,
        longest_gap_s=float(steps_s.max()) if len(steps_s) else math.nan,
        blocks=1 + int((~within).sum()),
        oldest_quote_a_s=float(quotes.age_a_ns.max() / 1e9),
        oldest_quote_b_s=float(quotes.age_b_ns.max() / 1e9),
        touch_a_bps=float(np.median((quotes.ask_a - quotes.bid_a) / mid_a) * 1e4),
        touch_b_bps=float(np.median((quotes.ask_b - quotes.bid_b) / (quotes.bid_b + quotes.ask_b)) * 2e4),
        edge_ab=_edge(market.edge_ab * 100, weights, size_ab),
        edge_ba=_edge(market.edge_ba * 100, weights, size_ba),
        premium_mean_bps=mean,
        premium_sd_bps=sd,
        half_life_ar1_s=_half_life_ar1(quotes, premium_bps),
        half_life_acf_s=_half_life_acf(quotes, premium_bps),
        median_size_a=float(np.median(np.minimum(quotes.bid_size_a, quotes.ask_size_a))),
        median_size_b=float(np.median(np.minimum(quotes.bid_size_b, quotes.ask_size_b))),
        mid_a=float(np.median(mid_a)),
        coverage=float(steps_s.sum()) / whole_s if whole_s > 0 else 1.0,
        step_quantiles_s=_times(steps_s),
        age_quantiles_a_s=_times(np.asarray(quotes.age_a_ns) / 1e9),
        age_quantiles_b_s=_times(np.asarray(quotes.age_b_ns) / 1e9),
        edge_best=_edge(
            np.maximum(market.edge_ab, market.edge_ba) * 100, weights, np.where(ab_is_best, size_ab, size_ba)
        ),
        sizes={str(level): _sizes(quotes, level) for level in range(1, 2 + len(quotes.levels))},
        away_bps={str(level): _away(quotes, level) for level in range(2, 2 + len(quotes.levels))},
        funding_a=_paid(quotes.funding_a, whole_s),
        funding_b=_paid(quotes.funding_b, whole_s),
    )


def _times(seconds: FloatArray) -> dict[str, float]:
    found = np.quantile(seconds, np.array(TIME_QUANTILES) / 100) if len(seconds) else [math.nan] * len(TIME_QUANTILES)
    return {f"{q:g}%": float(value) for q, value in zip(TIME_QUANTILES, found, strict=True)}


def _sizes(quotes: Quotes, level: int) -> dict[str, float]:
    """The median sizes of a level, 0 where the book has no such level most of the time."""
    names = [f"{side}_size_{venue}" for venue in "ab" for side in ("bid", "ask")]
    owner: Any = quotes if level == 1 else quotes.levels[level - 2]
    return {name.replace("_size", ""): float(np.median(getattr(owner, name))) for name in names}


def _away(quotes: Quotes, level: int) -> dict[str, float]:
    """How many bps behind the touch the median price of a level is, NaN where there is none."""
    found = {}
    for name in PRICES:
        price = getattr(quotes.levels[level - 2], name)
        there = ~np.isnan(price)
        touch = getattr(quotes, name)[there]
        found[name] = float(np.median(np.abs(price[there] / touch - 1)) * 1e4) if there.any() else math.nan
    return found


def _paid(rates: FloatArray, span_s: float) -> FundingFigures:
    paid = rates[~np.isnan(rates)] if rates.strides != (0,) else rates[:0]
    total = float(paid.sum()) * 1e4
    mean = total / len(paid) if len(paid) else math.nan
    return FundingFigures(len(paid), mean, total, total / span_s * 86_400 if span_s > 0 else math.nan)


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
        {f"{q:g}%": float(value) for q, value in zip(QUANTILES, found, strict=True)},
        {f"{level} bps": float(weights[edge_bps > level].sum() / weights.sum()) for level in LEVELS_BPS},
        float(np.median(large)) if len(large) else math.nan,
    )


def _resampled(quotes: Quotes, values: FloatArray) -> tuple[list[FloatArray], float]:
    """Per block the values, less their mean, at even steps of the median distance of quotes; that step in seconds."""
    cuts = np.flatnonzero(np.diff(quotes.block) != 0) + 1
    parts = list(zip(np.split(quotes.ts_ns, cuts), np.split(values, cuts), strict=True))
    steps = np.concatenate([np.diff(ts_ns) for ts_ns, _ in parts])
    steps = steps[steps > 0]
    if len(steps) == 0:
        return [], math.nan
    step = max(int(np.median(steps)), int(steps.sum()) // 2_000_000, 1)
    even = [
        part[np.searchsorted(ts_ns, np.arange(ts_ns[0], ts_ns[-1] + 1, step), side="right") - 1]
        for ts_ns, part in parts
    ]
    together = np.concatenate(even)
    if len(together) < 3 or together.std() == 0:
        return [], math.nan
    mean = together.mean()
    return [part - mean for part in even], step / 1e9


def _half_life_ar1(quotes: Quotes, values: FloatArray) -> float:
    """From the first autocorrelation at the median step."""
    parts, step_s = _resampled(quotes, values)
    if not parts:
        return math.nan
    products = sum(float((part[1:] * part[:-1]).sum()) for part in parts)
    phi = products / sum(float((part * part).sum()) for part in parts)
    return step_s * math.log(0.5) / math.log(phi) if 0 < phi < 1 else math.nan


def _half_life_acf(quotes: Quotes, values: FloatArray) -> float:
    """The first lag at which the autocorrelation is below one half."""
    parts, step_s = _resampled(quotes, values)
    if not parts:
        return math.nan
    acf = np.zeros(min(max(len(part) for part in parts), MAX_ACF_LAGS))
    for part in parts:
        size = 1 << (2 * len(part) - 1).bit_length()
        spectrum = np.fft.rfft(part, size)
        lags = min(len(part), len(acf))
        acf[:lags] += np.fft.irfft(spectrum * np.conj(spectrum), size)[:lags]
    below = np.flatnonzero(acf < 0.5 * acf[0])
    return float(below[0] * step_s) if len(below) else math.nan
