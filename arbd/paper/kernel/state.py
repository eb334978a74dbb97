"""The records of the compiled engine: a run, a fill, and the desk where a batch finds its tables.

A run's record holds its parameters, what it has counted so far (the counts of `metrics`), its balances and position,
the order under way, what it waits for, and the row where it is looked at next. Rows are NEVER where there is none.
"""

from __future__ import annotations

import numpy as np

from arbd.paper.params import FEE_TIERS

DAY_NS = np.int64(86_400 * 10**9)
HOUR_NS = np.int64(3_600 * 10**9)
FUNDING_NS, YEAR_NS = 8 * 3_600 * 1e9, 365 * 86_400 * 1e9
NONE = np.int64(-1)
NEVER = np.int64(2**62)

# What a run without an order under way waits for: an edge that calls for an entry; a cost of unwinding that calls for
# an exit; the end of a stretch of edges that it may not, or cannot, enter on; the next quote.
WAIT_ENTRY, WAIT_EXIT, WAIT_REFUSED, WAIT_STARVED_AB, WAIT_STARVED_BA, WAIT_NEXT = range(6)

# In the order of the positions in `metrics`.
COUNTS = (
    "realized", "fees", "slippage", "trades", "wins", "losses", "profit", "loss", "drawdown", "drawdown_pct",
    "hold_s", "exposure_s", "notional", "signals", "violations", "breaker", "open_mark", "span_s",
    "orders", "rejected", "funding", "borrow", "unhedged_pnl", "unhedged_s", "largest_unhedged", "given_up",
    "margin_low",
)  # fmt: skip
_NUMBERS = (
    "peak", "today_pnl", "entry_edge", "trade_result", "hedge_touch", "net", "net_cash", "pair_filled",
    "moved_base", "moved_quote",
)  # fmt: skip
_WHOLE = (
    "own", "direction", "due_row", "done_row", "wait", "wait_row", "hold_row", "hold_ns", "signalled", "tripped",
    "opened_ns", "opened_row", "carry_row", "carries", "cooling_until_ns", "today_until_ns", "today_trades",
    "order_direction", "order_row_a",
    "order_row_b", "order_reason", "sent_row", "over", "unhedged_since_ns", "hedge_venue", "n_entries", "grid_done",
    "stretch", "n_fills", "entries", "grid",
    "transfer_row", "pair_direction", "in_transit", "to_base", "to_quote", "tiers",
)  # fmt: skip
# What every trade reads stands together, because memory comes in lines.
OFTEN = (
    "strategy", "min_spread_ab_pct", "min_spread_ba_pct", "exit_spread_pct", "take_profit_pct", "stop_loss_pct",
    "max_hold_s", "latency_jitter", "slippage_bps", "participation", "max_position", "max_daily_loss",
    "max_trades_per_hour", "cooldown_s", "initial_capital", "circuit_breaker_pct", "give_up_trades_per_day",
    "give_up_drawdown_pct", "entry_sigma",
)  # fmt: skip
# The other ones that a run's record has; those of venues stand in `own`, those of the series in the series.
SELDOM = (
    "execution_seed", "unhedged", "hedge_latency_ms", "book_levels", "base_share", "mark", "rebalance", "rebalance_trigger",
    "rebalance_spread_pct", "transfer_fee_pct", "transfer_delay_s",
)  # fmt: skip

# What a run has per venue, in a table of its own (`own`): A's, then B's. First what it holds of a position, by
# quantity, unrealised cash, average price and quantity of the opening fills; inventory has its balances there.
HELD, BASIS, PRICE, OPENED = (np.int64(2 * at) for at in range(4))
BASE, QUOTE = HELD, BASIS
# What was ordered.
QUANTITY = np.int64(8)
# What was taken of a quote, and at which row, by `side_bit`.
TAKEN, TAKEN_ROW = np.int64(10), np.int64(14)
# Parameters of the venues.
VENUE_FIELDS = (
    "fee_{}_bps", "lot_step_{}", "min_notional_{}", "tick_{}", "latency_{}_ms", "reject_pct_{}", "funding_{}_bps_8h",
    "borrow_{}_pct_year",
)  # fmt: skip
FEE, LOT, MINIMUM, TICK, LATENCY, REJECT, FUNDING, BORROW = (np.int64(18 + 2 * at) for at in range(8))
SLIPPAGE = np.int64(34)
OWN_SIZE = 40

