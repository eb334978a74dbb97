"""A chart as plain values, shown by plotly where that is installed, else as SVG, which every notebook shows."""

from __future__ import annotations

import html
import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from arbd.values import dataclass

Number = float | int
COLUMNS = 3
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 340, 240, 58, 40, 26
COLOURS = ("#1f6feb", "#d9480f", "#6e7781", "#2f9e44", "#862e9c")


@dataclass(frozen=True, slots=True)
class Marks:
    """Values to draw over the panel's x; NaN breaks a line."""

    kind: Literal["points", "line", "bars"]
    x: Sequence[Number]
    y: Sequence[Number]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Cells:
    """Means over a grid; None where nothing fell. `best` is a cell."""

    x_names: Sequence[str]
    y_names: Sequence[str]
    means: Sequence[float | None]
    best: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. `names` stand for the integers of x from 0."""

    x_title: str
    y_title: str
    marks: Sequence[Marks] = ()
    cells: Cells | None = None
    names: Sequence[str] = ()
    log_x: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Panels below one title. A notebook shows it; `save` writes it as SVG."""

    title: str
    panels: Sequence[Panel] = field(default_factory=tuple, repr=False)

    def _repr_svg_(self) -> str:
        return self.svg()

    def save(self, path: str | Path) -> Path:
        """Write it to a file."""
        target = Path(path)
        target.write_text(self.svg(), encoding="utf-8")
        return target

    def svg(self) -> str:
        """The chart as one SVG element, with its text as text."""
        columns = max(1, min(COLUMNS, len(self.panels)))
        rows = max(1, -(-len(self.panels) // columns))
        width, height = columns * WIDTH, rows * HEIGHT + TOP
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" font-family="sans-serif" font-size="11"><title>{html.escape(self.title)}</title>'
            f'<text x="8" y="17" font-size="14" fill="currentColor">{html.escape(self.title)}</text>'
        )
        parts = [head]
        for at, panel in enumerate(self.panels):
            shift = f"translate({at % columns * WIDTH},{at // columns * HEIGHT + TOP})"
            parts += [f'<g transform="{shift}">', *_panel(panel), "</g>"]
        return "".join([*parts, "</svg>"])


def shown(chart: Chart) -> Any:
    """A figure of plotly where that is installed, else the chart itself."""
    return plotly_figure(chart) if importlib.util.find_spec("plotly") is not None else chart


def plotly_figure(chart: Chart) -> Any:
    """The chart as a figure of plotly."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    columns = max(1, min(COLUMNS, len(chart.panels)))
    rows = max(1, -(-len(chart.panels) // columns))
    figure = make_subplots(rows=rows, cols=columns)
    for at, panel in enumerate(chart.panels):
        place = {"row": at // columns + 1, "col": at % columns + 1}
        if panel.cells is not None:
            wide = len(panel.cells.x_names)
            means = list(panel.cells.means)
            z = [means[start : start + wide] for start in range(0, len(means), wide)]
            heat = go.Heatmap(x=list(panel.cells.x_names), y=list(panel.cells.y_names), z=z, showscale=at == 0)
            figure.add_trace(heat, **place)
            if panel.cells.best is not None:
                x, y = panel.cells.best
                best = go.Scatter(
                    x=[panel.cells.x_names[x]], y=[panel.cells.y_names[y]], mode="markers", name="best",
                    marker={"symbol": "x", "color": "black"}, showlegend=False,
                )  # fmt: skip
                figure.add_trace(best, **place)
        for marks in panel.marks:
            x_values = [panel.names[int(x)] if panel.names else x for x in marks.x]
            if marks.kind == "bars":
                trace = go.Bar(x=x_values, y=list(marks.y), name=marks.name)
            else:
                mode = "markers" if marks.kind == "points" else "lines"
                trace = go.Scatter(x=x_values, y=list(marks.y), mode=mode, name=marks.name, connectgaps=False)
            figure.add_trace(trace, **place)
        figure.update_xaxes(title_text=panel.x_title, type="log" if panel.log_x else None, **place)
        figure.update_yaxes(title_text=panel.y_title, **place)
    figure.update_layout(title=chart.title, showlegend=any(m.name for p in chart.panels for m in p.marks))
    return figure


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[Number], start: float, end: float, *, log: bool = False) -> _Axis:
        finite = [float(v) for v in values if math.isfinite(v) and (v > 0 or not log)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if low == high:
            low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
        return cls(low, high, start, end, log)

    def at(self, value: Number) -> float:
        low, high, here = (
            (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return self.start + (here - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return [self.low, middle, self.high]


def _panel(panel: Panel) -> Iterator[str]:
    right, bottom = WIDTH - 12, HEIGHT - BOTTOM
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="currentColor">{html.escape(panel.x_title)}</text>'
    yield (
        f'<text transform="translate(11,{bottom / 2}) rotate(-90)" text-anchor="middle" fill="currentColor">'
        f"{html.escape(panel.y_title)}</text>"
    )
    if panel.cells is not None:
        yield from _cells(panel.cells, right, bottom)
        return
    xs = [x for marks in panel.marks for x in marks.x] if not panel.names else [-0.5, len(panel.names) - 0.5]
    ys = [y for marks in panel.marks for y in (*marks.y, *([0.0] if marks.kind == "bars" else []))]
    across, up = _Axis.over(xs, LEFT, right, log=panel.log_x), _Axis.over(ys, bottom, 6)
    yield f'<path d="M{LEFT},6V{bottom}H{right}" fill="none" stroke="currentColor" opacity=".5"/>'
    ticks: list[tuple[float, str]] = [(float(at), name) for at, name in enumerate(panel.names)] or [
        (x, f"{x:.4g}") for x in across.ticks()
    ]
    for x, name in ticks:
        yield _label(across.at(x), bottom + 14, name, "middle")
    for y in up.ticks():
        yield _label(LEFT - 4, up.at(y) + 4, f"{y:.4g}", "end")
    for number, marks in enumerate(panel.marks):
        yield from _marks(marks, across, up, COLOURS[number % len(COLOURS)])


def _label(x: float, y: float, text: str, anchor: str) -> str:
    cut = text if len(text) <= 14 else text[:13] + "…"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{html.escape(cut)}</text>'


def _marks(marks: Marks, across: _Axis, up: _Axis, colour: str) -> Iterator[str]:
    good = [
        math.isfinite(x) and math.isfinite(y) and (x > 0 or not across.log)
        for x, y in zip(marks.x, marks.y, strict=True)
    ]
    title = f"<title>{html.escape(marks.name)}</title>"
    if marks.kind == "line":
        path = "".join(
            f"{'L' if at and good[at - 1] else 'M'}{across.at(x):.1f},{up.at(y):.1f}"
            for at, (x, y) in enumerate(zip(marks.x, marks.y, strict=True)) if good[at]
        )  # fmt: skip
        yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4">{title}</path>'
        return
    for x, y, is_good in zip(marks.x, marks.y, good, strict=True):
        if is_good and marks.kind == "points":
            yield f'<circle cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="2.2" fill="{colour}" opacity=".6"/>'
        elif is_good:
            top, zero = sorted((up.at(y), up.at(0.0)))
            wide = 0.35 * (across.at(1) - across.at(0))
            yield (
                f'<rect x="{across.at(x) - wide:.1f}" y="{top:.1f}" width="{2 * wide:.1f}" height="{zero - top:.1f}" '
                f'fill="{colour}">{title}</rect>'
            )


def _cells(cells: Cells, right: float, bottom: float) -> Iterator[str]:
    known = [mean for mean in cells.means if mean is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    wide, tall = (right - LEFT) / len(cells.x_names), (bottom - 6) / len(cells.y_names)
    for at, mean in enumerate(cells.means):
        if mean is None:
            continue
        x, y = at % len(cells.x_names), at // len(cells.x_names)
        share = (mean - low) / (high - low) if high > low else 0.5
        colour = f"hsl({240 - 200 * share:.0f},65%,{30 + 45 * share:.0f}%)"
        yield (
            f'<rect x="{LEFT + x * wide:.1f}" y="{bottom - (y + 1) * tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
            f'fill="{colour}"><title>{mean:.6g}</title></rect>'
        )
    if cells.best is not None:
        middle, height = LEFT + (cells.best[0] + 0.5) * wide, bottom - (cells.best[1] + 0.5) * tall
        yield f'<circle cx="{middle:.1f}" cy="{height:.1f}" r="5" fill="none" stroke="#000" stroke-width="2"><title>best</title></circle>'
    for names, horizontal in ((cells.x_names, True), (cells.y_names, False)):
        for at in sorted({0, len(names) - 1}):
            if horizontal:
                yield _label(LEFT + (at + 0.5) * wide, bottom + 14, names[at], "middle")
            else:
                yield _label(LEFT - 4, bottom - (at + 0.5) * tall + 4, names[at], "end")
