"""What one iteration did over time, as series short enough for a page: edges, equity, drawdown, fills, in any window.

`cut` makes them of whole arrays, which `save` keeps in a folder and `load` maps from there, so that a page zooms into
millions of quotes without running anything again. Times of a page are milliseconds since 1970, UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis.downsample import envelope
from arbd.analysis.trades import MarketRun, iso_ns, side, venue
from arbd.paper.fills import ENTRY, REASONS, Fill
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.strategies import STRATEGIES
from arbd.values import dataclass

STRETCHES = 1_000
MAX_MARKS = 1_500
MAX_GAPS = 200
# Of a thousand stretches: those without a value further apart than this are a hole.
HOLE = 24
_ARRAYS = ("ts_ns", "edge_ab", "edge_ba", "equity_ns", "equity", "drawdown", "gap_ns")


@dataclass(frozen=True, slots=True, eq=False)
class RunSeries:
    """One market: arrays over time (ns; edges in percent; equity and drawdown in A's currency), fills, levels of edges."""

    source: str
    ts_ns: IntArray
    edge_ab: FloatArray
    edge_ba: FloatArray
    equity_ns: IntArray
    equity: FloatArray
    drawdown: FloatArray
    gap_ns: IntArray
    fills: Sequence[Mapping[str, Any]]
    levels: Sequence[Mapping[str, Any]]
    grid_s: float

    def cut(
        self, from_ms: float | None = None, to_ms: float | None = None, stretches: int = STRETCHES
    ) -> dict[str, Any]:
        """The window as a document for a page; None means from the first quote, to the last."""
        first, last = int(self.ts_ns[0]), int(self.ts_ns[-1])
        start = first if from_ms is None else max(first, min(last, int(from_ms * 1e6)))
        end = last if to_ms is None else max(start, min(last, int(to_ms * 1e6)))
        inside = [fill for fill in self.fills if start <= fill["ns"] <= end]
        marks = inside[:: -(-len(inside) // MAX_MARKS) if inside else 1]
        return {
            "source": self.source,
            "whole": [first / 1e6, last / 1e6],
            "window": [start / 1e6, end / 1e6],
            "quotes": len(self.ts_ns),
            "grid_s": self.grid_s,
            "ab": _series(self.ts_ns, self.edge_ab, start, end, stretches),
            "ba": _series(self.ts_ns, self.edge_ba, start, end, stretches),
            "equity": _series(self.equity_ns, self.equity, start, end, stretches),
            "drawdown": _series(self.equity_ns, self.drawdown, start, end, stretches),
            "levels": list(self.levels),
            "gaps": (self.gap_ns[:MAX_GAPS] / 1e6).tolist(),
            "fills": marks,
            "fills_in_window": len(inside),
            "fills_in_all": len(self.fills),
            "entries": sum(1 for fill in self.fills if fill["kind"] == "entry"),
        }

    def save(self, folder: Path) -> None:
        """Keep it in a new folder of its own."""
        folder.mkdir()
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", np.ascontiguousarray(getattr(self, name)))
        plain = {"source": self.source, "fills": list(self.fills), "levels": list(self.levels), "grid_s": self.grid_s}
        (folder / "rest.json").write_text(json.dumps(plain))

    @classmethod
    def load(cls, folder: Path) -> RunSeries:
        """What `save` kept; arrays are mapped, so that only what is looked at is read."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        return cls(**arrays, **json.loads((folder / "rest.json").read_text()))


def run_series(each: MarketRun) -> RunSeries:
    """The series of one market of an iteration."""
    market = each.market
    start, end = int(market.ts_ns[0]), int(market.ts_ns[-1])
    grid_s = float(each.params["grid_s"])
    equity = np.asarray(each.run.equity, dtype=np.float64)
    peak = np.maximum.accumulate(np.maximum(equity, float(each.params["initial_capital"])))
    return RunSeries(
        each.source,
        market.ts_ns,
        market.edge_ab,
        market.edge_ba,
        grid_times(start, end, grid_s, len(equity)),
        equity,
        equity - peak,
        market.ts_ns[1:][np.diff(each.blocks) != 0],
        [_fill(each, fill) for fill in each.run.fills],
        _levels(each),
        grid_s,
    )


def grid_times(start_ns: int, end_ns: int, grid_s: float, points: int) -> IntArray:
    """When equity was observed: at every full `grid_s` after the first quote, and at the last quote."""
    spacing = max(1, int(grid_s * 1e9))
    return np.minimum(start_ns + spacing * np.arange(1, points + 1, dtype=np.int64), end_ns)


def _levels(each: MarketRun) -> list[dict[str, Any]]:
    found = [{"value": float(each.params["min_spread_pct"]), "kind": "entry", "text": "min_spread_pct"}]
    if STRATEGIES.get(str(each.params["strategy"])).holds:
        found.append({"value": -float(each.params["exit_spread_pct"]), "kind": "exit", "text": "-exit_spread_pct"})
    return found


def _fill(each: MarketRun, fill: Fill) -> dict[str, Any]:
    # A fill belongs to the edge on which it earns: selling on A or buying on B is edge ab.
    edge = each.market.edge_ab if (fill.side > 0) == (fill.venue == 1) else each.market.edge_ba
    return {
        "ns": int(fill.ts_ns),
        "t": fill.ts_ns / 1e6,
        "v": float(edge[fill.row]),
        "kind": "entry" if fill.reason == ENTRY else "exit",
        "reason": REASONS[fill.reason],
        "time": iso_ns(fill.ts_ns),
        "side": side(fill),
        "venue": venue(fill),
        "size": float(fill.size),
        "price": float(fill.price),
        "fee": float(fill.fee),
        "slippage": float(fill.slippage),
    }


def _series(ts_ns: IntArray, values: FloatArray, start: int, end: int, stretches: int) -> dict[str, list[float | None]]:
    """A band of lowest and highest values; None where there is a hole. Few points are themselves."""
    # One more on either side, so that a line goes on to the edge of the window.
    first = max(0, int(np.searchsorted(ts_ns, start, side="left")) - 1)
    last = min(len(ts_ns), int(np.searchsorted(ts_ns, end, side="right")) + 1)
    ts_ns, values = ts_ns[first:last], values[first:last]
    if len(ts_ns) <= 2 * stretches:
        low = [_short(value) for value in values.tolist()]
        return {"t": (ts_ns / 1e6).tolist(), "low": low, "high": low}
    start, end = int(ts_ns[0]), int(ts_ns[-1])
    found = envelope(ts_ns, values, stretches, start, end)
    t = ((start + (found.stretch + 0.5) * ((end - start) / stretches)) / 1e6).tolist()
    low, high = ([_short(value) for value in side_.tolist()] for side_ in (found.low, found.high))
    for at in reversed((np.flatnonzero(np.diff(found.stretch) > HOLE * stretches / 1_000) + 1).tolist()):
        for one in (low, high):
            one.insert(at, None)
        t.insert(at, t[at])
    return {"t": t, "low": low, "high": high}


def _short(value: float) -> float | None:
    return float(f"{value:.8g}") if np.isfinite(value) else None