# What a run with tiers of fees has for each venue (`tiers`): from which turnover each holds, and its fee; the UTC day for
# which the fee is known, and the fee; what was traded on each of so many days, and which days those are.
TIER_FROM, TIER_FEE = np.int64(0), np.int64(FEE_TIERS)
TIER_DAY, TIER_NOW, TRADED = (np.int64(2 * FEE_TIERS + at) for at in range(3))
TURNOVER_DAYS, DAYS = np.int64(30), np.int64(32)
TRADED_DAY = TRADED + DAYS
TIERS_SIZE = TRADED_DAY + DAYS

# How many searches for entries are remembered, by the block in which they began (`known`), and the bytes of one: from
# which row to before which other row no edge reaches which two thresholds.
KNOWN_PLACES, KNOWN_BYTES = np.int64(64), np.int64(32)

# A run's record, a word for each field.
WORDS = (*_WHOLE, *_NUMBERS, *OFTEN, *COUNTS, *SELDOM)
RUN = np.dtype([(name, np.int64 if name in _WHOLE else np.float64) for name in WORDS])
OFTEN_SIZE = 8 * sum(map(len, (_WHOLE, _NUMBERS, OFTEN, COUNTS)))
FILL = np.dtype(
    [("row", np.int64), ("venue", np.int64), ("side", np.int64), ("price", np.float64), ("size", np.float64),
     ("fee", np.float64), ("slippage", np.float64), ("reason", np.int64), ("sent_row", np.int64),
     ("ordered", np.float64), ("cause", np.int64)]
)  # fmt: skip

# Addresses and sizes of everything that a batch reads and writes.
_DESK = (
    # the series: times, books, edges, bits per venue (0 where there are none), last rows before gaps
    "ts", "book", "ab", "ba", "unusable", "ends", "n", "first_ns", "last_ns", "fresh", "salt",
    # the book below the touch, and how many levels of it there are
    "below", "n_below",
    # rows of the quotes that have come to the strategy (0 where they come at once); fx, at every so many places
    "seen", "fx", "fx_step",
    # centred edges: the edges as they are, and the moving deviations (0 where edges are not centred)
    "cost_ab", "cost_ba", "sigma_ab", "sigma_ba",
    # rows at which venues paid funding, and the sums of what they paid
    "funding_rows", "funding_sums", "n_funding",
    # the index: extremes of blocks, windows and regions, as columns of so many places each, and rows by time
    "blocks", "block_stride", "windows", "window_stride", "regions", "region_stride", "rows_by_time", "time_shift",
    # runs, fills, rows of the equity grid
    "runs", "n_runs", "fills", "room", "grid_rows", "n_grid",
    # rows of parameters and how many each has, which of them runs have, and where they go: pairs of a word of a run's
    # record, or of what it has per venue, and a column
    "given", "n_fields", "order", "places", "n_places", "own_places", "n_own_places",
    # what runs write to: equity by parameter row; times of entries; tiers of fees (0 where no run has any)
    "equity", "entries", "tiers",
    # what runs have per venue; the rows from which they go on, with LANES more, and the nearest of each group of runs;
    # those that go on in this window
    "own", "next_rows", "nearest", "active",
    # what searches for entries have found
    "known",
)  # fmt: skip
# The code is compiled four times, once for each type of desk: those on which all runs are of the convergence strategy, or
# of inventory; and those that are plain, where nothing that few use is in use: see `parameter_sets.is_plain`.
# The last fields are not used. They make them types of which none is a kind of another.
DESK, PLAIN_DESK, INVENTORY_DESK, PLAIN_INVENTORY_DESK = (
    np.dtype([(name, np.int64) for name in (*_DESK, *kind)])
    for kind in (("converging", "full"), ("converging", "plain"), ("full",), ("plain",))
)
