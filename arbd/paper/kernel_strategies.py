"""The compiled strategies: `ConvergenceRun` and `InventoryRun`, as loops over numbers."""

from __future__ import annotations

import numpy as np

from arbd.paper.compiled import jit
from arbd.paper.kernel_execution import (
    book,
    close_trade,
    entered,
    entry_direction,
    executable,
    observe,
    order,
    price_at,
    row_after,
    settle,
    shown_at,
)
from arbd.paper.kernel_state import (
    BASE_A,
    BASE_B,
    C_EXPOSURE,
    C_FEES,
    C_HOLD,
    CAPITAL,
    DIRECTION,
    DUST,
    ENTRY_CASH,
    ENTRY_EDGE,
    LEFT,
    MOVED_BASE,
    MOVED_QUOTE,
    NEVER,
    NONE,
    OPENED_NS,
    ORDER_DIRECTION,
    ORDER_QUANTITY,
    ORDER_ROW_A,
    ORDER_ROW_B,
    P_EXIT_SPREAD,
    P_FEE_A,
    P_FEE_B,
    P_LATENCY_A,
    P_LATENCY_B,
    P_MAX_HOLD,
    P_MAX_POSITION,
    P_MIN_SPREAD,
    P_PARTICIPATION,
    P_REBALANCE,
    P_REBALANCE_SPREAD,
    P_STOP_LOSS,
    P_STRATEGY,
    P_TAKE_PROFIT,
    P_TRANSFER_DELAY,
    P_TRANSFER_FEE,
    P_TRIGGER,
    QUANTITY,
    QUOTE_A,
    QUOTE_B,
    R_BREAKER,
    R_END,
    R_ENTRY,
    R_EXIT,
    R_HOLD,
    R_LOSS,
    R_PROFIT,
    R_REBALANCE,
    SIGNALLED,
    TO_BASE,
    TO_QUOTE,
    TRADE_RESULT,
    TRANSFER_NS,
    TRIPPED,
)
from arbd.paper.prepared import ASK_A, BID_A, CONVERGENCE, REBALANCE_REVERSE, REBALANCE_TRANSFER, UNWIND_AB, UNWIND_BA


@jit
def convergence_entry(row, m, p, c, s, flags, entries):
    ts = m[0]
    direction = entry_direction(row, p[P_MIN_SPREAD], p[P_MIN_SPREAD], m, p, c, s, flags, entries)
    if direction == 0:
        return
    row_a, row_b = row_after(row, p[P_LATENCY_A], ts), row_after(row, p[P_LATENCY_B], ts)
    last = ts.shape[0] - 1
    if row_a > last or row_b > last:
        return
    bought = price_at(row_b, 1, 1, m, p) if direction > 0 else price_at(row_a, 0, 1, m, p)
    quantity = executable(row_a, row_b, direction, p[P_MAX_POSITION] / bought, m, p)
    if quantity > 0:
        order(row_a, row_b, direction, quantity, R_ENTRY, s, flags)
        entered(row, ts, p, flags, entries)


@jit
def exit_reason(cost_pct, now_ns, is_last, p, s, flags):
    gain_pct = s[ENTRY_EDGE] - cost_pct
    held_ns = now_ns - flags[OPENED_NS]
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
    return R_END if is_last else NONE


@jit
def convergence_exit(row, m, p, s, flags):
    ts = m[0]
    last = ts.shape[0] - 1
    cost_pct = m[1][UNWIND_AB, row] if flags[DIRECTION] > 0 else m[1][UNWIND_BA, row]
    reason = exit_reason(cost_pct, ts[row], row == last, p, s, flags)
    if reason < 0:
        return
    direction = -flags[DIRECTION]
    row_a = min(row_after(row, p[P_LATENCY_A], ts), last)
    row_b = min(row_after(row, p[P_LATENCY_B], ts), last)
    part = p[P_PARTICIPATION]
    quantity = min(s[LEFT], part * shown_at(row_a, 0, -direction, m), part * shown_at(row_b, 1, direction, m))
    if quantity < s[LEFT]:
        quantity = executable(row_a, row_b, direction, quantity, m, p)
    if quantity > 0:
        order(row_a, row_b, direction, quantity, reason, s, flags)


