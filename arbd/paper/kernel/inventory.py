"""The compiled inventory strategy: `InventoryRun`, as loops over numbers. It says what it waits for next."""

from __future__ import annotations

import numpy as np

from arbd.paper import fills
from arbd.paper.compiled import jit_part
from arbd.paper.kernel.execution import (
    book_result,
    close_trade,
    entered,
    entry_direction,
    fee_at,
    hedged,
    leg_row,
    mark,
    mid_at,
    observe,
    rate_at,
    send,
    send_hedge,
    settle_leg,
    sign_of,
)
from arbd.paper.kernel.memory import float_at, int_at, put_float
from arbd.paper.kernel.records import plain
from arbd.paper.kernel.search import row_at
from arbd.paper.kernel.state import (
    BASE,
    LOT,
    NEVER,
    NONE,
    QUANTITY,
    QUOTE,
    WAIT_ENTRY,
    WAIT_NEXT,
    WAIT_STARVED_AB,
    WAIT_STARVED_BA,
)
from arbd.paper.kernel.venue import at_most, below_touch, price_at, round_down, seen_row, sendable
from arbd.paper.market.prepared import DUST, DUST_SHARE, MARK_MARKET, REBALANCE_REVERSE, REBALANCE_TRANSFER, UNWIND

BUY, SELL = np.int64(1), np.int64(-1)
# More than what rounding of two products can hide.
ENOUGH = 1.0 + 1e-15


@jit_part
def imbalanced(run):
    base_a, base_b = float_at(run.own, BASE), float_at(run.own, BASE + 1)
    total = base_a + base_b
    limit = run.rebalance_trigger * total
    if total <= 0 or base_a == base_b:
        return 0
    if base_a < limit:
        return 1
    return -1 if base_b < limit else 0


@jit_part
def move_half(own, kind, rate):
    """Take half the difference between the venues off the larger balance; that, and the venue it goes to.

    `rate` is what a unit of B's balance is worth, and of what is moved.
    """
    a, kept = float_at(own, kind), float_at(own, kind + 1)
    b = kept * rate
    if a < b:
        half = (b - a) / 2.0
        put_float(own, kind + 1, kept - half / rate)
        return half, 0
    half = (a - b) / 2.0
    put_float(own, kind, a - half)
    return half, 1


@jit_part
def transfer_half(x, run, row):
    fee = run.transfer_fee_pct / 100.0
    base, run.to_base = move_half(run.own, BASE, 1.0)
    quote, run.to_quote = move_half(run.own, QUOTE, rate_at(x, run, row, 1))
    cost = base * fee * mid_at(x, row) + quote * fee
    run.in_transit = 1
    run.transfer_row = row_at(x, row, int_at(x.ts, row) + np.int64(run.transfer_delay_s * 1e9))
    run.moved_base = base * (1.0 - fee)
    run.moved_quote = quote * (1.0 - fee) / rate_at(x, run, row, run.to_quote)
    run.fees += cost
    book_result(x, run, row, -cost)
    observe(x, run, row)


@jit_part
def receive(run):
    at = BASE + run.to_base
    put_float(run.own, at, float_at(run.own, at) + run.moved_base)
    at = QUOTE + run.to_quote
    put_float(run.own, at, float_at(run.own, at) + run.moved_quote)
    run.in_transit = 0
    run.transfer_row = NEVER


@jit_part
def thresholds(run, lacking):
    """The edges at which to sell A and at which to sell B, lower where that evens balances out."""
    ab, ba = run.min_spread_ab_pct, run.min_spread_ba_pct
    if run.rebalance != REBALANCE_REVERSE or lacking == 0:
        return ab, ba
    if lacking > 0:
        return ab, min(ba, run.rebalance_spread_pct)
    return min(ab, run.rebalance_spread_pct), ba


@jit_part
def quote_of(x, run, row, venue):
    """A balance of quote currency, in A's."""
    return float_at(run.own, QUOTE + venue) * rate_at(x, run, row, venue)


@jit_part
def payable(x, run, row, venue, price, quantity):
    """A quantity, or what the balance pays for of it. Whether it is enough is told without a division, if clearly so."""
    cost = price * (1.0 + max(fee_at(x, run, row, venue), 0.0)) * (1.0 + 1e-12)
    quote = quote_of(x, run, row, venue)
    return quantity if quantity * cost * ENOUGH <= quote else min(quantity, quote / cost)


