"""Loops that make a market's series out of quotes, and the index by which the engine finds its way in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.paper.compiled import jit, jit_small
from arbd.paper.market.loops import LANES, MAX_AB, MAX_BA, MIN_AB, MIN_BA, MIN_BEST


@jit_small
def _is_quote(columns: Any, venue: int, row: int) -> bool:
    bid, ask = columns[2 * venue][row], columns[2 * venue + 1][row]
    bid_size, ask_size = columns[4 + 2 * venue][row], columns[5 + 2 * venue][row]
    fx = columns[8][row] if venue == 1 else 1.0
    return 0 < bid < np.inf and 0 < ask < np.inf and bid_size >= 0 and ask_size >= 0 and 0 < fx < np.inf


@jit_small
def _take(columns: Any, venue: int, row: int, line: Any) -> None:
    fx = columns[8][row] if venue == 1 else 1.0
    line[2 * venue] = columns[2 * venue][row] * fx
    line[2 * venue + 1] = columns[2 * venue + 1][row] * fx
    line[4 + 2 * venue] = columns[4 + 2 * venue][row]
    line[5 + 2 * venue] = columns[5 + 2 * venue][row]


@jit
def first_quote(columns: Any, line: Any) -> bool:
    """Put each venue's first quote that is one into `line`, where it is still NaN; True once both are there."""
    for venue in range(2):
        for row in range(columns[0].shape[0]):
            if not np.isnan(line[2 * venue]):
                break
            if _is_quote(columns, venue, row):
                _take(columns, venue, row, line)
    return bool(line[0] == line[0] and line[2] == line[2])


@jit
def fill_chunk(columns: Any, line: Any, book: Any, edge_ab: Any, edge_ba: Any, unusable: Any) -> bool:
    """A stretch of quotes into the market's arrays; `line` is the book before it. True when a quote was no quote."""
    faults = False
    for row in range(columns[0].shape[0]):
        bits = 0
        for venue in range(2):
            if _is_quote(columns, venue, row):
                _take(columns, venue, row, line)
            else:
                bits |= 1 << venue
                faults = True
        for column in range(8):
            book[row, column] = line[column]
        unusable[row] = bits
        if bits == 0:
            edge_ab[row] = (line[0] - line[3]) / line[3] * 100.0
            edge_ba[row] = (line[2] - line[1]) / line[1] * 100.0
        else:
            edge_ab[row] = np.nan
            edge_ba[row] = np.nan
    return faults


@jit_small
def make_neutral(out: Any) -> None:
    """Extremes that reach no level."""
    out[:] = np.inf
    out[MAX_AB] = -np.inf
    out[MAX_BA] = -np.inf


@jit
def extremes(edge_ab: Any, edge_ba: Any, bits: int, out: Any) -> None:
    """Largest and smallest edges of every 2**bits rows; rows whose edges are NaN have no part in them."""
    n = edge_ab.shape[0]
    size = 1 << bits
    make_neutral(out)
    for block in range(out.shape[1] - LANES):
        max_ab = max_ba = -np.inf
        min_ab = min_ba = min_best = np.inf
        for row in range(block * size, min(n, (block + 1) * size)):
            ab, ba = edge_ab[row], edge_ba[row]
            if not np.isnan(ab):
                max_ab, min_ab = max(max_ab, ab), min(min_ab, ab)
                max_ba, min_ba = max(max_ba, ba), min(min_ba, ba)
                min_best = min(min_best, max(ab, ba))
        out[MAX_AB, block] = max_ab
        out[MIN_AB, block] = min_ab
        out[MAX_BA, block] = max_ba
        out[MIN_BA, block] = min_ba
        out[MIN_BEST, block] = min_best


@jit
def coarser(fine: Any, bits: int, out: Any) -> None:
    """Extremes of every 2**bits blocks of extremes."""
    n = fine.shape[1] - LANES
    make_neutral(out)
    for part in range(n):
        block = part >> bits
        out[MAX_AB, block] = max(out[MAX_AB, block], fine[MAX_AB, part])
        out[MAX_BA, block] = max(out[MAX_BA, block], fine[MAX_BA, part])
        out[MIN_AB, block] = min(out[MIN_AB, block], fine[MIN_AB, part])
        out[MIN_BA, block] = min(out[MIN_BA, block], fine[MIN_BA, part])
        out[MIN_BEST, block] = min(out[MIN_BEST, block], fine[MIN_BEST, part])


@jit
def time_table(ts: Any, shift: int, out: Any) -> None:
    """For each 2**shift ns from the first quote on, the first row not before it; one more at the end."""
    n = ts.shape[0]
    row = 0
    for step in range(out.shape[0]):
        start = ts[0] + (step << shift)
        while row < n and ts[row] < start:
            row += 1
        out[step] = row


@jit
def moving(ts: Any, edges: Any, half_life_ns: float, centered: Any, sigma: Any) -> None:
    """Edges less their exponentially weighted mean over time, and the deviation from it, both of what was before.

    An edge counts for as long as it was shown. Where an edge is NaN, the one before goes on.
    """
    n = edges.shape[0]
    shown, mean, variance = np.nan, np.nan, 0.0
    for row in range(n):
        if row > 0 and not np.isnan(shown):
            kept = np.exp2((ts[row - 1] - ts[row]) / half_life_ns)
            off = shown - mean
            mean = mean + (1.0 - kept) * off
            variance = kept * (variance + (1.0 - kept) * off * off)
        if not np.isnan(edges[row]):
            shown = edges[row]
            if np.isnan(mean):
                mean = shown
        centered[row] = edges[row] - mean
        sigma[row] = np.sqrt(variance)
