"""The compiled engine's accounting, safety and execution: `ReferenceRun`'s methods, as loops over numbers.

Each function here mirrors one of the reference's methods, with the same operations in the same order, because the
results must be equal to the bit. No fast-math; nothing is reassociated. `x` is the desk, `run` a run's record and
`row` a quote: see `kernel_state`.
"""

from __future__ import annotations

import math

import numpy as np

from arbd.paper.compiled import jit
from arbd.paper.kernel.memory import byte_at, float_at, int_at, put_float, put_int, small_at
from arbd.paper.kernel.state import DAY_NS, HOUR_NS, NEVER, NONE, WAIT_ENTRY, WAIT_NEXT, WAIT_REFUSED, book_at, fill_at


@jit
def mark(x, run, row):
    if run.direction == 0:
        return 0.0
    book = book_at(x.book, row)
    unwound = book.bid_b - book.ask_a if run.direction > 0 else book.bid_a - book.ask_b
    return run.entry_cash * (run.left / run.quantity) + run.left * unwound


@jit
def observe(x, run, row):
    equity = run.initial_capital + (run.realized + mark(x, run, row))
    run.peak = max(run.peak, equity)
    drawdown = run.peak - equity
    drawdown_pct = drawdown / run.peak * 100.0
    run.drawdown = max(run.drawdown, drawdown)
    run.drawdown_pct = max(run.drawdown_pct, drawdown_pct)
    if run.circuit_breaker_pct > 0 and drawdown_pct >= run.circuit_breaker_pct:
        run.tripped = 1
    return equity


@jit
def observe_grid(x, run, row):
    """Equity at all grid points whose quotes are before `row`."""
    while run.grid_done < x.n_grid:
        at = int_at(x.grid_rows, run.grid_done)
        if at >= row:
            return
        put_float(run.grid, run.grid_done, observe(x, run, at))
        run.grid_done += 1


@jit
def roll_day(x, run, row):
    day = int_at(x.ts, row) // DAY_NS
    if day != run.today:
        run.today = day
        run.today_pnl = 0.0


@jit
def book_result(x, run, row, amount):
    roll_day(x, run, row)
    run.realized += amount
    run.today_pnl += amount


@jit
def close_trade(x, run, row, result):
    run.trades += 1
    if result > 0:
        run.wins += 1
        run.profit += result
    elif result < 0:
        run.losses += 1
        run.loss -= result
        run.cooling_until_ns = int_at(x.ts, row) + np.int64(run.cooldown_s * 1e9)


@jit
def refused_until(x, run, row):
    """The time until which a safety limit surely forbids entries; at most that of this quote when none does."""
    roll_day(x, run, row)
    if run.tripped != 0:
        return NEVER
    until_ns = run.cooling_until_ns
    if run.max_daily_loss > 0 and run.today_pnl <= -run.max_daily_loss:
        until_ns = max(until_ns, (run.today + 1) * DAY_NS)
    hourly = np.int64(run.max_trades_per_hour)
    if hourly > 0 and run.n_entries >= hourly:
        until_ns = max(until_ns, int_at(run.entries, run.n_entries % hourly) + HOUR_NS)
    return until_ns


@jit
def entered(x, run, row):
    hourly = np.int64(run.max_trades_per_hour)
    if hourly > 0:
        put_int(run.entries, run.n_entries % hourly, int_at(x.ts, row))
    run.n_entries += 1


@jit
def entry_direction(x, run, row, threshold_ab, threshold_ba):
    edge_ab, edge_ba = float_at(x.ab, row), float_at(x.ba, row)
    wants_ab, wants_ba = edge_ab >= threshold_ab, edge_ba >= threshold_ba
    if not wants_ab and not wants_ba:
        run.signalled = 0
        run.wait = WAIT_ENTRY
        return 0
    news = run.signalled == 0
    run.signalled = 1
    if news:
        run.signals += 1
    until_ns = refused_until(x, run, row)
    if until_ns > int_at(x.ts, row):
        if news:
            run.violations += 1
        run.wait = WAIT_REFUSED
        run.wait_row = row_at(x, row, until_ns)
        return 0
    run.wait = WAIT_NEXT
    return 1 if wants_ab and (not wants_ba or edge_ab >= edge_ba) else -1


@jit
def first_from(x, low, high, time_ns):
    """The first of the rows from `low` to before `high` that is not before a time; `high` when there is none."""
    while low < high:
        middle = (low + high) // 2
        if int_at(x.ts, middle) < time_ns:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def row_at(x, row, time_ns):
    """The first row after `row` that is not before a time; NEVER when there is none. A table says where to look."""
    if time_ns > x.last_ns:
        return NEVER
    if time_ns <= int_at(x.ts, row):
        return row + 1
    step = (time_ns - x.first_ns) >> x.time_shift
    return first_from(x, max(row + 1, small_at(x.rows_by_time, step)), small_at(x.rows_by_time, step + 1), time_ns)


