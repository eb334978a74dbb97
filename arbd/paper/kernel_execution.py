"""The compiled engine's accounting, safety and execution: `ReferenceRun`'s methods, as loops over numbers."""

from __future__ import annotations

import math

import numpy as np

from arbd.paper.compiled import jit
from arbd.paper.kernel_state import (
    C_DRAWDOWN,
    C_DRAWDOWN_PCT,
    C_FEES,
    C_LOSS,
    C_LOSSES,
    C_NOTIONAL,
    C_PROFIT,
    C_REALIZED,
    C_SIGNALS,
    C_SLIPPAGE,
    C_TRADES,
    C_VIOLATIONS,
    C_WINS,
    CAPITAL,
    COOLING_UNTIL,
    DAY_NS,
    DIRECTION,
    DUE_ROW,
    ENTRY_CASH,
    HOUR_NS,
    LEFT,
    N_ENTRIES,
    N_FILLS,
    ORDER_DIRECTION,
    ORDER_QUANTITY,
    ORDER_REASON,
    ORDER_ROW_A,
    ORDER_ROW_B,
    P_BREAKER,
    P_COOLDOWN,
    P_FEE_A,
    P_FEE_B,
    P_LOT_STEP,
    P_MAX_DAILY_LOSS,
    P_MAX_TRADES,
    P_MIN_NOTIONAL,
    P_PARTICIPATION,
    P_SLIPPAGE,
    PEAK,
    QUANTITY,
    SIGNALLED,
    TODAY,
    TODAY_PNL,
    TRIPPED,
)
from arbd.paper.prepared import (
    ASK_A,
    ASK_B,
    ASK_SIZE_A,
    ASK_SIZE_B,
    BID_A,
    BID_B,
    BID_SIZE_A,
    BID_SIZE_B,
    EDGE_AB,
    EDGE_BA,
)


@jit
def mark(row, m, s, flags):
    if flags[DIRECTION] == 0:
        return 0.0
    unwound = m[1][BID_B, row] - m[1][ASK_A, row] if flags[DIRECTION] > 0 else m[1][BID_A, row] - m[1][ASK_B, row]
    return s[ENTRY_CASH] * (s[LEFT] / s[QUANTITY]) + s[LEFT] * unwound


@jit
def observe(row, m, p, c, s, flags):
    equity = s[CAPITAL] + (c[C_REALIZED] + mark(row, m, s, flags))
    s[PEAK] = max(s[PEAK], equity)
    drawdown = s[PEAK] - equity
    drawdown_pct = drawdown / s[PEAK] * 100.0
    c[C_DRAWDOWN] = max(c[C_DRAWDOWN], drawdown)
    c[C_DRAWDOWN_PCT] = max(c[C_DRAWDOWN_PCT], drawdown_pct)
    if p[P_BREAKER] > 0 and drawdown_pct >= p[P_BREAKER]:
        flags[TRIPPED] = 1
    return equity


@jit
def roll_day(row, ts, s, flags):
    day = ts[row] // DAY_NS
    if day != flags[TODAY]:
        flags[TODAY] = day
        s[TODAY_PNL] = 0.0


@jit
def book(row, amount, ts, c, s, flags):
    roll_day(row, ts, s, flags)
    c[C_REALIZED] += amount
    s[TODAY_PNL] += amount


@jit
def close_trade(row, result, ts, p, c, flags):
    c[C_TRADES] += 1
    if result > 0:
        c[C_WINS] += 1
        c[C_PROFIT] += result
    elif result < 0:
        c[C_LOSSES] += 1
        c[C_LOSS] -= result
        flags[COOLING_UNTIL] = ts[row] + np.int64(p[P_COOLDOWN] * 1e9)


@jit
def refused(row, ts, p, s, flags, entries):
    roll_day(row, ts, s, flags)
    now = ts[row]
    if flags[TRIPPED] != 0 or (p[P_MAX_DAILY_LOSS] > 0 and s[TODAY_PNL] <= -p[P_MAX_DAILY_LOSS]):
        return True
    hourly = np.int64(p[P_MAX_TRADES])
    if hourly > 0 and flags[N_ENTRIES] >= hourly and now - entries[(flags[N_ENTRIES] - hourly) % hourly] < HOUR_NS:
        return True
    return now < flags[COOLING_UNTIL]


