"""How batches of runs are handed to the compiled engine: series with their index, queues, and batches of bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.paper import kernel_prepare as prepare_loops
from arbd.paper import metrics
from arbd.paper.kernel_queues import AB_FROM, AB_TO, BA_FROM, BA_TO, BEST_FROM, BEST_UNDER, BINS, KINDS, WORDS
from arbd.paper.kernel_state import FILL_FIELDS, N_STATE, P_MAX_TRADES, P_MIN_SPREAD
from arbd.paper.kernel_sweep import BY_COUNT, BY_EVENTS, BY_WALKING, sweep
from arbd.paper.prepared import FIELD, Series
from arbd.paper.quotes import FloatArray, IntArray

WAYS = {"count": BY_COUNT, "events": BY_EVENTS, "walk": BY_WALKING}
# Runs that are swept together, and entry times kept for their hourly limits: what keeps a batch in the caches and in bounds.
BATCH_RUNS = 1024
BATCH_ENTRIES = 4_000_000
TABLE_ROWS_PER_STEP = 8


@dataclass(frozen=True, eq=False)
class Index:
    """How the engine finds its way in a market: extremes of blocks and of windows of quotes, and rows by time."""

    blocks: FloatArray
    windows: FloatArray
    rows_by_time: npt.NDArray[np.int32]
    time_shift: int


def build_index(series: Series) -> Index:
    """Compute the index of a series of at least one row."""
    blocks = prepare_loops.extremes(series.edge_ab, series.edge_ba, prepare_loops.BLOCK_BITS)
    windows = prepare_loops.coarser(blocks, prepare_loops.WINDOW_BITS - prepare_loops.BLOCK_BITS)
    span_ns = int(series.ts_ns[-1]) - int(series.ts_ns[0])
    steps = max(1, len(series) // TABLE_ROWS_PER_STEP)
    shift = max(0, (span_ns // steps).bit_length())
    table = prepare_loops.time_table(series.ts_ns, shift, (span_ns >> shift) + 2)
    return Index(blocks, windows, table, shift)


def run_batch(
    series: Series, index: Index, rows: FloatArray, grid_rows: IntArray, fills: FloatArray | None = None, way: str = "count"
) -> tuple[FloatArray, FloatArray, int]:
    """Counts (n, N_COUNTS), equity (n, grid points) of parameter rows, and the number of the last run's fills.

    `fills`, shape (room, FILL_FIELDS), is filled as far as it reaches, and means something for a single run.
    """
    counts, equity = np.empty((len(rows), metrics.N_COUNTS)), np.empty((len(rows), len(grid_rows)))
    out = np.empty((0, FILL_FIELDS)) if fills is None else fills
    n_fills = 0
    for part in _batches(rows):
        parameters = np.ascontiguousarray(rows[part])
        state, grid = np.empty((len(parameters), N_STATE)), np.empty((len(parameters), len(grid_rows)))
        m = (
            series.ts_ns, series.book, series.edge_ab, series.edge_ba, series.unusable, series.ends,
            index.rows_by_time, index.time_shift,
        )  # fmt: skip
        queues = _queues(index, parameters)
        n_fills = sweep(m, index.blocks, index.windows, queues, parameters, state, grid, grid_rows, out, WAYS[way])
        counts[part], equity[part] = state[:, : metrics.N_COUNTS], grid
    return counts, equity, n_fills


def _batches(rows: FloatArray) -> list[slice]:
    found, start, entries = [], 0, 0.0
    for at, hourly in enumerate(rows[:, P_MAX_TRADES].tolist()):
        if at > start and (at - start == BATCH_RUNS or entries + hourly > BATCH_ENTRIES):
            found.append(slice(start, at))
            start, entries = at, 0.0
        entries += hourly
    return [*found, slice(start, len(rows))]


def _queues(index: Index, rows: FloatArray) -> Any:
    """Empty queues whose bins span the levels that can occur: thresholds, and the range of the edges."""
    thresholds = rows[:, [P_MIN_SPREAD, FIELD["rebalance_spread_pct"]]]
    finite = np.isfinite(index.windows)
    lowest = float(index.windows[finite].min(initial=0.0))
    highest = float(index.windows[finite].max(initial=0.0))
    ranges = {
        BEST_FROM: (thresholds[:, 0].min(), thresholds[:, 0].max()),
        BEST_UNDER: (-thresholds[:, 0].max(), -thresholds[:, 0].min()),
        AB_FROM: (lowest, highest),
        BA_FROM: (lowest, highest),
        AB_TO: (-highest, -lowest),
        BA_TO: (-highest, -lowest),
    }
    scale = np.array([[low, (BINS - 1) / max(high - low, 1e-12)] for low, high in (ranges[kind] for kind in range(KINDS))])
    n = len(rows)
    return (
        np.full((KINDS, BINS), -1, dtype=np.int32), np.empty((KINDS, n, 3), dtype=np.int32), np.empty((KINDS, n)),
        scale, np.full((KINDS, BINS), np.inf), np.zeros((KINDS, WORDS), dtype=np.uint64), np.full(KINDS, np.inf),
    )  # fmt: skip


__all__ = ["Index", "build_index", "run_batch"]
