"""What cannot be meant although it is allowed: units mixed up, bounds beside what the market shows, costs beside usual ones.

Notes, no faults: a market may be odd, and a search may ask odd questions. Of quotes a few thousand rows are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from arbd.paper.market.quotes import FloatArray, Quotes
from arbd.search.space import ChoiceDimension, SearchSpace, Value
from arbd.values import dataclass

SAMPLE_ROWS = 20_000
# Beyond these a cost is told in another unit more often than it is meant.
USUAL_MAX = {
    "fee_a_bps": 100.0,
    "fee_b_bps": 100.0,
    "slippage_bps": 200.0,
    "latency_a_ms": 30_000,
    "latency_b_ms": 30_000,
}
USUAL_MIN = {"fee_a_bps": 0.2, "fee_b_bps": 0.2, "latency_a_ms": 0.05, "latency_b_ms": 0.05}
_UNITS = {
    "fee_a_bps": "fees are in bps, 0.1 % is 10", "fee_b_bps": "fees are in bps, 0.1 % is 10",
    "slippage_bps": "1 % is 100 bps", "latency_a_ms": "1 s is 1000 ms", "latency_b_ms": "1 s is 1000 ms",
}  # fmt: skip
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is looked at of a market: edges in percent, the better one at each row, and what a round trip costs at once."""

    best_pct: FloatArray
    largest_ab_pct: float
    largest_ba_pct: float
    round_trip_pct: float
    span_s: float
    step_s: float

    @classmethod
    def at(cls, quotes: Quotes) -> Look:
        """Of rows that are evenly spread over the quotes."""
        n = len(quotes)
        rows = np.unique(np.linspace(0, n - 1, min(n, SAMPLE_ROWS)).astype(np.int64))
        bid_a, ask_a, bid_b, ask_b, fx = (
            np.asarray(getattr(quotes, name)[rows]) for name in ("bid_a", "ask_a", "bid_b", "ask_b", "fx")
        )
        ab, ba = (bid_a / (ask_b * fx) - 1) * 100, (bid_b * fx / ask_a - 1) * 100
        touch = np.median(ask_a / bid_a - 1) + np.median(ask_b / bid_b - 1)
        span_s = float(quotes.ts_ns[-1] - quotes.ts_ns[0]) / 1e9
        best = np.sort(np.maximum(ab, ba))
        return cls(best, float(ab.max()), float(ba.max()), float(touch) * 100, span_s, span_s / max(1, n - 1))

    def quantile(self, share: float) -> float:
        """Of the better edge, in percent."""
        return float(np.quantile(self.best_pct, share))


def ranges_of(space: SearchSpace, fixed: Mapping[str, Value]) -> dict[str, tuple[float, float]]:
    """The least and the largest value of each number that a job gives."""
    found: dict[str, tuple[float, float]] = {}
    for name, value in fixed.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = (float(value), float(value))
    for dimension in space.dimensions:
        if isinstance(dimension, ChoiceDimension):
            numbers = [v for v in dimension.values if isinstance(v, int | float) and not isinstance(v, bool)]
            if numbers and len(numbers) == len(dimension.values):
                found[dimension.name] = (float(min(numbers)), float(max(numbers)))
        else:
            found[dimension.name] = (float(dimension.low), float(dimension.high))
    return found


def sanity_notes(space: SearchSpace, fixed: Mapping[str, Value], markets: Mapping[str, Look]) -> list[str]:
    """One line for each thing that looks odd, with what to do."""
    ranges = ranges_of(space, fixed)
    notes = list(_of_costs(ranges))
    for name, look in markets.items():
        notes += [f"{name}: {note}" for note in (*_of_edges(ranges, look), *_of_times(ranges, look))]
    return notes


def _of_costs(ranges: Ranges) -> Iterator[str]:
    for name, most in USUAL_MAX.items():
        low, high = ranges.get(name, (0.0, 0.0))
        if low > most:
            yield f"{name} is {_shown(low, high)}, more than is usual ({most:g}): {_UNITS[name]}"
        elif 0 < high < USUAL_MIN.get(name, 0.0):
            yield f"{name} is {_shown(low, high)}, less than is usual ({USUAL_MIN[name]:g}): {_UNITS[name]}"


def _of_edges(ranges: Ranges, look: Look) -> Iterator[str]:
    largest = float(look.best_pct[-1])
    if "min_spread_pct" in ranges:
        low, high = ranges["min_spread_pct"]
        told = f"min_spread_pct is {_shown(low, high)}"
        if low > largest:
            bps = "; in bps? 1 % is 100 bps" if low / 100 <= largest else ""
            yield f"{told}, and no edge is larger than {largest:.3g} %: nothing would be entered{bps}"
        elif high < look.quantile(0.01):
            yield f"{told}, and 99 % of the time the better edge is more than {look.quantile(0.01):.3g} %: all is entered"
        elif 0 <= low <= high <= 0.02 * largest and high > 0:
            yield f"{told}, and edges go up to {largest:.3g} %: it is in percent, 20 bps are 0.2"
    if "stop_loss_pct" in ranges:
        low, high = ranges["stop_loss_pct"]
        if high > 0 and low < look.round_trip_pct and not low == high == 0:
            yield (
                f"stop_loss_pct is {_shown(low, high)}, and a round trip through both spreads costs {look.round_trip_pct:.3g} % "
                "at once: where the stop is less, a position is closed when it is opened, and such sets trade all the time"
            )
    fees = [ranges.get(name, (0.0, 0.0))[0] for name in ("fee_a_bps", "fee_b_bps")]
    cost = 2 * sum(fees) / 100
    gain = look.largest_ab_pct + look.largest_ba_pct
    if cost > 0 and gain < cost and len(look.best_pct) > 1:
        yield (
            f"the best entry and the best exit together give {gain:.3g} %, and fees of the four fills are {cost:.3g} %: "
            "no trade in and out can gain"
        )


def _of_times(ranges: Ranges, look: Look) -> Iterator[str]:
    if look.span_s <= 0:
        return
    low, high = ranges.get("max_quote_age_s", (0.0, 0.0))
    if 0 < high < look.step_s:
        yield (
            f"max_quote_age_s is {_shown(low, high)}, and quotes are {look.step_s:.3g} s apart: nearly all of the time is a gap"
        )
    low, high = ranges.get("max_hold_s", (0.0, 0.0))
    if low > look.span_s:
        yield f"max_hold_s is {_shown(low, high)}, and the quotes span {look.span_s:,.0f} s: it never ends a trade"
    for name in ("latency_a_ms", "latency_b_ms"):
        low, high = ranges.get(name, (0.0, 0.0))
        if low > look.span_s * 1000:
            yield f"{name} is {_shown(low, high)}, and the quotes span {look.span_s:,.0f} s: no order is filled"


def _shown(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