@jit
def entered(row, ts, p, flags, entries):
    hourly = np.int64(p[P_MAX_TRADES])
    if hourly > 0:
        entries[flags[N_ENTRIES] % hourly] = ts[row]
    flags[N_ENTRIES] += 1


@jit
def entry_direction(row, threshold_ab, threshold_ba, m, p, c, s, flags, entries):
    edge_ab, edge_ba = m[1][EDGE_AB, row], m[1][EDGE_BA, row]
    wants_ab, wants_ba = edge_ab >= threshold_ab, edge_ba >= threshold_ba
    if not wants_ab and not wants_ba:
        flags[SIGNALLED] = 0
        return 0
    if flags[SIGNALLED] == 0:
        c[C_SIGNALS] += 1
    direction = 1 if wants_ab and (not wants_ba or edge_ab >= edge_ba) else -1
    if refused(row, m[0], p, s, flags, entries):
        if flags[SIGNALLED] == 0:
            c[C_VIOLATIONS] += 1
        flags[SIGNALLED] = 1
        return 0
    flags[SIGNALLED] = 1
    return direction


@jit
def row_after(row, latency_ms, ts):
    due = ts[row] + np.int64(latency_ms * 1e6)
    if ts[row] >= due:
        return row
    # Gallop, then halve: the quote is near, and a search of the whole rest would miss the cache at every step.
    n, low, step = ts.shape[0], row, 1
    while low + step < n and ts[low + step] < due:
        low += step
        step *= 2
    low, high = low + 1, min(low + step, n)
    while low < high:
        middle = (low + high) // 2
        if ts[middle] < due:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def touch_at(row, venue, side, m):
    if venue == 0:
        return m[1][ASK_A, row] if side > 0 else m[1][BID_A, row]
    return m[1][ASK_B, row] if side > 0 else m[1][BID_B, row]


@jit
def shown_at(row, venue, side, m):
    if venue == 0:
        return m[1][ASK_SIZE_A, row] if side > 0 else m[1][BID_SIZE_A, row]
    return m[1][ASK_SIZE_B, row] if side > 0 else m[1][BID_SIZE_B, row]


@jit
def price_at(row, venue, side, m, p):
    return touch_at(row, venue, side, m) * (1.0 + side * (p[P_SLIPPAGE] / 1e4))


@jit
def executable(row_a, row_b, direction, limit, m, p):
    part = p[P_PARTICIPATION]
    quantity = min(limit, part * shown_at(row_a, 0, -direction, m), part * shown_at(row_b, 1, direction, m))
    if p[P_LOT_STEP] > 0:
        quantity = math.floor(quantity / p[P_LOT_STEP] + 1e-9) * p[P_LOT_STEP]
    smallest = quantity * min(price_at(row_a, 0, -direction, m, p), price_at(row_b, 1, direction, m, p))
    return quantity if quantity > 0 and smallest >= p[P_MIN_NOTIONAL] else 0.0


@jit
def settle(m, p, c, s, flags, out):
    """Trade both legs of the order; the cash that flows, after fees."""
    cash = 0.0
    quantity = s[ORDER_QUANTITY]
    for venue in range(2):
        row = flags[ORDER_ROW_A] if venue == 0 else flags[ORDER_ROW_B]
        side = -flags[ORDER_DIRECTION] if venue == 0 else flags[ORDER_DIRECTION]
        touch = touch_at(row, venue, side, m)
        price = price_at(row, venue, side, m, p)
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


@jit
def order(row_a, row_b, direction, quantity, reason, s, flags):
    flags[ORDER_DIRECTION] = direction
    flags[ORDER_ROW_A] = row_a
    flags[ORDER_ROW_B] = row_b
    flags[ORDER_REASON] = reason
    flags[DUE_ROW] = max(row_a, row_b)
    s[ORDER_QUANTITY] = quantity
