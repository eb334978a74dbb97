"""The compiled convergence strategy: `ConvergenceRun`, as loops over numbers. It says what it waits for next."""

from __future__ import annotations

import numpy as np

from arbd.paper import fills
from arbd.paper.compiled import jit_part, jit_small
from arbd.paper.kernel.execution import (
    book_result,
    carry,
    close_trade,
    entered,
    entry_direction,
    hedged,
    last_of_stretch,
    leg_row,
    mark,
    observe,
    order,
    send,
    send_hedge,
    settle_leg,
    sign_of,
    watch_margin,
)
from arbd.paper.kernel.memory import byte_at, float_at, int_at, put_float
from arbd.paper.kernel.records import plain
from arbd.paper.kernel.search import fetch_row_before, row_at, row_before
from arbd.paper.kernel.state import (
    BASIS,
    HELD,
    NEVER,
    NONE,
    OPENED,
    PRICE,
    QUANTITY,
    WAIT_ENTRY,
    WAIT_EXIT,
    WAIT_NEXT,
)
from arbd.paper.kernel.venue import at_most, price_at, round_down, round_down_both, seen_row, sendable, subtract
from arbd.paper.market.prepared import DUST, UNWIND

A, B = np.int64(0), np.int64(1)


@jit_small
def convergence_entry(x, run, row):
    direction = entry_direction(x, run, row, run.min_spread_ab_pct, run.min_spread_ba_pct)
    if direction == 0:
        return
    row_a, row_b = seen_row(x, row, A), seen_row(x, row, B)
    quantity = run.max_position / price_at(
        x, run, row_b if direction > 0 else row_a, B if direction > 0 else A, np.int64(1)
    )
    quantity = at_most(x, run, row_a, A, -direction, quantity)
    quantity = at_most(x, run, row_b, B, direction, quantity)
    quantity = round_down_both(x, run, quantity)
    quantity_a, quantity_b = round_down(x, run, A, quantity), round_down(x, run, B, quantity)
    if sendable(x, run, row_a, A, -direction, quantity_a) and sendable(x, run, row_b, B, direction, quantity_b):
        send(x, run, row, direction, quantity_a, quantity_b, fills.ENTRY)
        entered(x, run, row)
        if run.max_hold_s > 0:
            fetch_row_before(x, int_at(x.ts, row) + np.int64(run.max_hold_s * 1e9))


@jit_small
def exit_reason(x, run, row):
    cost_pct = -float_at(x.ba, row) if run.direction > 0 else -float_at(x.ab, row)
    gain_pct = run.entry_edge - (-float_at(x.cost_ba, row) if run.direction > 0 else -float_at(x.cost_ab, row))
    if run.tripped != 0:
        return fills.BREAKER
    if run.stop_loss_pct > 0 and gain_pct <= -run.stop_loss_pct:
        return fills.STOP_LOSS
    if run.take_profit_pct > 0 and gain_pct >= run.take_profit_pct:
        return fills.TAKE_PROFIT
    if cost_pct <= run.exit_spread_pct:
        return fills.EXIT
    return fills.MAX_HOLD if int_at(x.ts, row) >= run.hold_ns else -1


@jit_small
def wait_for_exit(x, run):
    """Gains are of edges as they are: where those waited for are centred, only a look at every quote tells both."""
    by_both = not plain(x) and x.sigma_ab != 0 and (run.take_profit_pct > 0 or run.stop_loss_pct > 0)
    run.wait = WAIT_NEXT if by_both or run.tripped != 0 else WAIT_EXIT


@jit_small
def convergence_exit(x, run, row):
    reason = exit_reason(x, run, row)
    if reason < 0:
        if row >= run.hold_row:
            run.hold_row = row_at(x, row, run.hold_ns)
        wait_for_exit(x, run)
        return
    run.wait = WAIT_NEXT
    can, quantity_a, quantity_b = closing(x, run, seen_row(x, row, A), seen_row(x, row, B))
    if can:
        send(x, run, row, -run.direction, quantity_a, quantity_b, reason)


@jit_small
def closing_leg(x, run, row, venue, quantity):
    """A leg's quantity, or below zero when it cannot be sent."""
    held = float_at(run.own, HELD + venue)
    if held <= quantity:
        return held
    part = round_down(x, run, venue, quantity)
    return part if sendable(x, run, row, venue, -sign_of(run.direction, venue), part) else -1.0


