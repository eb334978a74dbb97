"""One iteration as a page: edges with thresholds, entries, exits and equity. One file, no script, works offline."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from arbd.analysis.chart import Chart, Mark
from arbd.analysis.replay import Replay
from arbd.analysis.text import format_value
from arbd.analysis.trades import MarketRun, iso_ns, side, venue
from arbd.atomic_file import whole_file
from arbd.paper.fills import ENTRY, REASONS, Fill
from arbd.paper.market.quotes import IntArray
from arbd.paper.strategies import STRATEGIES

MAX_MARKS = 1_500
MAX_GAPS = 200

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #66707d; --page: #fff; --rule: #d8dde3;
  --ab: #2463b0; --ba: #b4581c; --equity: #1d7a4f; --entry: #0f8a3c; --exit: #b3261e; --gap: #8a8f98; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --faint: #98a2af; --page: #14181e; --rule: #333b46;
  --ab: #6ea8f0; --ba: #eb9a5c; --equity: #58c08d; --entry: #4cd07d; --exit: #ff7a70; --gap: #767e8a; } }
body { background: var(--page); color: var(--ink); font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1180px;
  padding: 0 1em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin: 2em 0 .3em; overflow-wrap: anywhere; }
p { margin: .3em 0; } .faint { color: var(--faint); }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--faint); font-size: 12px; } svg .rule { stroke: var(--rule); }
.key { display: inline-block; margin-right: 1.6em; } .key::before { content: "\\25A0"; margin-right: .4em; }
.ab { fill: var(--ab); stroke: var(--ab); color: var(--ab); } .ba { fill: var(--ba); stroke: var(--ba); color: var(--ba); }
.equity { fill: var(--equity); stroke: var(--equity); color: var(--equity); }
.entry { fill: var(--entry); color: var(--entry); } .exit { fill: var(--exit); color: var(--exit); }
.gap { stroke: var(--gap); stroke-dasharray: 2 4; } .threshold { stroke: var(--entry); stroke-dasharray: 7 4; }
.closing { stroke: var(--exit); stroke-dasharray: 7 4; }
.tables { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0 4em; } table { border-collapse: collapse; margin: .5em 0; }
td, th { border-bottom: 1px solid var(--rule); padding: .15em 1.2em .15em 0; text-align: left; }
td:last-child { font-variant-numeric: tabular-nums; }
"""


def write_plot(done: Replay, runs: Sequence[MarketRun], path: Path) -> None:
    """Write the page, the file whole by rename. Every text from outside is escaped."""
    with whole_file(path) as new:
        new.write_text(page(done, runs), encoding="utf-8")


def page(done: Replay, runs: Sequence[MarketRun]) -> str:
    """The page as HTML."""
    row = done.recorded
    title = f"session {row.session_id}, iteration {row.iteration}"
    verdict = "equal to what was recorded, to the bit" if done.equal else "NOT EQUAL to what was recorded"
    tables = _table("parameter", {**row.params, **done.spec.fixed, **row.params}) + _table("metric", done.metrics)
    charts = "".join(_market(each) for each in runs)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_safe(title)}</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{_safe(title)}</h1><p>{_safe(verdict)}; first run by {_safe(row.worker_id)} at {_safe(row.timestamp)}</p>"
        f'{charts}<div class="tables">{tables}</div></body></html>\n'
    )


def _safe(text: object) -> str:
    return html.escape(str(text))


def _table(head: str, values: Mapping[str, object]) -> str:
    lines = "".join(f"<tr><td>{_safe(n)}</td><td>{_safe(format_value(v))}</td></tr>" for n, v in values.items())
    return f"<table><tr><th>{head}</th><th>value</th></tr>{lines}</table>"


