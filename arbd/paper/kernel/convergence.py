"""The compiled convergence strategy: `ConvergenceRun`, as loops over numbers. It says what it waits for next."""

from __future__ import annotations

import numpy as np

from arbd.paper import fills
from arbd.paper.compiled import jit
from arbd.paper.kernel.execution import (
    book_result,
    bought_at,
    close_trade,
    entered,
    entry_direction,
    executable,
    last_of_stretch,
    observe,
    order,
    row_after,
    row_at,
    settle,
    shown,
    sold_at,
)
from arbd.paper.kernel.memory import float_at, int_at
from arbd.paper.kernel.state import NEVER, NONE, WAIT_ENTRY, WAIT_EXIT, WAIT_NEXT


@jit
def convergence_entry(x, run, row):
    direction = entry_direction(x, run, row, run.min_spread_pct, run.min_spread_pct)
    if direction == 0:
        return
    row_a, row_b = row_after(x, row, run.latency_a_ms, np.int64(0)), row_after(x, row, run.latency_b_ms, np.int64(1))
    if max(row_a, row_b) > last_of_stretch(x, run, row):
        return
    limit = run.max_position / bought_at(x, run, row_a, row_b, direction)
    quantity = executable(x, run, row_a, row_b, direction, limit)
    if quantity > 0:
        order(run, row_a, row_b, direction, quantity, np.int64(fills.ENTRY))
        entered(x, run, row)


@jit
def exit_reason(x, run, row):
    cost_pct = -float_at(x.ba, row) if run.direction > 0 else -float_at(x.ab, row)
    gain_pct = run.entry_edge - cost_pct
    if run.tripped != 0:
        return fills.BREAKER
    if run.stop_loss_pct > 0 and gain_pct <= -run.stop_loss_pct:
        return fills.STOP_LOSS
    if run.take_profit_pct > 0 and gain_pct >= run.take_profit_pct:
        return fills.TAKE_PROFIT
    if cost_pct <= run.exit_spread_pct:
        return fills.EXIT
    if row >= run.hold_row:
        return fills.MAX_HOLD
    return fills.END if row == x.n - 1 else -1


@jit
def convergence_exit(x, run, row):
    reason = exit_reason(x, run, row)
    if reason < 0:
        run.wait = WAIT_EXIT
        return
    run.wait = WAIT_NEXT
    direction = -run.direction
    last = last_of_stretch(x, run, row)
    row_a = min(row_after(x, row, run.latency_a_ms, np.int64(0)), last)
    row_b = min(row_after(x, row, run.latency_b_ms, np.int64(1)), last)
    quantity = shown(x, run, row_a, row_b, direction, run.left)
    if quantity < run.left:
        quantity = executable(x, run, row_a, row_b, direction, quantity)
    if quantity > 0:
        order(run, row_a, row_b, direction, quantity, np.int64(reason))


@jit
def convergence_open(x, run, row, cash):
    direction = run.order_direction
    bought = bought_at(x, run, run.order_row_a, run.order_row_b, direction)
    sold = sold_at(x, run, run.order_row_a, run.order_row_b, direction)
    run.direction = direction
    run.opened_ns = int_at(x.ts, row)
    run.hold_row = NEVER
    if run.max_hold_s > 0:
        run.hold_row = row_at(x, row, run.opened_ns + np.int64(run.max_hold_s * 1e9))
    run.quantity = run.order_quantity
    run.left = run.order_quantity
    run.entry_cash = cash
    run.entry_edge = (sold - bought) / bought * 100.0
    run.trade_result = 0.0
    run.wait = WAIT_NEXT if run.tripped != 0 else WAIT_EXIT


@jit
def convergence_apply(x, run, row):
    cash = settle(x, run)
    run.due_row = NONE
    if run.direction == 0:
        convergence_open(x, run, row, cash)
        return
    result = run.entry_cash * (run.order_quantity / run.quantity) + cash
    run.left -= run.order_quantity
    run.trade_result += result
    run.wait = WAIT_NEXT
    if run.left <= 0:
        held_s = (int_at(x.ts, row) - run.opened_ns) / 1e9
        run.hold_s += held_s
        run.exposure_s += held_s
        run.direction = 0
        run.signalled = 0
        run.wait = WAIT_ENTRY
    book_result(x, run, row, result)
    if run.direction == 0:
        close_trade(x, run, row, run.trade_result)
    observe(x, run, row)


@jit
def close_before_gap(x, run, row):
    """What is open at the last quote before a gap is closed there, whole and at once."""
    if run.direction != 0 and row < x.n - 1 and last_of_stretch(x, run, row) == row:
        order(run, row, row, -run.direction, run.left, np.int64(fills.GAP))
        convergence_apply(x, run, row)