@jit_small
def closing(x, run, row_a, row_b):
    """Whether both legs of an exit can be sent, and their quantities."""
    held_a, held_b = float_at(run.own, HELD), float_at(run.own, HELD + 1)
    largest = max(held_a, held_b)
    quantity = largest
    if held_a > 0:
        quantity = at_most(x, run, row_a, A, run.direction, quantity)
    if held_b > 0:
        quantity = at_most(x, run, row_b, B, -run.direction, quantity)
    if quantity < largest:
        quantity = round_down_both(x, run, quantity)
    quantity_a, quantity_b = closing_leg(x, run, row_a, A, quantity), closing_leg(x, run, row_b, B, quantity)
    return quantity_a >= 0 and quantity_b >= 0, quantity_a, quantity_b


@jit_small
def open_position(x, run, row):
    run.direction = run.order_direction
    run.opened_ns = int_at(x.ts, row)
    run.opened_row = row
    run.carry_row = row
    run.hold_row = NEVER
    run.hold_ns = NEVER
    if run.max_hold_s > 0:
        run.hold_ns = run.opened_ns + np.int64(run.max_hold_s * 1e9)
        run.hold_row = row_before(x, row, run.hold_ns)
    for at in range(HELD, OPENED + 2):
        put_float(run.own, at, 0.0)
    run.entry_edge = 0.0
    run.trade_result = 0.0


@jit_small
def pay_carry(x, run, row):
    if plain(x) or run.direction == 0 or run.carries == 0:
        run.carry_row = row
        return 0.0
    funding, borrow = carry(x, run, row)
    run.carry_row = row
    run.funding += funding
    run.borrow += borrow
    return -(funding + borrow)


@jit_small
def open_leg(run, venue, filled, price, cash):
    own = run.own
    before = float_at(own, OPENED + venue)
    if before > 0:
        price = (float_at(own, PRICE + venue) * before + filled * price) / (before + filled)
    put_float(own, PRICE + venue, price)
    put_float(own, OPENED + venue, before + filled)
    put_float(own, HELD + venue, float_at(own, HELD + venue) + filled)
    put_float(own, BASIS + venue, float_at(own, BASIS + venue) + cash)


@jit_small
def close_leg(x, run, venue, filled, cash):
    held = float_at(run.own, HELD + venue)
    left = subtract(x, run, venue, held, filled)
    part = float_at(run.own, BASIS + venue)
    basis = part
    if left > 0:
        part *= filled / held
    put_float(run.own, BASIS + venue, basis - part)
    put_float(run.own, HELD + venue, left)
    return part + cash


@jit_small
def apply_leg(x, run, row, last, venue, opens, was_open):
    """A leg that fills up to a row has, as far as it did; what that realises, and whether anything was closed."""
    at = leg_row(run, venue)
    ordered = float_at(run.own, QUANTITY + venue)
    if ordered <= 0 or at > last:
        return 0.0, False
    whole = not opens and was_open and ordered == float_at(run.own, HELD + venue)
    filled, price, cash = settle_leg(x, run, venue, np.inf, whole)
    if filled <= 0:
        return 0.0, False
    if not opens:
        return close_leg(x, run, venue, filled, cash), True
    if run.direction == 0:
        open_position(x, run, row)
    open_leg(run, venue, filled, price, cash)
    return 0.0, False


@jit_part
def convergence_apply(x, run, row, last):
    """The legs that fill up to a row have, as far as they did."""
    run.due_row = NONE
    opens = run.order_reason in (fills.ENTRY, fills.HEDGE)
    was_open = run.direction != 0
    result = pay_carry(x, run, row) if was_open else 0.0
    # Once for each venue, which the compiler then knows.
    result_a, closed_a = apply_leg(x, run, row, last, A, opens, was_open)
    result_b, closed_b = apply_leg(x, run, row, last, B, opens, was_open)
    closed = closed_a or closed_b
    result += result_a
    result += result_b
    run.wait = WAIT_NEXT
    if run.direction == 0:
        return
    if closed or (not plain(x) and run.carries != 0):
        book_result(x, run, row, result)
        run.trade_result += result
    if float_at(run.own, HELD) == 0 and float_at(run.own, HELD + 1) == 0:
        end_trade(x, run, row)
    elif not balance(x, run, row, opens) and opens:
        wait_for_exit(x, run)
    if closed:
        observe(x, run, row)
    else:
        watch_margin(x, run, row, run.initial_capital + (run.realized + mark(x, run, row)))