@jit
def convergence_apply(row, m, p, c, s, flags, out):
    ts = m[0]
    direction, quantity = flags[ORDER_DIRECTION], s[ORDER_QUANTITY]
    cash = settle(m, p, c, s, flags, out)
    if flags[DIRECTION] == 0:
        row_a, row_b = flags[ORDER_ROW_A], flags[ORDER_ROW_B]
        if direction > 0:
            bought, sold = price_at(row_b, 1, 1, m, p), price_at(row_a, 0, -1, m, p)
        else:
            bought, sold = price_at(row_a, 0, 1, m, p), price_at(row_b, 1, -1, m, p)
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
    book(row, result, ts, c, s, flags)
    if flags[DIRECTION] == 0:
        close_trade(row, s[TRADE_RESULT], ts, p, c, flags)
    observe(row, m, p, c, s, flags)


@jit
def imbalanced(p, s):
    total = s[BASE_A] + s[BASE_B]
    limit = p[P_TRIGGER] * total
    if total <= 0 or s[BASE_A] == s[BASE_B]:
        return 0
    if s[BASE_A] < limit:
        return 1
    return -1 if s[BASE_B] < limit else 0


@jit
def send(row, m, p, c, s, flags):
    fee = p[P_TRANSFER_FEE] / 100.0
    to_base = 0 if s[BASE_A] < s[BASE_B] else 1
    to_quote = 0 if s[QUOTE_A] < s[QUOTE_B] else 1
    base = (s[BASE_A + 1 - to_base] - s[BASE_A + to_base]) / 2.0
    quote = (s[QUOTE_A + 1 - to_quote] - s[QUOTE_A + to_quote]) / 2.0
    s[BASE_A + 1 - to_base] -= base
    s[QUOTE_A + 1 - to_quote] -= quote
    price = (m[1][BID_A, row] + m[1][ASK_A, row]) / 2.0
    cost = base * fee * price + quote * fee
    flags[TRANSFER_NS] = m[0][row] + np.int64(p[P_TRANSFER_DELAY] * 1e9)
    flags[TO_BASE] = to_base
    flags[TO_QUOTE] = to_quote
    s[MOVED_BASE] = base * (1.0 - fee)
    s[MOVED_QUOTE] = quote * (1.0 - fee)
    c[C_FEES] += cost
    book(row, -cost, m[0], c, s, flags)
    observe(row, m, p, c, s, flags)


@jit
def thresholds(lacking, p):
    """The edges at which to sell A and at which to sell B, lower where that evens balances out."""
    lowered = min(p[P_MIN_SPREAD], p[P_REBALANCE_SPREAD])
    if p[P_REBALANCE] != REBALANCE_REVERSE or lacking == 0:
        return p[P_MIN_SPREAD], p[P_MIN_SPREAD]
    if lacking > 0:
        return p[P_MIN_SPREAD], lowered
    return lowered, p[P_MIN_SPREAD]


@jit
def inventory_decide(row, m, p, c, s, flags, entries):
    ts = m[0]
    if flags[TRANSFER_NS] != NEVER and ts[row] >= flags[TRANSFER_NS]:
        s[BASE_A + flags[TO_BASE]] += s[MOVED_BASE]
        s[QUOTE_A + flags[TO_QUOTE]] += s[MOVED_QUOTE]
        flags[TRANSFER_NS] = NEVER
    lacking = imbalanced(p, s)
    if lacking != 0 and p[P_REBALANCE] == REBALANCE_TRANSFER and flags[TRANSFER_NS] == NEVER:
        send(row, m, p, c, s, flags)
    reverse = lacking if p[P_REBALANCE] == REBALANCE_REVERSE else 0
    threshold_ab, threshold_ba = thresholds(lacking, p)
    direction = entry_direction(row, threshold_ab, threshold_ba, m, p, c, s, flags, entries)
    if direction == 0:
        return
    fee, quote, base = p[P_FEE_A] / 1e4, s[QUOTE_A], s[BASE_B]
    if direction > 0:
        fee, quote, base = p[P_FEE_B] / 1e4, s[QUOTE_B], s[BASE_A]
    if quote < DUST * s[CAPITAL] or base <= 0:
        return
    row_a, row_b = row_after(row, p[P_LATENCY_A], ts), row_after(row, p[P_LATENCY_B], ts)
    last = ts.shape[0] - 1
    if row_a > last or row_b > last:
        return
    bought = price_at(row_b, 1, 1, m, p) if direction > 0 else price_at(row_a, 0, 1, m, p)
    cost_each = bought * (1.0 + max(fee, 0.0)) * (1.0 + 1e-12)
    limit = min(p[P_MAX_POSITION] / bought, quote / cost_each, base)
    if limit * bought < DUST * s[CAPITAL]:
        return
    quantity = executable(row_a, row_b, direction, limit, m, p)
    if quantity > 0:
        evens_out = reverse != 0 and reverse == -direction
        order(row_a, row_b, direction, quantity, R_REBALANCE if evens_out else R_ENTRY, s, flags)
        entered(row, ts, p, flags, entries)


