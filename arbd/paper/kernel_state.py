"""Positions of what a compiled run carries along: parameters, numbers, whole numbers, and what it waits for.

A batch of n runs has them in three tables of one line per run: `p` (parameters), `s` (numbers, whose first
columns are the counts of `metrics`) and `f` (whole numbers). `m` is a market's series and `x` its index, tuples
whose places are named here too.
"""

from __future__ import annotations

from arbd.paper import fills, metrics
from arbd.paper.prepared import DUST_SHARE, FIELD

DAY_NS = 86_400 * 10**9
HOUR_NS = 3_600 * 10**9
DUST = DUST_SHARE
NONE = -1
NEVER = 2**62

# The series of a market, `m`.
TS, BOOK, AB, BA, UNUSABLE, ENDS, TIMES, TIME_SCALE = range(8)
# Columns of the book.
BID_A, ASK_A, BID_B, ASK_B, BID_SIZE_A, ASK_SIZE_A, BID_SIZE_B, ASK_SIZE_B = range(8)

# Numbers of a run; the counts come first, at the positions that `metrics` gives them.
(
    CAPITAL, PEAK, TODAY_PNL, QUANTITY, LEFT, ENTRY_CASH, ENTRY_EDGE, TRADE_RESULT, ORDER_QUANTITY,
    QUOTE_A, QUOTE_B, BASE_A, BASE_B, MOVED_BASE, MOVED_QUOTE, N_STATE,
) = range(metrics.N_COUNTS, metrics.N_COUNTS + 16)  # fmt: skip

# Whole numbers of a run. Rows are NEVER where there is none, ORDER rows are NONE.
(
    DIRECTION, DUE_ROW, WAIT, WAIT_ROW, HOLD_ROW, TRANSFER_ROW, SIGNALLED, TRIPPED, OPENED_NS, COOLING_UNTIL, TODAY,
    ORDER_DIRECTION, ORDER_ROW_A, ORDER_ROW_B, ORDER_REASON, N_ENTRIES, ENTRIES_AT, TO_BASE, TO_QUOTE,
    GRID_DONE, STRETCH, N_FILLS, EVENTS, MODE, IN_QUEUES, WAKE, NEXT, BEFORE, N_FLAGS,
) = range(29)  # fmt: skip

# What a run without an order under way waits for: an edge that calls for an entry; a cost of unwinding that calls for
# an exit; the end of a stretch of edges that it may not, or cannot, enter on; the next quote.
WAIT_ENTRY, WAIT_EXIT, WAIT_REFUSED, WAIT_STARVED_AB, WAIT_STARVED_BA, WAIT_NEXT = range(6)

FILL_FIELDS = 8

# Positions of parameters, as constants that the compiler sees.
P_STRATEGY = FIELD["strategy"]
P_MIN_SPREAD = FIELD["min_spread_pct"]
P_EXIT_SPREAD = FIELD["exit_spread_pct"]
P_TAKE_PROFIT = FIELD["take_profit_pct"]
P_STOP_LOSS = FIELD["stop_loss_pct"]
P_MAX_HOLD = FIELD["max_hold_s"]
P_LATENCY_A = FIELD["latency_a_ms"]
P_LATENCY_B = FIELD["latency_b_ms"]
P_SLIPPAGE = FIELD["slippage_bps"]
P_PARTICIPATION = FIELD["participation"]
P_LOT_STEP = FIELD["lot_step"]
P_MIN_NOTIONAL = FIELD["min_notional"]
P_FEE_A = FIELD["fee_a_bps"]
P_FEE_B = FIELD["fee_b_bps"]
P_MAX_POSITION = FIELD["max_position"]
P_MAX_DAILY_LOSS = FIELD["max_daily_loss"]
P_MAX_TRADES = FIELD["max_trades_per_hour"]
P_BREAKER = FIELD["circuit_breaker_pct"]
P_COOLDOWN = FIELD["cooldown_s"]
P_CAPITAL = FIELD["initial_capital"]
P_BASE_SHARE = FIELD["base_share"]
P_REBALANCE = FIELD["rebalance"]
P_TRIGGER = FIELD["rebalance_trigger"]
P_REBALANCE_SPREAD = FIELD["rebalance_spread_pct"]
P_TRANSFER_FEE = FIELD["transfer_fee_pct"]
P_TRANSFER_DELAY = FIELD["transfer_delay_s"]

C_REALIZED, C_FEES, C_SLIPPAGE, C_TRADES = metrics.REALIZED, metrics.FEES, metrics.SLIPPAGE, metrics.TRADES
C_WINS, C_LOSSES, C_PROFIT, C_LOSS = metrics.WINS, metrics.LOSSES, metrics.GROSS_PROFIT, metrics.GROSS_LOSS
C_DRAWDOWN, C_DRAWDOWN_PCT = metrics.MAX_DRAWDOWN, metrics.MAX_DRAWDOWN_PCT
C_HOLD, C_EXPOSURE, C_NOTIONAL = metrics.HOLD_S, metrics.EXPOSURE_S, metrics.NOTIONAL
C_SIGNALS, C_VIOLATIONS, C_BREAKER = metrics.SIGNALS, metrics.VIOLATIONS, metrics.BREAKER
C_MARK, C_SPAN = metrics.OPEN_MARK, metrics.SPAN_S
R_ENTRY, R_EXIT, R_PROFIT, R_LOSS = fills.ENTRY, fills.EXIT, fills.TAKE_PROFIT, fills.STOP_LOSS
R_HOLD, R_BREAKER, R_END, R_REBALANCE, R_GAP = fills.MAX_HOLD, fills.BREAKER, fills.END, fills.REBALANCE, fills.GAP
