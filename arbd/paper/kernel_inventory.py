"""The compiled inventory strategy: `InventoryRun`, as loops over numbers. It says what it waits for next."""

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
)
from arbd.paper.prepared import REBALANCE_REVERSE, REBALANCE_TRANSFER


@jit
def imbalanced(i, p, s):
    total = s[i, k.BASE_A] + s[i, k.BASE_B]
    limit = p[i, k.P_TRIGGER] * total
    if total <= 0 or s[i, k.BASE_A] == s[i, k.BASE_B]:
        return 0
    if s[i, k.BASE_A] < limit:
        return 1
    return -1 if s[i, k.BASE_B] < limit else 0


@jit
def send(i, row, m, p, s, f):
    fee = p[i, k.P_TRANSFER_FEE] / 100.0
    to_base = 0 if s[i, k.BASE_A] < s[i, k.BASE_B] else 1
    to_quote = 0 if s[i, k.QUOTE_A] < s[i, k.QUOTE_B] else 1
    base = (s[i, k.BASE_A + 1 - to_base] - s[i, k.BASE_A + to_base]) / 2.0
    quote = (s[i, k.QUOTE_A + 1 - to_quote] - s[i, k.QUOTE_A + to_quote]) / 2.0
    s[i, k.BASE_A + 1 - to_base] -= base
    s[i, k.QUOTE_A + 1 - to_quote] -= quote
    price = (m[k.BOOK][row, k.BID_A] + m[k.BOOK][row, k.ASK_A]) / 2.0
    cost = base * fee * price + quote * fee
    f[i, k.TRANSFER_ROW] = row_at(row, m[k.TS][row] + np.int64(p[i, k.P_TRANSFER_DELAY] * 1e9), m)
    f[i, k.TO_BASE] = to_base
    f[i, k.TO_QUOTE] = to_quote
    s[i, k.MOVED_BASE] = base * (1.0 - fee)
    s[i, k.MOVED_QUOTE] = quote * (1.0 - fee)
    s[i, k.C_FEES] += cost
    book_result(i, row, -cost, m, s, f)
    observe(i, row, m, p, s, f)


@jit
def thresholds(i, lacking, p):
    """The edges at which to sell A and at which to sell B, lower where that evens balances out."""
    if p[i, k.P_REBALANCE] != REBALANCE_REVERSE or lacking == 0:
        return p[i, k.P_MIN_SPREAD], p[i, k.P_MIN_SPREAD]
    lowered = min(p[i, k.P_MIN_SPREAD], p[i, k.P_REBALANCE_SPREAD])
    if lacking > 0:
        return p[i, k.P_MIN_SPREAD], lowered
    return lowered, p[i, k.P_MIN_SPREAD]


@jit
def in_transit(i, f):
    return f[i, k.TO_BASE] >= 0


@jit
def inventory_decide(i, row, m, p, s, f, entries):
    if in_transit(i, f) and row >= f[i, k.TRANSFER_ROW]:
        s[i, k.BASE_A + f[i, k.TO_BASE]] += s[i, k.MOVED_BASE]
        s[i, k.QUOTE_A + f[i, k.TO_QUOTE]] += s[i, k.MOVED_QUOTE]
        f[i, k.TRANSFER_ROW] = k.NEVER
        f[i, k.TO_BASE] = k.NONE
    lacking = imbalanced(i, p, s)
    if lacking != 0 and p[i, k.P_REBALANCE] == REBALANCE_TRANSFER and not in_transit(i, f):
        send(i, row, m, p, s, f)
    reverse = lacking if p[i, k.P_REBALANCE] == REBALANCE_REVERSE else 0
    threshold_ab, threshold_ba = thresholds(i, lacking, p)
    direction = entry_direction(i, row, threshold_ab, threshold_ba, m, p, s, f, entries)
    if direction == 0:
        return
    row_a, row_b = row_after(row, p[i, k.P_LATENCY_A], 0, m), row_after(row, p[i, k.P_LATENCY_B], 1, m)
    fee, quote, base = p[i, k.P_FEE_A] / 1e4, s[i, k.QUOTE_A], s[i, k.BASE_B]
    if direction > 0:
        fee, quote, base = p[i, k.P_FEE_B] / 1e4, s[i, k.QUOTE_B], s[i, k.BASE_A]
    if quote < k.DUST * s[i, k.CAPITAL] or base <= 0:
        f[i, k.WAIT] = k.WAIT_STARVED_AB if direction > 0 else k.WAIT_STARVED_BA
        return
    last = last_of_stretch(i, row, m, f)
    if row_a > last or row_b > last:
        return
    bought = price_at(row_b, 1, 1, m, p, i) if direction > 0 else price_at(row_a, 0, 1, m, p, i)
    cost_each = bought * (1.0 + max(fee, 0.0)) * (1.0 + 1e-12)
    limit = min(p[i, k.P_MAX_POSITION] / bought, quote / cost_each, base)
    if limit * bought < k.DUST * s[i, k.CAPITAL]:
        return
    quantity = executable(row_a, row_b, direction, limit, m, p, i)
    if quantity > 0:
        evens_out = reverse != 0 and reverse == -direction
        order(i, row_a, row_b, direction, quantity, k.R_REBALANCE if evens_out else k.R_ENTRY, s, f)
        entered(i, row, m, p, f, entries)


@jit
def inventory_apply(i, row, m, p, s, f, out):
    quantity = s[i, k.ORDER_QUANTITY]
    for venue in range(2):
        side = -f[i, k.ORDER_DIRECTION] if venue == 0 else f[i, k.ORDER_DIRECTION]
        notional = quantity * price_at(f[i, k.ORDER_ROW_A + venue], venue, side, m, p, i)
        fee = notional * p[i, k.P_FEE_A + venue] / 1e4
        s[i, k.QUOTE_A + venue] += -side * notional - fee
        s[i, k.BASE_A + venue] += side * quantity
    result = settle(i, m, p, s, f, out)
    f[i, k.DUE_ROW] = k.NONE
    book_result(i, row, result, m, s, f)
    close_trade(i, row, result, m, p, s, f)
    f[i, k.SIGNALLED] = 0
    sends = p[i, k.P_REBALANCE] == REBALANCE_TRANSFER and not in_transit(i, f) and imbalanced(i, p, s) != 0
    f[i, k.WAIT] = k.WAIT_NEXT if sends else k.WAIT_ENTRY
    observe(i, row, m, p, s, f)