@jit
def inventory_apply(row, m, p, c, s, flags, out):
    quantity = s[ORDER_QUANTITY]
    for venue in range(2):
        leg_row = flags[ORDER_ROW_A] if venue == 0 else flags[ORDER_ROW_B]
        side = -flags[ORDER_DIRECTION] if venue == 0 else flags[ORDER_DIRECTION]
        notional = quantity * price_at(leg_row, venue, side, m, p)
        fee = notional * (p[P_FEE_A] if venue == 0 else p[P_FEE_B]) / 1e4
        s[QUOTE_A + venue] += -side * notional - fee
        s[BASE_A + venue] += side * quantity
    result = settle(m, p, c, s, flags, out)
    book(row, result, m[0], c, s, flags)
    close_trade(row, result, m[0], p, c, flags)
    flags[SIGNALLED] = 0
    observe(row, m, p, c, s, flags)


@jit
def skip_quiet(row, ts, edge_ab, edge_ba, cost_ab, cost_ba, until_ns, p, s, flags):
    """The first quote from `row` on, not after `until_ns`, at which deciding has an effect beyond signals.

    A loop over numbers alone: most quotes are quiet, and a call per quote costs far more than looking at it.
    """
    if p[P_STRATEGY] == CONVERGENCE:
        if flags[DIRECTION] != 0:
            return _skip_holding(row, ts, cost_ab if flags[DIRECTION] > 0 else cost_ba, until_ns, p, s, flags)
        return _skip_flat(row, ts, edge_ab, edge_ba, until_ns, p[P_MIN_SPREAD], p[P_MIN_SPREAD], flags)
    threshold_ab, threshold_ba = thresholds(imbalanced(p, s), p)
    if p[P_REBALANCE] == REBALANCE_TRANSFER:
        if flags[TRANSFER_NS] != NEVER:
            until_ns = min(until_ns, flags[TRANSFER_NS] - 1)
        elif imbalanced(p, s) != 0:
            return row
    if flags[SIGNALLED] != 0:
        # A stretch whose direction the balances cannot pay for goes on without effect.
        starved_ab = s[QUOTE_B] < DUST * s[CAPITAL] or s[BASE_A] <= 0
        starved_ba = s[QUOTE_A] < DUST * s[CAPITAL] or s[BASE_B] <= 0
        if starved_ab or starved_ba:
            row = _skip_starved(row, ts, edge_ab, edge_ba, until_ns, threshold_ab, threshold_ba, starved_ab, starved_ba)
    return _skip_flat(row, ts, edge_ab, edge_ba, until_ns, threshold_ab, threshold_ba, flags)


@jit
def _skip_starved(row, ts, edge_ab, edge_ba, until_ns, threshold_ab, threshold_ba, starved_ab, starved_ba):
    n = ts.shape[0]
    while row < n and ts[row] <= until_ns:
        wants_ab, wants_ba = edge_ab[row] >= threshold_ab, edge_ba[row] >= threshold_ba
        if not ((wants_ab and starved_ab and not wants_ba) or (wants_ba and starved_ba and not wants_ab)):
            break
        row += 1
    return row


@jit
def _skip_flat(row, ts, edge_ab, edge_ba, until_ns, threshold_ab, threshold_ba, flags):
    n, first = ts.shape[0], row
    while row < n and ts[row] <= until_ns and edge_ab[row] < threshold_ab and edge_ba[row] < threshold_ba:
        row += 1
    if row > first:
        flags[SIGNALLED] = 0
    return row


@jit
def _skip_holding(row, ts, cost_pct, until_ns, p, s, flags):
    if flags[TRIPPED] != 0:
        return row
    last = ts.shape[0] - 1
    entry_edge, stop, take, exit_at = s[ENTRY_EDGE], p[P_STOP_LOSS], p[P_TAKE_PROFIT], p[P_EXIT_SPREAD]
    if p[P_MAX_HOLD] > 0:
        until_ns = min(until_ns, flags[OPENED_NS] + np.int64(p[P_MAX_HOLD] * 1e9) - 1)
    while row < last and ts[row] <= until_ns:
        cost = cost_pct[row]
        gain = entry_edge - cost
        if cost <= exit_at or (stop > 0 and gain <= -stop) or (take > 0 and gain >= take):
            break
        row += 1
    return row