@jit_small
def end_trade(x, run, row):
    held_s = (int_at(x.ts, row) - run.opened_ns) / 1e9
    run.hold_s += held_s
    run.exposure_s += held_s
    run.direction = 0
    run.signalled = 0
    run.wait = WAIT_ENTRY
    hedged(x, run, row)
    close_trade(x, run, row, run.trade_result)


@jit_small
def balance(x, run, row, opens):
    """Whether an order was sent for what one leg is larger than the other."""
    own = run.own
    larger = A if float_at(own, HELD) > float_at(own, HELD + 1) else B
    smaller = 1 - larger
    excess = float_at(own, HELD + larger) - float_at(own, HELD + smaller)
    if excess >= DUST * float_at(own, HELD + larger) and run.over == 0:
        if opens and run.unhedged != UNWIND:
            side, quantity = sign_of(run.direction, smaller), round_down(x, run, smaller, excess)
            if sendable(x, run, seen_row(x, row, smaller), smaller, side, quantity):
                send_hedge(x, run, row, smaller, side, quantity, fills.HEDGE)
                return True
        side, whole = -sign_of(run.direction, larger), float_at(own, HELD + smaller) <= 0
        quantity = excess if whole else round_down(x, run, larger, excess)
        if whole or sendable(x, run, seen_row(x, row, larger), larger, side, quantity):
            send_hedge(x, run, row, larger, side, quantity, fills.UNWIND)
            return True
    hedged(x, run, row)
    if float_at(own, OPENED) > 0 and float_at(own, OPENED + 1) > 0:
        sells, buys = (A, B) if run.direction > 0 else (B, A)
        sold, bought = float_at(own, PRICE + sells), float_at(own, PRICE + buys)
        run.entry_edge = (sold - bought) / bought * 100.0
    return False


@jit_part
def void(x, run, row):
    """What is under way is void, but for legs that filled up to this row."""
    if run.due_row < 0:
        return
    run.due_row = NONE
    run.wait = WAIT_NEXT
    done_row = NONE
    for venue in range(2):
        if float_at(run.own, QUANTITY + venue) > 0 and leg_row(run, venue) <= row:
            done_row = max(done_row, leg_row(run, venue))
    if done_row >= 0:
        run.done_row = done_row
        convergence_apply(x, run, row, row)


@jit_part
def close_at(x, run, row, quantity_a, quantity_b, reason):
    """Close by settlement at a quote: no order is sent, and none is refused."""
    order(run, row, row, row, -run.direction, quantity_a, quantity_b, np.int64(reason))
    convergence_apply(x, run, row, row)


@jit_part
def close_before_gap(x, run, row):
    if plain(x) or (run.direction == 0 and run.due_row < 0) or last_of_stretch(x, run, row) != row:
        return
    run.over = 1
    void(x, run, row)
    if run.direction != 0:
        close_at(x, run, row, float_at(run.own, HELD), float_at(run.own, HELD + 1), fills.GAP)
    run.over = 0


@jit_part
def convergence_finish(x, run, row):
    """What is open is closed at the last quote as far as sizes allow, and the rest is valued there."""
    run.over = 1
    void(x, run, row)
    usable = plain(x) or x.unusable == 0 or byte_at(x.unusable, row) == 0
    opened_here = run.opened_row == row and run.done_row == row
    if run.direction != 0 and not opened_here and usable:
        can, quantity_a, quantity_b = closing(x, run, row, row)
        if can:
            close_at(x, run, row, quantity_a, quantity_b, fills.END)
    if run.direction == 0:
        return
    run.open_mark = mark(x, run, row)
    if not plain(x) and run.carries != 0:
        funding, borrow = carry(x, run, row)
        run.funding += funding
        run.borrow += borrow
    run.exposure_s += (int_at(x.ts, row) - run.opened_ns) / 1e9
    hedged(x, run, row)