@jit
def row_after(x, row, latency_ms, venue):
    """The first row at or after `row` plus a latency at which the venue's quote may be traded on."""
    time_ns = int_at(x.ts, row) + np.int64(latency_ms * 1e6)
    if int_at(x.ts, row) < time_ns:
        # Gallop, then halve: the quote is near, and a search of the whole rest would miss the cache at every step.
        step = 1
        while row + step < x.n and int_at(x.ts, row + step) < time_ns:
            row += step
            step *= 2
        row = first_from(x, row + 1, min(row + step, x.n), time_ns)
    if x.unusable != 0:
        while row < x.n and (byte_at(x.unusable, row) >> venue) & 1:
            row += 1
    return row


@jit
def last_of_stretch(x, run, row):
    """The last row before the next gap."""
    while int_at(x.ends, run.stretch) < row:
        run.stretch += 1
    return int_at(x.ends, run.stretch)


@jit
def touch_at(x, row, venue, side):
    book = book_at(x.book, row)
    if venue == 0:
        return book.ask_a if side > 0 else book.bid_a
    return book.ask_b if side > 0 else book.bid_b


@jit
def shown_at(x, row, venue, side):
    book = book_at(x.book, row)
    if venue == 0:
        return book.ask_size_a if side > 0 else book.bid_size_a
    return book.ask_size_b if side > 0 else book.bid_size_b


@jit
def price_at(x, run, row, venue, side):
    return touch_at(x, row, venue, side) * (1.0 + side * (run.slippage_bps / 1e4))


@jit
def bought_at(x, run, row_a, row_b, direction):
    """The price of the leg that buys."""
    return (
        price_at(x, run, row_b, np.int64(1), np.int64(1))
        if direction > 0
        else price_at(x, run, row_a, np.int64(0), np.int64(1))
    )


@jit
def sold_at(x, run, row_a, row_b, direction):
    """The price of the leg that sells."""
    return price_at(x, run, row_a, np.int64(0), NONE) if direction > 0 else price_at(x, run, row_b, np.int64(1), NONE)


@jit
def shown(x, run, row_a, row_b, direction, limit):
    """What the sizes at both legs' quotes allow of a quantity."""
    part = run.participation
    return min(
        limit,
        part * shown_at(x, row_a, np.int64(0), -direction),
        part * shown_at(x, row_b, np.int64(1), direction),
    )


@jit
def executable(x, run, row_a, row_b, direction, limit):
    quantity = shown(x, run, row_a, row_b, direction, limit)
    if run.lot_step > 0:
        quantity = math.floor(quantity / run.lot_step + 1e-9) * run.lot_step
    smallest = quantity * min(
        price_at(x, run, row_a, np.int64(0), -direction), price_at(x, run, row_b, np.int64(1), direction)
    )
    return quantity if quantity > 0 and smallest >= run.min_notional else 0.0


@jit
def settle_leg(x, run, cash, venue, row, side, fee_bps):
    """Trade a leg of the order: `cash` with what flows, after the fee."""
    quantity = run.order_quantity
    touch, price = touch_at(x, row, venue, side), price_at(x, run, row, venue, side)
    notional = quantity * price
    fee = notional * fee_bps / 1e4
    slippage = quantity * abs(price - touch)
    cash += -side * notional
    cash -= fee
    run.fees += fee
    run.slippage += slippage
    run.notional += notional
    if run.n_fills < x.room:
        fill = fill_at(x.fills, run.n_fills)
        fill.row = row
        fill.venue = venue
        fill.side = side
        fill.price = price
        fill.size = quantity
        fill.fee = fee
        fill.slippage = slippage
        fill.reason = run.order_reason
    run.n_fills += 1
    return cash


@jit
def settle(x, run):
    """Trade both legs of the order; the cash that flows, after fees."""
    direction = run.order_direction
    cash = settle_leg(x, run, 0.0, np.int64(0), run.order_row_a, -direction, run.fee_a_bps)
    return settle_leg(x, run, cash, np.int64(1), run.order_row_b, direction, run.fee_b_bps)


@jit
def order(run, row_a, row_b, direction, quantity, reason):
    run.order_direction = direction
    run.order_row_a = row_a
    run.order_row_b = row_b
    run.order_reason = reason
    run.order_quantity = quantity
    run.due_row = max(row_a, row_b)
