"""The records of the compiled engine: a quote's book, a run, a fill, and the desk where a batch finds its tables.

A run's record holds its parameters, what it has counted so far (the counts of `metrics`), its balances and position,
the order under way, what it waits for, and where it stands in the queues. Rows are NEVER where there is none.
"""

from __future__ import annotations

import numpy as np

from arbd.paper.kernel.memory import record_at
from arbd.paper.market.prepared import BOOK_COLUMNS, FIELDS

DAY_NS = np.int64(86_400 * 10**9)
HOUR_NS = np.int64(3_600 * 10**9)
NONE = np.int64(-1)
NEVER = np.int64(2**62)

# What a run without an order under way waits for: an edge that calls for an entry; a cost of unwinding that calls for
# an exit; the end of a stretch of edges that it may not, or cannot, enter on; the next quote.
WAIT_ENTRY, WAIT_EXIT, WAIT_REFUSED, WAIT_STARVED_AB, WAIT_STARVED_BA, WAIT_NEXT = range(6)

# In the order of the positions in `metrics`.
COUNTS = (
    "realized", "fees", "slippage", "trades", "wins", "losses", "profit", "loss", "drawdown", "drawdown_pct",
    "hold_s", "exposure_s", "notional", "signals", "violations", "breaker", "open_mark", "span_s",
)  # fmt: skip
_NUMBERS = (
    "peak", "today_pnl", "quantity", "left", "entry_cash", "entry_edge", "trade_result", "order_quantity",
    "quote_a", "quote_b", "base_a", "base_b", "moved_base", "moved_quote",
)  # fmt: skip
_WHOLE = (
    "number", "direction", "due_row", "wait", "wait_row", "hold_row", "transfer_row", "signalled", "tripped", "opened_ns",
    "cooling_until_ns", "today", "order_direction", "order_row_a", "order_row_b", "order_reason", "n_entries", "in_transit",
    "to_base", "to_quote", "grid_done", "stretch", "n_fills", "events", "walks", "queues", "wake", "next", "before",
    "entries", "grid",
)  # fmt: skip

RUN = np.dtype(
    [(name, np.float64) for name in (*_NUMBERS, *COUNTS, *FIELDS)] + [(name, np.int64) for name in _WHOLE]
)  # fmt: skip
BOOK = np.dtype([(name, np.float64) for name in BOOK_COLUMNS])
FILL = np.dtype(
    [("row", np.int64), ("venue", np.int64), ("side", np.int64), ("price", np.float64), ("size", np.float64),
     ("fee", np.float64), ("slippage", np.float64), ("reason", np.int64)]
)  # fmt: skip

# Addresses and sizes of everything that a batch reads and writes, and where its sweep is.
_DESK = (
    # the series: times, books, edges, bits per venue (0 where there are none), last rows before gaps
    "ts", "book", "ab", "ba", "unusable", "ends", "n", "first_ns", "last_ns",
    # the index: extremes of blocks and windows, rows by time
    "blocks", "windows", "n_windows", "rows_by_time", "time_shift",
    # runs, fills, rows of the equity grid
    "runs", "n_runs", "fills", "room", "grid_rows", "n_grid",
    # queues by level
    "heads", "links", "levels", "scale", "bits", "watch",
    # the calendar: who waits for a row in which block, how many in which window, who for which row of this block
    "block_heads", "window_counts", "slots", "block_now", "end_now",
    # lists of runs
    "found", "hot", "walkers",
)  # fmt: skip
DESK = np.dtype([(name, np.int64) for name in _DESK] + [("due", np.uint64)])

run_at, book_at, fill_at, desk_at = record_at(RUN), record_at(BOOK), record_at(FILL), record_at(DESK)
