"""A chart over time as SVG, light however long the series are."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from arbd.analysis.downsample import Envelope, envelope
from arbd.paper.market.quotes import FloatArray, IntArray

WIDTH = 1140
LEFT, RIGHT, TOP, BOTTOM = 78, 12, 8, 24
STRETCHES = WIDTH - LEFT - RIGHT


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with a text that shows when the pointer rests on it; `kind` is entry (a triangle) or exit (a disc)."""

    ts_ns: int
    value: float
    kind: str
    text: str


@dataclass(slots=True)
class Chart:
    """Collects what is drawn, then draws it, scaled so that all of it is seen. Kinds are CSS classes of the page."""

    start_ns: int
    end_ns: int
    height: int
    _bands: list[tuple[Envelope, str]] = field(default_factory=list)
    _levels: list[tuple[float, str, str]] = field(default_factory=list)
    _moments: list[tuple[int, str, str]] = field(default_factory=list)
    _marks: list[Mark] = field(default_factory=list)

    def band(self, ts_ns: IntArray, values: FloatArray, kind: str) -> None:
        """A series, as a band from lowest to highest."""
        self._bands.append((envelope(ts_ns, values, STRETCHES, self.start_ns, self.end_ns), kind))

    def level(self, value: float, kind: str, text: str) -> None:
        """A horizontal line; it is drawn where it lies within what the series show, give or take as much again."""
        self._levels.append((value, kind, text))

    def moment(self, ts_ns: int, kind: str, text: str) -> None:
        """A vertical line."""
        self._moments.append((ts_ns, kind, text))

    def mark(self, mark: Mark) -> None:
        """A point."""
        self._marks.append(mark)

    def svg(self, label: str) -> str:
        """The chart."""
        low, high = self._span()
        parts = [*self._value_axis(low, high), *self._time_axis()]
        parts += [
            _line(self._x(ts), TOP, self._x(ts), self.height - BOTTOM, kind, text) for ts, kind, text in self._moments
        ]
        parts += [self._band_path(found, kind, low, high) for found, kind in self._bands]
        for value, kind, text in self._levels:
            if low <= value <= high:
                y = self._y(value, low, high)
                parts.append(_line(LEFT, y, WIDTH - RIGHT, y, kind, f"{text} {value:.6g}"))
        parts += [self._mark_shape(mark, low, high) for mark in self._marks]
        return f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{html.escape(label)}">{"".join(parts)}</svg>'

    def _span(self) -> tuple[float, float]:
        """Lowest and highest value to be seen, a little room included."""
        values = [v for found, _ in self._bands for v in (found.low, found.high)]
        shown = np.concatenate([*values, np.array([mark.value for mark in self._marks], dtype=np.float64)])
        shown = shown[np.isfinite(shown)]
        low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.0, 1.0)
        reach = high - low
        near = [value for value, _, _ in self._levels if low - reach <= value <= high + reach]
        low, high = min([low, *near]), max([high, *near])
        room = 0.04 * (high - low) or abs(high) * 1e-6 or 1.0
        return low - room, high + room

    def _x(self, ts_ns: int) -> float:
        return LEFT + STRETCHES * (ts_ns - self.start_ns) / max(1, self.end_ns - self.start_ns)

    def _y(self, value: float, low: float, high: float) -> float:
        return TOP + (self.height - TOP - BOTTOM) * (high - value) / (high - low)

    def _band_path(self, found: Envelope, kind: str, low: float, high: float) -> str:
        """One closed path per run of stretches without a hole: there along the highs, back along the lows."""
        pieces = []
        for piece in np.split(np.arange(len(found.stretch)), np.flatnonzero(np.diff(found.stretch) > HOLE) + 1):
            if len(piece) == 0:
                continue
            xs = [LEFT + int(found.stretch[i]) + 0.5 for i in piece]
            there = [f"{x:.1f} {self._y(float(found.high[i]), low, high):.1f}" for x, i in zip(xs, piece, strict=True)]
            back = [f"{x:.1f} {self._y(float(found.low[i]), low, high):.1f}" for x, i in zip(xs, piece, strict=True)]
            pieces.append("M" + "L".join([*there, *back[::-1]]) + "Z")
        return (
            f'<path class="{kind}" fill-opacity=".35" stroke-width="1" stroke-linejoin="round" d="{"".join(pieces)}"/>'
        )

    def _mark_shape(self, mark: Mark, low: float, high: float) -> str:
        x, y = self._x(mark.ts_ns), self._y(mark.value, low, high)
        title = f"<title>{html.escape(mark.text)}</title>"
        if mark.kind == "entry":
            return f'<path class="entry" d="M{x:.1f} {y - 5:.1f}l4.5 8h-9z">{title}</path>'
        return f'<circle class="{mark.kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.6">{title}</circle>'

    def _value_axis(self, low: float, high: float) -> list[str]:
        parts = []
        for value in nice_steps(low, high, 6):
            y = self._y(value, low, high)
            parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "rule", ""))
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.10g}</text>')
        return parts

    def _time_axis(self) -> list[str]:
        parts = []
        for i in range(7):
            ts_ns = self.start_ns + (self.end_ns - self.start_ns) * i // 6
            anchor = "start" if i == 0 else "end" if i == 6 else "middle"
            text = _clock(ts_ns, self.end_ns - self.start_ns)
            parts.append(f'<text x="{self._x(ts_ns):.1f}" y="{self.height - 6}" text-anchor="{anchor}">{text}</text>')
        return parts


# Stretches without a quote further apart than this are drawn as a hole.
HOLE = 24


def _line(x1: float, y1: float, x2: float, y2: float, kind: str, text: str) -> str:
    title = f"<title>{html.escape(text)}</title>" if text else ""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}">{title}</line>'


def _clock(ts_ns: int, span_ns: int) -> str:
    text = str(np.datetime64(ts_ns, "ns"))
    if span_ns > 3 * 86_400 * 10**9:
        return text[:10]
    return text[5:16].replace("T", " ") if span_ns > 7_200 * 10**9 else text[11 : 23 if span_ns < 60 * 10**9 else 19]


def nice_steps(low: float, high: float, about: int) -> Sequence[float]:
    """Round numbers from low to high, about so many."""
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1.0, 2.0, 5.0, 10.0) if m * magnitude >= raw)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]
