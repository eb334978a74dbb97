"""The compiled engine: the same machine as `reference.py`, as loops over numbers.

Each function mirrors one of the reference's methods, with the same operations in the same order, because the
results must be equal to the bit. No fast-math; nothing here is reassociated. `S` is the row of state numbers
that a run carries along, by the positions below.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arbd.paper import fills, metrics
from arbd.paper.prepared import CONVERGENCE, FIELD, REBALANCE_REVERSE, REBALANCE_TRANSFER

_DAY_NS = 86_400 * 10**9
_HOUR_NS = 3_600 * 10**9

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
_NONE = -1
_NEVER = -(2**62)

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


@njit(cache=True, nogil=True)
def _mark(row, m, s, flags):
    if flags[DIRECTION] == 0:
        return 0.0
    unwound = m[3][row] - m[2][row] if flags[DIRECTION] > 0 else m[1][row] - m[4][row]
    return s[ENTRY_CASH] * (s[LEFT] / s[QUANTITY]) + s[LEFT] * unwound


@njit(cache=True, nogil=True)
def _observe(row, m, p, c, s, flags):
    equity = s[CAPITAL] + (c[C_REALIZED] + _mark(row, m, s, flags))
    s[PEAK] = max(s[PEAK], equity)
    drawdown = s[PEAK] - equity
    drawdown_pct = drawdown / s[PEAK] * 100.0
    c[C_DRAWDOWN] = max(c[C_DRAWDOWN], drawdown)
    c[C_DRAWDOWN_PCT] = max(c[C_DRAWDOWN_PCT], drawdown_pct)
    if p[P_BREAKER] > 0 and drawdown_pct >= p[P_BREAKER]:
        flags[TRIPPED] = 1
    return equity


@njit(cache=True, nogil=True)
def _roll_day(row, ts, s, flags):
    day = ts[row] // _DAY_NS
    if day != flags[TODAY]:
        flags[TODAY] = day
        s[TODAY_PNL] = 0.0


@njit(cache=True, nogil=True)
def _book(row, amount, ts, c, s, flags):
    _roll_day(row, ts, s, flags)
    c[C_REALIZED] += amount
    s[TODAY_PNL] += amount


@njit(cache=True, nogil=True)
def _close_trade(row, result, ts, p, c, flags):
    c[C_TRADES] += 1
    if result > 0:
        c[C_WINS] += 1
        c[C_PROFIT] += result
    elif result < 0:
        c[C_LOSSES] += 1
        c[C_LOSS] -= result
        flags[COOLING_UNTIL] = ts[row] + np.int64(p[P_COOLDOWN] * 1e9)


@njit(cache=True, nogil=True)
def _refused(row, ts, p, s, flags, entries):
    _roll_day(row, ts, s, flags)
    now = ts[row]
    if flags[TRIPPED] != 0 or (p[P_MAX_DAILY_LOSS] > 0 and s[TODAY_PNL] <= -p[P_MAX_DAILY_LOSS]):
        return True
    hourly = np.int64(p[P_MAX_TRADES])
    if hourly > 0 and flags[N_ENTRIES] >= hourly and now - entries[(flags[N_ENTRIES] - hourly) % hourly] < _HOUR_NS:
        return True
    return now < flags[COOLING_UNTIL]


@njit(cache=True, nogil=True)
def _entered(row, ts, p, flags, entries):
    hourly = np.int64(p[P_MAX_TRADES])
    if hourly > 0:
        entries[flags[N_ENTRIES] % hourly] = ts[row]
    flags[N_ENTRIES] += 1


@njit(cache=True, nogil=True)
def _entry_direction(row, threshold_ab, threshold_ba, m, p, c, s, flags, entries):
    edge_ab, edge_ba = m[9][row], m[10][row]
    wants_ab, wants_ba = edge_ab >= threshold_ab, edge_ba >= threshold_ba
    if not wants_ab and not wants_ba:
        flags[SIGNALLED] = 0
        return 0
    if flags[SIGNALLED] == 0:
        c[C_SIGNALS] += 1
    direction = 1 if wants_ab and (not wants_ba or edge_ab >= edge_ba) else -1
    if _refused(row, m[0], p, s, flags, entries):
        if flags[SIGNALLED] == 0:
            c[C_VIOLATIONS] += 1
        flags[SIGNALLED] = 1
        return 0
    flags[SIGNALLED] = 1
    return direction


@njit(cache=True, nogil=True)
def _row_after(row, latency_ms, ts):
    due = ts[row] + np.int64(latency_ms * 1e6)
    low, high = row, ts.shape[0]
    while low < high:
        middle = (low + high) // 2
        if ts[middle] < due:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _touch(row, venue, side, m):
    if venue == 0:
        return m[2][row] if side > 0 else m[1][row]
    return m[4][row] if side > 0 else m[3][row]


@njit(cache=True, nogil=True)
def _shown(row, venue, side, m):
    if venue == 0:
        return m[6][row] if side > 0 else m[5][row]
    return m[8][row] if side > 0 else m[7][row]


@njit(cache=True, nogil=True)
def _price(row, venue, side, m, p):
    return _touch(row, venue, side, m) * (1.0 + side * (p[P_SLIPPAGE] / 1e4))


@njit(cache=True, nogil=True)
def _executable(row_a, row_b, direction, limit, m, p):
    part = p[P_PARTICIPATION]
    quantity = min(limit, part * _shown(row_a, 0, -direction, m), part * _shown(row_b, 1, direction, m))
    if p[P_LOT_STEP] > 0:
        quantity = math.floor(quantity / p[P_LOT_STEP] + 1e-9) * p[P_LOT_STEP]
    smallest = quantity * min(_price(row_a, 0, -direction, m, p), _price(row_b, 1, direction, m, p))
    return quantity if quantity > 0 and smallest >= p[P_MIN_NOTIONAL] else 0.0


@njit(cache=True, nogil=True)
def _settle(m, p, c, s, flags, out):
    """Trade both legs of the order; the cash that flows, after fees."""
    cash = 0.0
    quantity = s[ORDER_QUANTITY]
    for venue in range(2):
        row = flags[ORDER_ROW_A] if venue == 0 else flags[ORDER_ROW_B]
        side = -flags[ORDER_DIRECTION] if venue == 0 else flags[ORDER_DIRECTION]
        touch = _touch(row, venue, side, m)
        price = _price(row, venue, side, m, p)
        notional = quantity * price
        fee = notional * (p[P_FEE_A] if venue == 0 else p[P_FEE_B]) / 1e4
        slippage = quantity * abs(price - touch)
        cash += -side * notional
        cash -= fee
        c[C_FEES] += fee
        c[C_SLIPPAGE] += slippage
        c[C_NOTIONAL] += notional
        if flags[N_FILLS] < out.shape[0]:
            fill = out[flags[N_FILLS]]
            fill[0] = row
            fill[1] = venue
            fill[2] = side
            fill[3] = price
            fill[4] = quantity
            fill[5] = fee
            fill[6] = slippage
            fill[7] = flags[ORDER_REASON]
        flags[N_FILLS] += 1
    return cash


@njit(cache=True, nogil=True)
def _order(row_a, row_b, direction, quantity, reason, s, flags):
    flags[ORDER_DIRECTION] = direction
    flags[ORDER_ROW_A] = row_a
    flags[ORDER_ROW_B] = row_b
    flags[ORDER_REASON] = reason
    flags[DUE_ROW] = max(row_a, row_b)
    s[ORDER_QUANTITY] = quantity


@njit(cache=True, nogil=True)
def _convergence_entry(row, m, p, c, s, flags, entries):
    ts = m[0]
    direction = _entry_direction(row, p[P_MIN_SPREAD], p[P_MIN_SPREAD], m, p, c, s, flags, entries)
    if direction == 0:
        return
    row_a, row_b = _row_after(row, p[P_LATENCY_A], ts), _row_after(row, p[P_LATENCY_B], ts)
    last = ts.shape[0] - 1
    if row_a > last or row_b > last:
        return
    bought = _price(row_b, 1, 1, m, p) if direction > 0 else _price(row_a, 0, 1, m, p)
    quantity = _executable(row_a, row_b, direction, p[P_MAX_POSITION] / bought, m, p)
    if quantity > 0:
        _order(row_a, row_b, direction, quantity, R_ENTRY, s, flags)
        _entered(row, ts, p, flags, entries)


@njit(cache=True, nogil=True)
def _exit_reason(row, m, p, s, flags):
    cost_pct = m[11][row] if flags[DIRECTION] > 0 else m[12][row]
    gain_pct = s[ENTRY_EDGE] - cost_pct
    held_ns = m[0][row] - flags[OPENED_NS]
    if flags[TRIPPED] != 0:
        return R_BREAKER
    if p[P_STOP_LOSS] > 0 and gain_pct <= -p[P_STOP_LOSS]:
        return R_LOSS
    if p[P_TAKE_PROFIT] > 0 and gain_pct >= p[P_TAKE_PROFIT]:
        return R_PROFIT
    if cost_pct <= p[P_EXIT_SPREAD]:
        return R_EXIT
    if p[P_MAX_HOLD] > 0 and held_ns >= np.int64(p[P_MAX_HOLD] * 1e9):
        return R_HOLD
    return R_END if row == m[0].shape[0] - 1 else _NONE


@njit(cache=True, nogil=True)
def _convergence_exit(row, m, p, s, flags):
    reason = _exit_reason(row, m, p, s, flags)
    if reason < 0:
        return
    ts = m[0]
    last = ts.shape[0] - 1
    direction = -flags[DIRECTION]
    row_a = min(_row_after(row, p[P_LATENCY_A], ts), last)
    row_b = min(_row_after(row, p[P_LATENCY_B], ts), last)
    part = p[P_PARTICIPATION]
    quantity = min(s[LEFT], part * _shown(row_a, 0, -direction, m), part * _shown(row_b, 1, direction, m))
    if quantity < s[LEFT]:
        quantity = _executable(row_a, row_b, direction, quantity, m, p)
    if quantity > 0:
        _order(row_a, row_b, direction, quantity, reason, s, flags)


@njit(cache=True, nogil=True)
def _convergence_apply(row, m, p, c, s, flags, out):
    ts = m[0]
    direction, quantity = flags[ORDER_DIRECTION], s[ORDER_QUANTITY]
    cash = _settle(m, p, c, s, flags, out)
    if flags[DIRECTION] == 0:
        row_a, row_b = flags[ORDER_ROW_A], flags[ORDER_ROW_B]
        if direction > 0:
            bought, sold = _price(row_b, 1, 1, m, p), _price(row_a, 0, -1, m, p)
        else:
            bought, sold = _price(row_a, 0, 1, m, p), _price(row_b, 1, -1, m, p)
        flags[DIRECTION] = direction
        flags[OPENED_NS] = ts[row]
        s[QUANTITY] = quantity
        s[LEFT] = quantity
        s[ENTRY_CASH] = cash
        s[ENTRY_EDGE] = (sold - bought) / bought * 100.0
        s[TRADE_RESULT] = 0.0
        return
    result = s[ENTRY_CASH] * (quantity / s[QUANTITY]) + cash
    s[LEFT] -= quantity
    s[TRADE_RESULT] += result
    if s[LEFT] <= 0:
        held_s = (ts[row] - flags[OPENED_NS]) / 1e9
        c[C_HOLD] += held_s
        c[C_EXPOSURE] += held_s
        flags[DIRECTION] = 0
        flags[SIGNALLED] = 0
    _book(row, result, ts, c, s, flags)
    if flags[DIRECTION] == 0:
        _close_trade(row, s[TRADE_RESULT], ts, p, c, flags)
    _observe(row, m, p, c, s, flags)


@njit(cache=True, nogil=True)
def _imbalanced(p, s):
    total = s[BASE_A] + s[BASE_B]
    limit = p[P_TRIGGER] * total
    if total <= 0 or s[BASE_A] == s[BASE_B]:
        return 0
    if s[BASE_A] < limit:
        return 1
    return -1 if s[BASE_B] < limit else 0


@njit(cache=True, nogil=True)
def _send(row, m, p, c, s, flags):
    fee = p[P_TRANSFER_FEE] / 100.0
    to_base = 0 if s[BASE_A] < s[BASE_B] else 1
    to_quote = 0 if s[QUOTE_A] < s[QUOTE_B] else 1
    base = (s[BASE_A + 1 - to_base] - s[BASE_A + to_base]) / 2.0
    quote = (s[QUOTE_A + 1 - to_quote] - s[QUOTE_A + to_quote]) / 2.0
    s[BASE_A + 1 - to_base] -= base
    s[QUOTE_A + 1 - to_quote] -= quote
    price = (m[1][row] + m[2][row]) / 2.0
    cost = base * fee * price + quote * fee
    flags[TRANSFER_NS] = m[0][row] + np.int64(p[P_TRANSFER_DELAY] * 1e9)
    flags[TO_BASE] = to_base
    flags[TO_QUOTE] = to_quote
    s[MOVED_BASE] = base * (1.0 - fee)
    s[MOVED_QUOTE] = quote * (1.0 - fee)
    c[C_FEES] += cost
    _book(row, -cost, m[0], c, s, flags)
    _observe(row, m, p, c, s, flags)


@njit(cache=True, nogil=True)
def _inventory_decide(row, m, p, c, s, flags, entries):
    ts = m[0]
    if flags[TRANSFER_NS] != _NEVER and ts[row] >= flags[TRANSFER_NS]:
        s[BASE_A + flags[TO_BASE]] += s[MOVED_BASE]
        s[QUOTE_A + flags[TO_QUOTE]] += s[MOVED_QUOTE]
        flags[TRANSFER_NS] = _NEVER
    lacking = _imbalanced(p, s)
    if lacking != 0 and p[P_REBALANCE] == REBALANCE_TRANSFER and flags[TRANSFER_NS] == _NEVER:
        _send(row, m, p, c, s, flags)
    threshold_ab = threshold_ba = p[P_MIN_SPREAD]
    reverse = lacking if p[P_REBALANCE] == REBALANCE_REVERSE else 0
    if reverse > 0:
        threshold_ba = min(p[P_MIN_SPREAD], p[P_REBALANCE_SPREAD])
    elif reverse < 0:
        threshold_ab = min(p[P_MIN_SPREAD], p[P_REBALANCE_SPREAD])
    direction = _entry_direction(row, threshold_ab, threshold_ba, m, p, c, s, flags, entries)
    if direction == 0:
        return
    row_a, row_b = _row_after(row, p[P_LATENCY_A], ts), _row_after(row, p[P_LATENCY_B], ts)
    last = ts.shape[0] - 1
    if row_a > last or row_b > last:
        return
    if direction > 0:
        bought, fee, quote, base = _price(row_b, 1, 1, m, p), p[P_FEE_B] / 1e4, s[QUOTE_B], s[BASE_A]
    else:
        bought, fee, quote, base = _price(row_a, 0, 1, m, p), p[P_FEE_A] / 1e4, s[QUOTE_A], s[BASE_B]
    cost_each = bought * (1.0 + max(fee, 0.0)) * (1.0 + 1e-12)
    limit = max(0.0, min(p[P_MAX_POSITION] / bought, quote / cost_each, base))
    quantity = _executable(row_a, row_b, direction, limit, m, p)
    if quantity > 0:
        evens_out = reverse != 0 and reverse == -direction
        _order(row_a, row_b, direction, quantity, R_REBALANCE if evens_out else R_ENTRY, s, flags)
        _entered(row, ts, p, flags, entries)


@njit(cache=True, nogil=True)
def _inventory_apply(row, m, p, c, s, flags, out):
    quantity = s[ORDER_QUANTITY]
    for venue in range(2):
        leg_row = flags[ORDER_ROW_A] if venue == 0 else flags[ORDER_ROW_B]
        side = -flags[ORDER_DIRECTION] if venue == 0 else flags[ORDER_DIRECTION]
        notional = quantity * _price(leg_row, venue, side, m, p)
        fee = notional * (p[P_FEE_A] if venue == 0 else p[P_FEE_B]) / 1e4
        s[QUOTE_A + venue] += -side * notional - fee
        s[BASE_A + venue] += side * quantity
    result = _settle(m, p, c, s, flags, out)
    _book(row, result, m[0], c, s, flags)
    _close_trade(row, result, m[0], p, c, flags)
    flags[SIGNALLED] = 0
    _observe(row, m, p, c, s, flags)


@njit(cache=True, nogil=True)
def _start(m, p, s, flags):
    s[:] = 0.0
    flags[:] = 0
    s[CAPITAL] = p[P_CAPITAL]
    s[PEAK] = p[P_CAPITAL]
    flags[TODAY] = -1
    flags[COOLING_UNTIL] = _NEVER
    flags[TRANSFER_NS] = _NEVER
    flags[DUE_ROW] = _NONE
    if p[P_STRATEGY] != CONVERGENCE:
        share = p[P_BASE_SHARE]
        price = (m[1][0] + m[2][0]) / 2.0 if m[0].shape[0] > 0 else 1.0
        s[QUOTE_A] = p[P_CAPITAL] * (1.0 - share) / 2.0
        s[QUOTE_B] = s[QUOTE_A]
        s[BASE_A] = p[P_CAPITAL] * share / 2.0 / price
        s[BASE_B] = s[BASE_A]


@njit(cache=True, nogil=True)
def _decide(row, m, p, c, s, flags, entries):
    if p[P_STRATEGY] != CONVERGENCE:
        _inventory_decide(row, m, p, c, s, flags, entries)
    elif flags[DIRECTION] == 0:
        _convergence_entry(row, m, p, c, s, flags, entries)
    else:
        _convergence_exit(row, m, p, s, flags)


@njit(cache=True, nogil=True)
def _apply(row, m, p, c, s, flags, out):
    if p[P_STRATEGY] != CONVERGENCE:
        _inventory_apply(row, m, p, c, s, flags, out)
    else:
        _convergence_apply(row, m, p, c, s, flags, out)
    flags[DUE_ROW] = _NONE


@njit(cache=True, nogil=True)
def walk(m, p, c, grid, out):
    """Run one row of parameters `p` over a market `m` (the columns of `Market.columns()`).

    Adds to the counts `c`, writes equity at the grid points to `grid`, and fills to `out` while there is room;
    returns how many fills there were.
    """
    ts = m[0]
    n = ts.shape[0]
    s = np.empty(N_STATE)
    flags = np.empty(N_FLAGS, dtype=np.int64)
    entries = np.zeros(max(1, np.int64(p[P_MAX_TRADES])), dtype=np.int64)
    _start(m, p, s, flags)
    points, done_points = grid.shape[0], 0
    grid_ns = max(1, np.int64(p[P_GRID] * 1e9))
    decide_from = 0
    for row in range(n):
        while done_points < points - 1 and ts[0] + (done_points + 1) * grid_ns < ts[row]:
            grid[done_points] = _observe(row - 1, m, p, c, s, flags)
            done_points += 1
        if flags[DUE_ROW] == row:
            _apply(row, m, p, c, s, flags, out)
            decide_from = row + 1
        if flags[DUE_ROW] < 0 and row >= decide_from:
            _decide(row, m, p, c, s, flags, entries)
            if flags[DUE_ROW] == row:
                _apply(row, m, p, c, s, flags, out)
    while done_points < points:
        grid[done_points] = _observe(n - 1, m, p, c, s, flags)
        done_points += 1
    if n > 0:
        c[C_SPAN] = (ts[n - 1] - ts[0]) / 1e9
        if flags[DIRECTION] != 0:
            c[C_MARK] = _mark(n - 1, m, s, flags)
            c[C_EXPOSURE] += (ts[n - 1] - flags[OPENED_NS]) / 1e9
    c[C_BREAKER] = 1.0 if flags[TRIPPED] != 0 else 0.0
    return flags[N_FILLS]


@njit(cache=True, nogil=True)
def walk_many(m, rows, counts, grids):
    """`walk` for every row of parameters, without fills."""
    nothing = np.empty((0, FILL_FIELDS))
    for i in range(rows.shape[0]):
        walk(m, rows[i], counts[i], grids[i], nothing)
