"""The compiled inventory strategy: `InventoryRun`, as loops over numbers. It says what it waits for next."""

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
    price_at,
    row_after,
    row_at,
    settle,
)
from arbd.paper.kernel.memory import int_at
from arbd.paper.kernel.state import NEVER, NONE, WAIT_ENTRY, WAIT_NEXT, WAIT_STARVED_AB, WAIT_STARVED_BA, book_at
from arbd.paper.market.prepared import DUST_SHARE, REBALANCE_REVERSE, REBALANCE_TRANSFER


@jit
def imbalanced(run):
    total = run.base_a + run.base_b
    limit = run.rebalance_trigger * total
    if total <= 0 or run.base_a == run.base_b:
        return 0
    if run.base_a < limit:
        return 1
    return -1 if run.base_b < limit else 0


@jit
def send(x, run, row):
    fee = run.transfer_fee_pct / 100.0
    run.to_base = 0 if run.base_a < run.base_b else 1
    run.to_quote = 0 if run.quote_a < run.quote_b else 1
    if run.to_base == 0:
        base = (run.base_b - run.base_a) / 2.0
        run.base_b -= base
    else:
        base = (run.base_a - run.base_b) / 2.0
        run.base_a -= base
    if run.to_quote == 0:
        quote = (run.quote_b - run.quote_a) / 2.0
        run.quote_b -= quote
    else:
        quote = (run.quote_a - run.quote_b) / 2.0
        run.quote_a -= quote
    book = book_at(x.book, row)
    price = (book.bid_a + book.ask_a) / 2.0
    cost = base * fee * price + quote * fee
    run.in_transit = 1
    run.transfer_row = row_at(x, row, int_at(x.ts, row) + np.int64(run.transfer_delay_s * 1e9))
    run.moved_base = base * (1.0 - fee)
    run.moved_quote = quote * (1.0 - fee)
    run.fees += cost
    book_result(x, run, row, -cost)
    observe(x, run, row)


@jit
def receive(run):
    if run.to_base == 0:
        run.base_a += run.moved_base
    else:
        run.base_b += run.moved_base
    if run.to_quote == 0:
        run.quote_a += run.moved_quote
    else:
        run.quote_b += run.moved_quote
    run.in_transit = 0
    run.transfer_row = NEVER


@jit
def thresholds(run, lacking):
    """The edges at which to sell A and at which to sell B, lower where that evens balances out."""
    if run.rebalance != REBALANCE_REVERSE or lacking == 0:
        return run.min_spread_pct, run.min_spread_pct
    lowered = min(run.min_spread_pct, run.rebalance_spread_pct)
    if lacking > 0:
        return run.min_spread_pct, lowered
    return lowered, run.min_spread_pct


@jit
def inventory_decide(x, run, row):
    if run.in_transit != 0 and row >= run.transfer_row:
        receive(run)
    lacking = imbalanced(run)
    if lacking != 0 and run.rebalance == REBALANCE_TRANSFER and run.in_transit == 0:
        send(x, run, row)
    reverse = lacking if run.rebalance == REBALANCE_REVERSE else 0
    threshold_ab, threshold_ba = thresholds(run, lacking)
    direction = entry_direction(x, run, row, threshold_ab, threshold_ba)
    if direction == 0:
        return
    fee, quote, base = run.fee_a_bps / 1e4, run.quote_a, run.base_b
    if direction > 0:
        fee, quote, base = run.fee_b_bps / 1e4, run.quote_b, run.base_a
    if quote < DUST_SHARE * run.initial_capital or base <= 0:
        run.wait = WAIT_STARVED_AB if direction > 0 else WAIT_STARVED_BA
        return
    row_a, row_b = row_after(x, row, run.latency_a_ms, np.int64(0)), row_after(x, row, run.latency_b_ms, np.int64(1))
    if max(row_a, row_b) > last_of_stretch(x, run, row):
        return
    bought = bought_at(x, run, row_a, row_b, direction)
    cost_each = bought * (1.0 + max(fee, 0.0)) * (1.0 + 1e-12)
    limit = min(run.max_position / bought, quote / cost_each, base)
    if limit * bought < DUST_SHARE * run.initial_capital:
        return
    quantity = executable(x, run, row_a, row_b, direction, limit)
    if quantity > 0:
        evens_out = reverse != 0 and reverse == -direction
        order(run, row_a, row_b, direction, quantity, np.int64(fills.REBALANCE if evens_out else fills.ENTRY))
        entered(x, run, row)


@jit
def inventory_apply(x, run, row):
    quantity, direction = run.order_quantity, run.order_direction
    notional = quantity * price_at(x, run, run.order_row_a, np.int64(0), -direction)
    run.quote_a += direction * notional - notional * run.fee_a_bps / 1e4
    run.base_a += -direction * quantity
    notional = quantity * price_at(x, run, run.order_row_b, np.int64(1), direction)
    run.quote_b += -direction * notional - notional * run.fee_b_bps / 1e4
    run.base_b += direction * quantity
    result = settle(x, run)
    run.due_row = NONE
    book_result(x, run, row, result)
    close_trade(x, run, row, result)
    run.signalled = 0
    sends = run.rebalance == REBALANCE_TRANSFER and run.in_transit == 0 and imbalanced(run) != 0
    run.wait = WAIT_NEXT if sends else WAIT_ENTRY
    observe(x, run, row)