def _market(each: MarketRun) -> str:
    market, n = each.market, len(each.market)
    entries = [fill for fill in each.run.fills if fill.reason == ENTRY]
    exits = [fill for fill in each.run.fills if fill.reason != ENTRY]
    about = (
        f"{n:,} quotes from {iso_ns(int(market.ts_ns[0]))[:19]}Z to {iso_ns(int(market.ts_ns[-1]))[:19]}Z, "
        f"{len(entries):,} fills of entries, {len(exits):,} others"
    )
    edges, left_out = _edges_chart(each, entries, exits)
    shown = f" Marks shown: {MAX_MARKS:,} of {MAX_MARKS + left_out:,} fills." if left_out else ""
    closing = _closes(each)
    keys = [
        ("ab", "edge ab: buy on B, sell on A (%)"),
        ("ba", "edge ba: buy on A, sell on B (%)"),
        ("entry", "entry fills, and min_spread_pct"),
        (
            "exit",
            "exit fills"
            + (", and -exit_spread_pct: a position closes when the other edge is there or above" if closing else ""),
        ),
    ]
    legend = "".join(f'<span class="key {name}">{text}</span>' for name, text in keys)
    return (
        f'<h2>{_safe(each.source)}</h2><p class="faint">{about}.{shown} Bands reach from the lowest to the highest value '
        f"of each stretch.</p><p>{legend}</p>{edges}"
        f'<p><span class="key equity">equity (A\'s currency, every {format_value(each.params["grid_s"])} s)</span></p>'
        f"{_equity_chart(each)}"
    )


def _closes(each: MarketRun) -> bool:
    """Whether its strategy closes what it opened, at `exit_spread_pct`."""
    return STRATEGIES.get(str(each.params["strategy"])).holds


def _edges_chart(each: MarketRun, entries: Sequence[Fill], exits: Sequence[Fill]) -> tuple[str, int]:
    market = each.market
    chart = Chart(int(market.ts_ns[0]), int(market.ts_ns[-1]), 330)
    chart.band(market.ts_ns, market.edge_ab, "ab")
    chart.band(market.ts_ns, market.edge_ba, "ba")
    chart.level(float(each.params["min_spread_pct"]), "threshold", "min_spread_pct")
    if _closes(each):
        chart.level(-float(each.params["exit_spread_pct"]), "closing", "-exit_spread_pct")
    for ts_ns in market.ts_ns[1:][np.diff(each.blocks) != 0][:MAX_GAPS].tolist():
        chart.moment(ts_ns, "gap", "gap")
    fills = [*((fill, "entry") for fill in entries), *((fill, "exit") for fill in exits)]
    step = -(-len(fills) // MAX_MARKS) if fills else 1
    kept = fills[::step]
    for fill, kind in kept:
        # A fill belongs to the edge on which it earns: selling on A or buying on B is edge ab.
        edge = market.edge_ab if (fill.side > 0) == (fill.venue == 1) else market.edge_ba
        chart.mark(Mark(fill.ts_ns, float(edge[fill.row]), kind, _told(fill)))
    return chart.svg("edges in percent over time, with entry and exit fills"), len(fills) - len(kept)


def _told(fill: Fill) -> str:
    return (
        f"{iso_ns(fill.ts_ns)} {REASONS[fill.reason]}: {side(fill)} {fill.size:.8g} on {venue(fill)} at {fill.price:.10g}, "
        f"fee {fill.fee:.6g}, slippage {fill.slippage:.6g}"
    )


def _equity_chart(each: MarketRun) -> str:
    market, equity = each.market, each.run.equity
    start, end = int(market.ts_ns[0]), int(market.ts_ns[-1])
    if len(equity) == 0:
        return '<p class="faint">all quotes have one time: there is no equity over time</p>'
    chart = Chart(start, end, 200)
    chart.band(grid_times(start, end, float(each.params["grid_s"]), len(equity)), equity, "equity")
    return chart.svg("equity over time")


def grid_times(start_ns: int, end_ns: int, grid_s: float, points: int) -> IntArray:
    """When equity was observed: at every full `grid_s` after the first quote, and at the last quote."""
    spacing = max(1, int(grid_s * 1e9))
    return np.minimum(start_ns + spacing * np.arange(1, points + 1, dtype=np.int64), end_ns)
