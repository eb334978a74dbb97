"""Positions of what a compiled run carries along: state, flags, parameters, counts, reasons."""

from __future__ import annotations

from arbd.paper import fills, metrics
from arbd.paper.prepared import DUST_SHARE, FIELD

DAY_NS = 86_400 * 10**9
HOUR_NS = 3_600 * 10**9

# State of a run: floats.
(
    CAPITAL, PEAK, TODAY_PNL, QUANTITY, LEFT, ENTRY_CASH, ENTRY_EDGE, TRADE_RESULT, ORDER_QUANTITY,
    QUOTE_A, QUOTE_B, BASE_A, BASE_B, MOVED_BASE, MOVED_QUOTE, N_STATE,
) = range(16)  # fmt: skip

# State of a run: integers.
(
    TODAY, COOLING_UNTIL, TRIPPED, SIGNALLED, DIRECTION, OPENED_NS, ORDER_DIRECTION, ORDER_ROW_A, ORDER_ROW_B,
    ORDER_REASON, DUE_ROW, N_ENTRIES, N_FILLS, TRANSFER_NS, TO_BASE, TO_QUOTE, N_FLAGS,
) = range(17)  # fmt: skip

FILL_FIELDS = 8
DUST = DUST_SHARE
NONE = -1
NEVER = -(2**62)

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
P_GRID = FIELD["grid_s"]

C_REALIZED, C_FEES, C_SLIPPAGE, C_TRADES = metrics.REALIZED, metrics.FEES, metrics.SLIPPAGE, metrics.TRADES
C_WINS, C_LOSSES, C_PROFIT, C_LOSS = metrics.WINS, metrics.LOSSES, metrics.GROSS_PROFIT, metrics.GROSS_LOSS
C_DRAWDOWN, C_DRAWDOWN_PCT = metrics.MAX_DRAWDOWN, metrics.MAX_DRAWDOWN_PCT
C_HOLD, C_EXPOSURE, C_NOTIONAL = metrics.HOLD_S, metrics.EXPOSURE_S, metrics.NOTIONAL
C_SIGNALS, C_VIOLATIONS, C_BREAKER = metrics.SIGNALS, metrics.VIOLATIONS, metrics.BREAKER
C_MARK, C_SPAN = metrics.OPEN_MARK, metrics.SPAN_S
R_ENTRY, R_EXIT, R_PROFIT, R_LOSS = fills.ENTRY, fills.EXIT, fills.TAKE_PROFIT, fills.STOP_LOSS
R_HOLD, R_BREAKER, R_END, R_REBALANCE = fills.MAX_HOLD, fills.BREAKER, fills.END, fills.REBALANCE
