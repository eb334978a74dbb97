"""The compiled convergence strategy: `ConvergenceRun`, as loops over numbers. It says what it waits for next."""

from __future__ import annotations

import numpy as np

from arbd.paper import kernel_state as k
from arbd.paper.compiled import jit
from arbd.paper.kernel_execution import (
    book_result,
    close_trade,
    entered,
    entry_direction,
    executable,
    last_of_stretch,
    observe,
    order,
    price_at,
    row_after,
    row_at,
    settle,
    shown_at,
)


@jit
def convergence_entry(i, row, m, p, s, f, entries):
    threshold = p[i, k.P_MIN_SPREAD]
    direction = entry_direction(i, row, threshold, threshold, m, p, s, f, entries)
    if direction == 0:
        return
    row_a, row_b = row_after(row, p[i, k.P_LATENCY_A], 0, m), row_after(row, p[i, k.P_LATENCY_B], 1, m)
    last = last_of_stretch(i, row, m, f)
    if row_a > last or row_b > last:
        return
    bought = price_at(row_b, 1, 1, m, p, i) if direction > 0 else price_at(row_a, 0, 1, m, p, i)
    quantity = executable(row_a, row_b, direction, p[i, k.P_MAX_POSITION] / bought, m, p, i)
    if quantity > 0:
        order(i, row_a, row_b, direction, quantity, k.R_ENTRY, s, f)
        entered(i, row, m, p, f, entries)


@jit
def exit_reason(i, row, m, p, s, f):
    cost_pct = -m[k.BA][row] if f[i, k.DIRECTION] > 0 else -m[k.AB][row]
    gain_pct = s[i, k.ENTRY_EDGE] - cost_pct
    if f[i, k.TRIPPED] != 0:
        return k.R_BREAKER
    if p[i, k.P_STOP_LOSS] > 0 and gain_pct <= -p[i, k.P_STOP_LOSS]:
        return k.R_LOSS
    if p[i, k.P_TAKE_PROFIT] > 0 and gain_pct >= p[i, k.P_TAKE_PROFIT]:
        return k.R_PROFIT
    if cost_pct <= p[i, k.P_EXIT_SPREAD]:
        return k.R_EXIT
    if row >= f[i, k.HOLD_ROW]:
        return k.R_HOLD
    return k.R_END if row == m[k.TS].shape[0] - 1 else k.NONE


@jit
def convergence_exit(i, row, m, p, s, f):
    reason = exit_reason(i, row, m, p, s, f)
    if reason < 0:
        f[i, k.WAIT] = k.WAIT_EXIT
        return
    f[i, k.WAIT] = k.WAIT_NEXT
    direction = -f[i, k.DIRECTION]
    last = last_of_stretch(i, row, m, f)
    row_a = min(row_after(row, p[i, k.P_LATENCY_A], 0, m), last)
    row_b = min(row_after(row, p[i, k.P_LATENCY_B], 1, m), last)
    part = p[i, k.P_PARTICIPATION]
    left = s[i, k.LEFT]
    quantity = min(left, part * shown_at(row_a, 0, -direction, m), part * shown_at(row_b, 1, direction, m))
    if quantity < left:
        quantity = executable(row_a, row_b, direction, quantity, m, p, i)
    if quantity > 0:
        order(i, row_a, row_b, direction, quantity, reason, s, f)


@jit
def convergence_open(i, row, cash, m, p, s, f):
    row_a, row_b = f[i, k.ORDER_ROW_A], f[i, k.ORDER_ROW_B]
    direction = f[i, k.ORDER_DIRECTION]
    if direction > 0:
        bought, sold = price_at(row_b, 1, 1, m, p, i), price_at(row_a, 0, -1, m, p, i)
    else:
        bought, sold = price_at(row_a, 0, 1, m, p, i), price_at(row_b, 1, -1, m, p, i)
    f[i, k.DIRECTION] = direction
    f[i, k.OPENED_NS] = m[k.TS][row]
    f[i, k.HOLD_ROW] = k.NEVER
    if p[i, k.P_MAX_HOLD] > 0:
        f[i, k.HOLD_ROW] = row_at(row, m[k.TS][row] + np.int64(p[i, k.P_MAX_HOLD] * 1e9), m)
    s[i, k.QUANTITY] = s[i, k.ORDER_QUANTITY]
    s[i, k.LEFT] = s[i, k.ORDER_QUANTITY]
    s[i, k.ENTRY_CASH] = cash
    s[i, k.ENTRY_EDGE] = (sold - bought) / bought * 100.0
    s[i, k.TRADE_RESULT] = 0.0
    f[i, k.WAIT] = k.WAIT_NEXT if f[i, k.TRIPPED] != 0 else k.WAIT_EXIT


@jit
def convergence_apply(i, row, m, p, s, f, out):
    cash = settle(i, m, p, s, f, out)
    f[i, k.DUE_ROW] = k.NONE
    if f[i, k.DIRECTION] == 0:
        convergence_open(i, row, cash, m, p, s, f)
        return
    quantity = s[i, k.ORDER_QUANTITY]
    result = s[i, k.ENTRY_CASH] * (quantity / s[i, k.QUANTITY]) + cash
    s[i, k.LEFT] -= quantity
    s[i, k.TRADE_RESULT] += result
    f[i, k.WAIT] = k.WAIT_NEXT
    if s[i, k.LEFT] <= 0:
        held_s = (m[k.TS][row] - f[i, k.OPENED_NS]) / 1e9
        s[i, k.C_HOLD] += held_s
        s[i, k.C_EXPOSURE] += held_s
        f[i, k.DIRECTION] = 0
        f[i, k.SIGNALLED] = 0
        f[i, k.WAIT] = k.WAIT_ENTRY
    book_result(i, row, result, m, s, f)
    if f[i, k.DIRECTION] == 0:
        close_trade(i, row, s[i, k.TRADE_RESULT], m, p, s, f)
    observe(i, row, m, p, s, f)


@jit
def close_before_gap(i, row, m, p, s, f, out):
    """What is open at the last quote before a gap is closed there, whole and at once."""
    if f[i, k.DIRECTION] != 0 and f[i, k.DUE_ROW] < 0 and row < m[k.TS].shape[0] - 1 and last_of_stretch(i, row, m, f) == row:
        order(i, row, row, -f[i, k.DIRECTION], s[i, k.LEFT], k.R_GAP, s, f)
        convergence_apply(i, row, m, p, s, f, out)
