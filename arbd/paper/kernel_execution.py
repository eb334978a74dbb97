"""The compiled engine's accounting, safety and execution: `ReferenceRun`'s methods, as loops over numbers.

Each function here mirrors one of the reference's methods, with the same operations in the same order, because the
results must be equal to the bit. No fast-math; nothing is reassociated. `i` is the run, `row` the quote; `p`, `s`, `f`
and `m` are the tables and series of `kernel_state`.
"""

from __future__ import annotations

import math

import numpy as np

from arbd.paper import kernel_state as k
from arbd.paper.compiled import jit


@jit
def mark(i, row, m, s, f):
    direction = f[i, k.DIRECTION]
    if direction == 0:
        return 0.0
    book = m[k.BOOK]
    unwound = book[row, k.BID_B] - book[row, k.ASK_A] if direction > 0 else book[row, k.BID_A] - book[row, k.ASK_B]
    return s[i, k.ENTRY_CASH] * (s[i, k.LEFT] / s[i, k.QUANTITY]) + s[i, k.LEFT] * unwound


@jit
def observe(i, row, m, p, s, f):
    equity = s[i, k.CAPITAL] + (s[i, k.C_REALIZED] + mark(i, row, m, s, f))
    s[i, k.PEAK] = max(s[i, k.PEAK], equity)
    drawdown = s[i, k.PEAK] - equity
    drawdown_pct = drawdown / s[i, k.PEAK] * 100.0
    s[i, k.C_DRAWDOWN] = max(s[i, k.C_DRAWDOWN], drawdown)
    s[i, k.C_DRAWDOWN_PCT] = max(s[i, k.C_DRAWDOWN_PCT], drawdown_pct)
    if p[i, k.P_BREAKER] > 0 and drawdown_pct >= p[i, k.P_BREAKER]:
        f[i, k.TRIPPED] = 1
    return equity


@jit
def observe_grid(i, row, m, p, s, f, grid, grid_rows):
    """Equity at all grid points whose quotes are before `row`."""
    done = f[i, k.GRID_DONE]
    while done < grid_rows.shape[0] and grid_rows[done] < row:
        grid[i, done] = observe(i, grid_rows[done], m, p, s, f)
        done += 1
    f[i, k.GRID_DONE] = done


@jit
def roll_day(i, row, m, s, f):
    day = m[k.TS][row] // k.DAY_NS
    if day != f[i, k.TODAY]:
        f[i, k.TODAY] = day
        s[i, k.TODAY_PNL] = 0.0


@jit
def book_result(i, row, amount, m, s, f):
    roll_day(i, row, m, s, f)
    s[i, k.C_REALIZED] += amount
    s[i, k.TODAY_PNL] += amount


@jit
def close_trade(i, row, result, m, p, s, f):
    s[i, k.C_TRADES] += 1
    if result > 0:
        s[i, k.C_WINS] += 1
        s[i, k.C_PROFIT] += result
    elif result < 0:
        s[i, k.C_LOSSES] += 1
        s[i, k.C_LOSS] -= result
        f[i, k.COOLING_UNTIL] = m[k.TS][row] + np.int64(p[i, k.P_COOLDOWN] * 1e9)


@jit
def refused_until(i, row, m, p, s, f, entries):
    """The time until which a safety limit surely forbids entries; that of this quote when none does."""
    roll_day(i, row, m, s, f)
    now = m[k.TS][row]
    until = now
    if f[i, k.TRIPPED] != 0:
        return k.NEVER
    if p[i, k.P_MAX_DAILY_LOSS] > 0 and s[i, k.TODAY_PNL] <= -p[i, k.P_MAX_DAILY_LOSS]:
        until = max(until, (f[i, k.TODAY] + 1) * k.DAY_NS)
    hourly = np.int64(p[i, k.P_MAX_TRADES])
    if hourly > 0 and f[i, k.N_ENTRIES] >= hourly:
        oldest = entries[f[i, k.ENTRIES_AT] + f[i, k.N_ENTRIES] % hourly]
        until = max(until, oldest + k.HOUR_NS)
    return max(until, f[i, k.COOLING_UNTIL])


@jit
def entered(i, row, m, p, f, entries):
    hourly = np.int64(p[i, k.P_MAX_TRADES])
    if hourly > 0:
        entries[f[i, k.ENTRIES_AT] + f[i, k.N_ENTRIES] % hourly] = m[k.TS][row]
    f[i, k.N_ENTRIES] += 1