@jit_part
def inventory_decide(x, run, row):
    if run.in_transit != 0 and row >= run.transfer_row:
        receive(run)
    lacking = imbalanced(run)
    if lacking != 0 and run.rebalance == REBALANCE_TRANSFER and run.in_transit == 0:
        transfer_half(x, run, row)
    reverse = lacking if run.rebalance == REBALANCE_REVERSE else 0
    threshold_ab, threshold_ba = thresholds(run, lacking)
    direction = entry_direction(x, run, row, threshold_ab, threshold_ba)
    if direction == 0:
        return
    buy, sell = (np.int64(1), np.int64(0)) if direction > 0 else (np.int64(0), np.int64(1))
    if quote_of(x, run, row, buy) < DUST_SHARE * run.initial_capital or float_at(run.own, BASE + sell) <= 0:
        if plain(x) or ((x.sigma_ab == 0 or run.entry_sigma <= 0) and run.mark != MARK_MARKET):
            run.wait = WAIT_STARVED_AB if direction > 0 else WAIT_STARVED_BA
        return
    row_buy, row_sell = seen_row(x, row, buy), seen_row(x, row, sell)
    price = price_at(x, run, row_buy, buy, BUY)
    quantity = min(run.max_position / price, float_at(run.own, BASE + sell))
    quantity = payable(x, run, row, buy, price, quantity)
    if quantity * price < DUST_SHARE * run.initial_capital:
        return
    quantity = at_most(x, run, row_sell, sell, SELL, at_most(x, run, row_buy, buy, BUY, quantity))
    larger = buy if float_at(run.own, LOT + buy) > float_at(run.own, LOT + sell) else sell
    quantity = round_down(x, run, larger, quantity)
    bought, sold = round_down(x, run, buy, quantity), round_down(x, run, sell, quantity)
    if sendable(x, run, row_buy, buy, BUY, bought) and sendable(x, run, row_sell, sell, SELL, sold):
        reason = fills.REBALANCE if reverse == -direction else fills.ENTRY
        if direction > 0:
            send(x, run, row, direction, sold, bought, reason)
        else:
            send(x, run, row, direction, bought, sold, reason)
        entered(x, run, row)
        run.pair_direction = direction
        run.trade_result = 0.0
        run.pair_filled = 0.0


@jit_part
def flow(run, quantity, cash):
    """Base that came (or went, below zero) for cash; what that realises against what came before."""
    if run.net * quantity >= 0:
        run.net += quantity
        run.net_cash += cash
        return 0.0
    if quantity == -run.net:
        # All of both: the shares below would be 1.
        realized = run.net_cash + cash
        run.net = 0.0
        run.net_cash = 0.0
        return realized
    matched = min(abs(quantity), abs(run.net))
    before, now = run.net_cash * (matched / abs(run.net)), cash * (matched / abs(quantity))
    if matched < abs(quantity):
        run.net_cash = cash - now
    else:
        run.net_cash = run.net_cash - before
    run.net += quantity
    return before + now


@jit_part
def inventory_leg(x, run, venue):
    """A leg meets its quote; what it realises."""
    side, row = sign_of(run.order_direction, venue), leg_row(run, venue)
    base, ordered = float_at(run.own, BASE + venue), float_at(run.own, QUANTITY + venue)
    price = price_at(x, run, row, venue, side)
    most = base
    if side > 0:
        wanted = np.inf if below_touch(x, run) > 0 else ordered
        most = payable(x, run, row, venue, price, wanted)
    if min(most, ordered) * price < DUST_SHARE * run.initial_capital:
        most = 0.0
    filled, _, cash = settle_leg(x, run, venue, most, False)
    if filled <= 0:
        return 0.0
    put_float(run.own, QUOTE + venue, float_at(run.own, QUOTE + venue) + cash / rate_at(x, run, row, venue))
    if side > 0:
        put_float(run.own, BASE + venue, base + filled)
    else:
        left = base - filled
        put_float(run.own, BASE + venue, 0.0 if left < DUST * filled else left)
    run.pair_filled = max(run.pair_filled, filled)
    return flow(run, side * filled, cash)


@jit_part
def inventory_apply(x, run, row, last):
    """The legs that fill up to a row have, as far as they did."""
    run.due_row = NONE
    result = 0.0
    for venue in range(2):
        if float_at(run.own, QUANTITY + venue) > 0 and leg_row(run, venue) <= last:
            result += inventory_leg(x, run, venue)
    if abs(run.net) < DUST * run.pair_filled:
        result += run.net_cash
        run.net = 0.0
        run.net_cash = 0.0
    book_result(x, run, row, result)
    run.trade_result += result
    run.wait = WAIT_NEXT
    if run.over == 0 and run.net != 0 and run.pair_filled > 0 and inventory_balance(x, run, row):
        return
    hedged(x, run, row)
    if run.pair_filled > 0:
        close_trade(x, run, row, run.trade_result)
        run.signalled = 0
        sends = run.rebalance == REBALANCE_TRANSFER and run.in_transit == 0 and imbalanced(run) != 0
        run.wait = WAIT_NEXT if sends else WAIT_ENTRY
        observe(x, run, row)


@jit_part
def inventory_balance(x, run, row):
    """Whether an order was sent for what legs did not match."""
    side = SELL if run.net > 0 else BUY
    short = np.int64(0 if (side < 0) == (run.pair_direction > 0) else 1)
    for turn in range(2):
        hedges = (turn == 0) == (run.unhedged != UNWIND)
        venue = short if hedges else 1 - short
        pays, seen = float_at(run.own, BASE + venue), seen_row(x, row, venue)
        price = price_at(x, run, seen, venue, side)
        if side > 0:
            pays = payable(x, run, row, venue, price, np.inf)
        quantity = round_down(x, run, venue, min(abs(run.net), pays))
        if quantity * price >= DUST_SHARE * run.initial_capital and sendable(x, run, seen, venue, side, quantity):
            send_hedge(x, run, row, venue, side, quantity, fills.HEDGE if hedges else fills.UNWIND)
            return True
    return False


@jit_part
def inventory_finish(x, run, row):
    """Legs that fill before the end do; what they did not match is valued at the last quote."""
    run.over = 1
    if run.due_row >= 0:
        run.due_row = NONE
        for venue in range(2):
            if float_at(run.own, QUANTITY + venue) > 0 and leg_row(run, venue) <= row:
                inventory_apply(x, run, row, row)
                break
    run.open_mark = mark(x, run, row)
    hedged(x, run, row)
