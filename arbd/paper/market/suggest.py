"""Bounds for a first search, and a job with them, from what a market looks like.

They are where this market does something: entries between what the better edge exceeds a quarter of the time and what it
almost never exceeds, exits between cheap and ordinary, stops above what a round trip costs at once. They are no advice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arbd.paper.market.describe import Description
from arbd.paper.params import PARAMETERS
from arbd.values import dataclass

ITERATIONS = 256
GRID_POINTS = 500
DIGITS = 3


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A parameter to search within bounds, or (`high` None) to fix at `low`, and why."""

    name: str
    low: float
    high: float | None
    why: str
    log: bool = False

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        if self.high is None:
            return {"value": self.low, "why": self.why}
        return {"bounds": [self.low, self.high], "log": self.log, "why": self.why}


def suggestions(market: Description) -> list[Suggestion]:
    """What to search and what to fix, in the order of a job. Every one is a value that the engine takes."""
    return [each for each in map(_within, _all(market)) if each.name in PARAMETERS]


def _all(market: Description) -> Iterator[Suggestion]:
    best, ab, ba = (edge.quantiles_bps for edge in (market.edge_best, market.edge_ab, market.edge_ba))
    yield _range(
        "min_spread_pct", best["75%"] / 100, best["99.9%"] / 100, "a quarter of the time to almost never exceeded"
    )
    exits = [-quantiles[at] / 100 for quantiles in (ab, ba) for at in ("95%", "50%")]
    yield _range("exit_spread_pct", min(exits), max(exits), "what unwinding costs in 5 % of the time to half of it")
    round_trip = (market.touch_a_bps + market.touch_b_bps) / 100
    swing = (best["99%"] - best["1%"]) / 100
    yield _range(
        "stop_loss_pct", 1.5 * round_trip, 1.5 * round_trip + 2 * swing, f"above the {round_trip:.3g} % of a round trip"
    )
    half = market.half_life_acf_s if math.isfinite(market.half_life_acf_s) else market.span_s / 50
    if half > 0:
        hold = _range(
            "max_hold_s", half, max(min(20 * half, market.span_s / 2), 2 * half), "half-life of the premium, 1 to 20"
        )
        yield Suggestion(hold.name, hold.low, hold.high, hold.why, log=True)
    size = min(market.median_size_a, market.median_size_b)
    if math.isfinite(size) and size > 0:
        notional = _nice(size * market.mid_a)
        yield Suggestion(
            "max_position", notional / 10, notional * 10, "a tenth to ten times of the median size", log=True
        )
        yield Suggestion("initial_capital", notional * 20, None, "twice the largest position")
    if market.oldest_quote_a_s > 0 or market.oldest_quote_b_s > 0:
        ages = (market.age_quantiles_a_s, market.age_quantiles_b_s, market.step_quantiles_s)
        limit = 3 * max(quantiles["99%"] for quantiles in ages)
        yield Suggestion("max_quote_age_s", _nice(limit), None, "three times what 99 % of quotes are younger than")
    if 0 < market.span_s < GRID_POINTS * float(PARAMETERS["grid_s"].default):
        yield Suggestion(
            "grid_s", _nice(max(market.span_s / GRID_POINTS, 1e-3)), None, f"{GRID_POINTS} points of equity"
        )


def _range(name: str, low: float, high: float, why: str) -> Suggestion:
    low, high = _nice(low), _nice(high)
    if not high > low:
        high = low + max(abs(low) / 2, 0.01)
    return Suggestion(name, low, high, why)


def _within(found: Suggestion) -> Suggestion:
    """Cut to what the engine takes."""
    known = PARAMETERS.get(found.name)
    if known is None:
        return found
    low = min(max(found.low, known.low), known.high)
    if found.high is None:
        return Suggestion(found.name, low, None, found.why)
    high = min(max(found.high, known.low), known.high)
    if not high > low:
        low, high = (low, low + 0.01) if low < known.high else (high - 0.01, high)
    return Suggestion(found.name, low, high, found.why, found.log)


def _nice(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def job_text(data: Path, market: Description, *, on_bad_rows: str = "refuse") -> str:
    """A job file over this market with the suggested bounds, to begin from."""
    found = suggestions(market)
    fixed = [each for each in found if each.high is None]
    searched = [each for each in found if each.high is not None]
    lines = [f"# A first job for {data.name}: bounds are where this market does something (arbctl market describe)."]
    lines += [
        "objective: paper",
        f"data: [{_quoted(str(data))}]",
        *([f"on_bad_rows: {on_bad_rows}"] if on_bad_rows != "refuse" else []),
        "metric: pnl",
        "fixed:",
        "  strategy: convergence",
        f"  fee_a_bps: {PARAMETERS['fee_a_bps'].default}  # your taker fee on venue A",
        f"  fee_b_bps: {PARAMETERS['fee_b_bps'].default}  # your taker fee on venue B",
        "  latency_a_ms: 50  # from your decision to the fill on venue A",
        "  latency_b_ms: 50  # the same on venue B",
    ]
    lines += [f"  {each.name}: {each.low!r}  # {each.why}" for each in fixed]
    lines += ["tuning:", "  method: sobol", f"  max_iterations: {ITERATIONS}", "  seed: 42", "  search_space:"]
    for each in searched:
        log = ", log: true" if each.log else ""
        lines.append(f"    {each.name}: {{type: float, bounds: [{each.low!r}, {each.high!r}]{log}}}  # {each.why}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A YAML string of any file name."""
    return "'" + text.replace("'", "''") + "'"