@jit
def entry_direction(i, row, threshold_ab, threshold_ba, m, p, s, f, entries):
    edge_ab, edge_ba = m[k.AB][row], m[k.BA][row]
    wants_ab, wants_ba = edge_ab >= threshold_ab, edge_ba >= threshold_ba
    if not wants_ab and not wants_ba:
        f[i, k.SIGNALLED] = 0
        f[i, k.WAIT] = k.WAIT_ENTRY
        return 0
    signalled = f[i, k.SIGNALLED]
    f[i, k.SIGNALLED] = 1
    if signalled == 0:
        s[i, k.C_SIGNALS] += 1
    until_ns = refused_until(i, row, m, p, s, f, entries)
    if until_ns > m[k.TS][row]:
        if signalled == 0:
            s[i, k.C_VIOLATIONS] += 1
        f[i, k.WAIT] = k.WAIT_REFUSED
        f[i, k.WAIT_ROW] = row_at(row, until_ns, m)
        return 0
    f[i, k.WAIT] = k.WAIT_NEXT
    return 1 if wants_ab and (not wants_ba or edge_ab >= edge_ba) else -1


@jit
def row_at(row, time_ns, m):
    """The first row after `row` at or after a time; NEVER when there is none. The time table says where to look."""
    ts = m[k.TS]
    n = ts.shape[0]
    if time_ns > ts[n - 1]:
        return k.NEVER
    if time_ns <= ts[row]:
        return row + 1
    step = (time_ns - ts[0]) >> m[k.TIME_SCALE]
    low, high = max(row + 1, np.int64(m[k.TIMES][step])), np.int64(m[k.TIMES][step + 1])
    while low < high:
        middle = (low + high) // 2
        if ts[middle] < time_ns:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def row_after(row, latency_ms, venue, m):
    """The first row at or after `row` plus a latency at which the venue's quote may be traded on."""
    ts, unusable = m[k.TS], m[k.UNUSABLE]
    n = ts.shape[0]
    due = ts[row] + np.int64(latency_ms * 1e6)
    if ts[row] < due:
        # Gallop, then halve: the quote is near, and a search of the whole rest would miss the cache at every step.
        low, step = row, 1
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
        row = low
    if unusable.shape[0] > 0:
        while row < n and (unusable[row] >> venue) & 1:
            row += 1
    return row


@jit
def last_of_stretch(i, row, m, f):
    """The last row before the next gap."""
    while m[k.ENDS][f[i, k.STRETCH]] < row:
        f[i, k.STRETCH] += 1
    return m[k.ENDS][f[i, k.STRETCH]]


@jit
def price_at(row, venue, side, m, p, i):
    touch = m[k.BOOK][row, 2 * venue + (side > 0)]
    return touch * (1.0 + side * (p[i, k.P_SLIPPAGE] / 1e4))


@jit
def shown_at(row, venue, side, m):
    return m[k.BOOK][row, 4 + 2 * venue + (side > 0)]


@jit
def executable(row_a, row_b, direction, limit, m, p, i):
    part = p[i, k.P_PARTICIPATION]
    quantity = min(limit, part * shown_at(row_a, 0, -direction, m), part * shown_at(row_b, 1, direction, m))
    if p[i, k.P_LOT_STEP] > 0:
        quantity = math.floor(quantity / p[i, k.P_LOT_STEP] + 1e-9) * p[i, k.P_LOT_STEP]
    smallest = quantity * min(price_at(row_a, 0, -direction, m, p, i), price_at(row_b, 1, direction, m, p, i))
    return quantity if quantity > 0 and smallest >= p[i, k.P_MIN_NOTIONAL] else 0.0


@jit
def settle(i, m, p, s, f, out):
    """Trade both legs of the order; the cash that flows, after fees."""
    cash = 0.0
    quantity = s[i, k.ORDER_QUANTITY]
    for venue in range(2):
        row = f[i, k.ORDER_ROW_A + venue]
        side = -f[i, k.ORDER_DIRECTION] if venue == 0 else f[i, k.ORDER_DIRECTION]
        touch = m[k.BOOK][row, 2 * venue + (side > 0)]
        price = price_at(row, venue, side, m, p, i)
        notional = quantity * price
        fee = notional * p[i, k.P_FEE_A + venue] / 1e4
        slippage = quantity * abs(price - touch)
        cash += -side * notional
        cash -= fee
        s[i, k.C_FEES] += fee
        s[i, k.C_SLIPPAGE] += slippage
        s[i, k.C_NOTIONAL] += notional
        if f[i, k.N_FILLS] < out.shape[0]:
            fill = out[f[i, k.N_FILLS]]
            fill[0] = row
            fill[1] = venue
            fill[2] = side
            fill[3] = price
            fill[4] = quantity
            fill[5] = fee
            fill[6] = slippage
            fill[7] = f[i, k.ORDER_REASON]
        f[i, k.N_FILLS] += 1
    return cash


@jit
def order(i, row_a, row_b, direction, quantity, reason, s, f):
    f[i, k.ORDER_DIRECTION] = direction
    f[i, k.ORDER_ROW_A] = row_a
    f[i, k.ORDER_ROW_B] = row_b
    f[i, k.ORDER_REASON] = reason
    f[i, k.DUE_ROW] = max(row_a, row_b)
    s[i, k.ORDER_QUANTITY] = quantity
