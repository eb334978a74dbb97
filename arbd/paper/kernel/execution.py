"""The compiled engine's accounting, safety and execution: `ReferenceRun`'s methods, as loops over numbers.

Each function here mirrors one of the reference's methods, with the same operations in the same order, because the
results must be equal to the bit. No fast-math; nothing is reassociated. `x` is the desk, `run` a run's record and
`row` a quote: see `kernel_state`.
"""

from __future__ import annotations

import numpy as np

from arbd.paper import fills
from arbd.paper.compiled import jit_part, jit_small
from arbd.paper.kernel.memory import float_at, int_at, put_float, put_int
from arbd.paper.kernel.records import converges, fill_at, plain
from arbd.paper.kernel.search import row_at
from arbd.paper.kernel.state import (
    BASE,
    BASIS,
    BORROW,
    DAY_NS,
    DAYS,
    FEE,
    FUNDING,
    FUNDING_NS,
    HELD,
    HOUR_NS,
    NEVER,
    NONE,
    PRICE,
    QUANTITY,
    QUOTE,
    TIER_DAY,
    TIER_FEE,
    TIER_FROM,
    TIER_NOW,
    TIERS_SIZE,
    TRADED,
    TRADED_DAY,
    TURNOVER_DAYS,
    WAIT_ENTRY,
    WAIT_NEXT,
    WAIT_REFUSED,
    YEAR_NS,
)
from arbd.paper.kernel.venue import delay_ns, fill_of, price_at, price_of, row_after, touch_at
from arbd.paper.market.prepared import MARK_MARKET
from arbd.paper.params import FEE_TIERS


@jit_small
def sign_of(direction, venue):
    """+1 where a position is long, and where an order buys."""
    return -direction if venue == 0 else direction


@jit_part
def times_paid(x, row):
    """How often a venue has paid funding up to a row."""
    low, high = 0, x.n_funding
    while low < high:
        middle = (low + high) // 2
        if int_at(x.funding_rows, middle) <= row:
            low = middle + 1
        else:
            high = middle
    return low


@jit_part
def carry(x, run, row):
    """Funding and borrowing since the last fill."""
    first, last = times_paid(x, run.carry_row), times_paid(x, row)
    elapsed_ns = float(int_at(x.ts, row) - int_at(x.ts, run.carry_row))
    funding, borrow = 0.0, 0.0
    for venue in range(2):
        held = float_at(run.own, HELD + venue)
        if held <= 0:
            continue
        sign = sign_of(run.direction, venue)
        notional = held * float_at(run.own, PRICE + venue)
        rate = float_at(run.own, FUNDING + venue) / 1e4
        funding += sign * notional * rate * (elapsed_ns / FUNDING_NS)
        told = float_at(x.funding_sums, 2 * last + venue) - float_at(x.funding_sums, 2 * first + venue)
        funding += sign * held * told
        if sign < 0:
            borrow += notional * (float_at(run.own, BORROW + venue) / 100.0) * (elapsed_ns / YEAR_NS)
    return funding, borrow


@jit_small
def mid_at(x, row):
    return (float_at(x.book, 8 * row) + float_at(x.book, 8 * row + 1)) / 2.0


@jit_small
def rate_at(x, run, row, venue):
    """What a unit is worth of the currency in which inventory keeps a balance of quote currency."""
    if plain(x) or venue == 0 or run.mark != MARK_MARKET:
        return 1.0
    return float_at(x.fx, row * x.fx_step)


@jit_part
def balances_worth(x, run, row):
    """All balances of inventory, and what is in transit."""
    base = float_at(run.own, BASE) + float_at(run.own, BASE + 1)
    quote = float_at(run.own, QUOTE) + float_at(run.own, QUOTE + 1) * rate_at(x, run, row, 1)
    if run.in_transit != 0:
        base += run.moved_base
        quote += run.moved_quote * rate_at(x, run, row, run.to_quote)
    return quote + base * mid_at(x, row)


@jit_part
def mark(x, run, row):
    if not converges(x):
        if not plain(x) and run.mark == MARK_MARKET:
            return balances_worth(x, run, row) - run.initial_capital - run.realized
        if run.net == 0:
            return 0.0
        return run.net_cash + run.net * touch_at(x, row, np.int64(0), np.int64(-1 if run.net > 0 else 1))
    if run.direction == 0:
        return 0.0
    worth = 0.0
    for venue in range(2):
        sign = sign_of(run.direction, venue)
        worth += float_at(run.own, BASIS + venue)
        worth += sign * float_at(run.own, HELD + venue) * touch_at(x, row, venue, -sign)
    if not plain(x) and run.carries != 0:
        funding, borrow = carry(x, run, row)
        worth -= funding + borrow
    return worth


@jit_part
def watch_margin(x, run, row, equity):
    """Of a position that is open."""
    notional = 0.0
    for venue in range(2):
        side = -sign_of(run.direction, venue)
        notional += float_at(run.own, HELD + venue) * touch_at(x, row, venue, side)
    if notional > 0:
        run.margin_low = min(run.margin_low, equity / notional)


@jit_part
def observe(x, run, row):
    equity = run.initial_capital + (run.realized + mark(x, run, row))
    run.peak = max(run.peak, equity)
    drawdown = run.peak - equity
    # At a peak there is nothing to see, and a division takes long.
    if drawdown != 0:
        drawdown_pct = drawdown / run.peak * 100.0
        run.drawdown = max(run.drawdown, drawdown)
        run.drawdown_pct = max(run.drawdown_pct, drawdown_pct)
        if run.circuit_breaker_pct > 0 and drawdown_pct >= run.circuit_breaker_pct:
            run.tripped = 1
        if run.give_up_drawdown_pct > 0 and drawdown_pct >= run.give_up_drawdown_pct:
            run.given_up = 1.0
    if converges(x) and run.direction != 0:
        watch_margin(x, run, row, equity)
    return equity


@jit_small
def observe_grid(x, run, row):
    """Equity at all grid points whose quotes are before `row`."""
    while run.grid_done < x.n_grid and run.given_up == 0:
        at = int_at(x.grid_rows, run.grid_done)
        if at >= row:
            return
        put_float(run.grid, run.grid_done, observe(x, run, at))
        run.grid_done += 1


@jit_small
def roll_day(x, run, row):
    now = int_at(x.ts, row)
    # Time does not go back, and a division takes as long as all the rest of this.
    if now >= run.today_until_ns:
        run.today_until_ns = (now // DAY_NS + 1) * DAY_NS
        run.today_pnl = 0.0
        run.today_trades = 0


@jit_small
def book_result(x, run, row, amount):
    roll_day(x, run, row)
    run.realized += amount
    run.today_pnl += amount


@jit_small
def close_trade(x, run, row, result):
    run.trades += 1
    run.today_trades += 1
    if result > 0:
        run.wins += 1
        run.profit += result
    elif result < 0:
        run.losses += 1
        run.loss -= result
        run.cooling_until_ns = int_at(x.ts, row) + np.int64(run.cooldown_s * 1e9)
    if 0 < run.give_up_trades_per_day < run.today_trades:
        run.given_up = 1.0


@jit_small
def refused_until(x, run, row):
    """The time until which a safety limit surely forbids entries; at most that of this quote when none does."""
    roll_day(x, run, row)
    if run.tripped != 0:
        return NEVER
    until_ns = run.cooling_until_ns
    if run.max_daily_loss > 0 and run.today_pnl <= -run.max_daily_loss:
        until_ns = max(until_ns, run.today_until_ns)
    hourly = np.int64(run.max_trades_per_hour)
    if hourly > 0 and run.n_entries >= hourly:
        until_ns = max(until_ns, int_at(run.entries, run.n_entries % hourly) + HOUR_NS)
    return until_ns


@jit_small
def entered(x, run, row):
    hourly = np.int64(run.max_trades_per_hour)
    if hourly > 0:
        put_int(run.entries, run.n_entries % hourly, int_at(x.ts, row))
    run.n_entries += 1


@jit_part
def unusual(run, edge, sigma):
    return sigma > 0 and edge >= run.entry_sigma * sigma


@jit_small
def entry_direction(x, run, row, threshold_ab, threshold_ba):
    edge_ab, edge_ba = float_at(x.ab, row), float_at(x.ba, row)
    wants_ab, wants_ba = edge_ab >= threshold_ab, edge_ba >= threshold_ba
    by_deviation = not plain(x) and x.sigma_ab != 0 and run.entry_sigma > 0
    if by_deviation:
        wants_ab = wants_ab and unusual(run, edge_ab, float_at(x.sigma_ab, row))
        wants_ba = wants_ba and unusual(run, edge_ba, float_at(x.sigma_ba, row))
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
        run.wait = WAIT_REFUSED if not by_deviation else WAIT_NEXT
        run.wait_row = row_at(x, row, until_ns)
        return 0
    run.wait = WAIT_NEXT
    return 1 if wants_ab and (not wants_ba or edge_ab >= edge_ba) else -1


@jit_small
def last_of_stretch(x, run, row):
    """The last row before the next gap; none is before the end of the data."""
    if plain(x):
        return x.n
    while int_at(x.ends, run.stretch) < row:
        run.stretch += 1
    return int_at(x.ends, run.stretch)


@jit_small
def leg_row(run, venue):
    return run.order_row_a if venue == 0 else run.order_row_b


@jit_small
def order(run, row, row_a, row_b, direction, quantity_a, quantity_b, reason):
    run.order_direction = direction
    run.order_row_a = row_a
    run.order_row_b = row_b
    run.order_reason = reason
    run.sent_row = row
    put_float(run.own, QUANTITY, quantity_a)
    put_float(run.own, QUANTITY + 1, quantity_b)
    run.due_row = max(row_a if quantity_a > 0 else NONE, row_b if quantity_b > 0 else NONE)


@jit_small
def send(x, run, row, direction, quantity_a, quantity_b, reason):
    now = int_at(x.ts, row)
    row_a = row_after(x, row, now + delay_ns(x, run, row, np.int64(0)), np.int64(0))
    row_b = row_after(x, row, now + delay_ns(x, run, row, np.int64(1)), np.int64(1))
    order(run, row, row_a, row_b, direction, quantity_a, quantity_b, np.int64(reason))
    run.orders += (1.0 if quantity_a > 0 else 0.0) + (1.0 if quantity_b > 0 else 0.0)


@jit_part
def send_hedge(x, run, row, venue, side, quantity, reason):
    wait_ns = np.int64(run.hedge_latency_ms * 1e6)
    at = row_after(x, row + 1, int_at(x.ts, row) + wait_ns + delay_ns(x, run, row, venue), venue)
    if run.unhedged_since_ns < 0:
        run.unhedged_since_ns = int_at(x.ts, row)
        run.largest_unhedged = max(run.largest_unhedged, quantity * touch_at(x, row, venue, side))
    if run.hedge_venue != venue:
        run.hedge_venue = venue
        run.hedge_touch = touch_at(x, row, venue, side)
    quantity_a, quantity_b = (quantity, 0.0) if venue == 0 else (0.0, quantity)
    order(run, row, at, at, sign_of(side, venue), quantity_a, quantity_b, np.int64(reason))
    run.orders += 1.0


@jit_small
def hedged(x, run, row):
    if run.unhedged_since_ns >= 0:
        run.unhedged_s += (int_at(x.ts, row) - run.unhedged_since_ns) / 1e9
    run.unhedged_since_ns = NONE
    run.hedge_venue = NONE


@jit_part
def tier_fee(run, today, venue):
    """The fee of a UTC day, by what was traded on the 30 before."""
    table, turnover, fee = run.tiers + 8 * TIERS_SIZE * venue, 0.0, float_at(run.own, FEE + venue)
    if int_at(table, TIER_DAY) == today:
        return float_at(table, TIER_NOW)
    for day in range(today - TURNOVER_DAYS, today):
        if int_at(table, TRADED_DAY + day % DAYS) == day:
            turnover += float_at(table, TRADED + day % DAYS)
    for tier in range(FEE_TIERS):
        if 0 < float_at(table, TIER_FROM + tier) <= turnover:
            fee = float_at(table, TIER_FEE + tier)
    put_int(table, TIER_DAY, today)
    put_float(table, TIER_NOW, fee)
    return fee


@jit_small
def fee_at(x, run, row, venue):
    if plain(x) or run.tiers == 0:
        return float_at(run.own, FEE + venue)
    return tier_fee(run, int_at(x.ts, row) // DAY_NS, venue)


@jit_small
def traded(x, run, row, venue, notional):
    """It counts for the fee from the next UTC day on."""
    if plain(x) or run.tiers == 0:
        return
    day = int_at(x.ts, row) // DAY_NS
    table, at = run.tiers + 8 * TIERS_SIZE * venue, day % DAYS
    before = float_at(table, TRADED + at) if int_at(table, TRADED_DAY + at) == day else 0.0
    put_int(table, TRADED_DAY + at, day)
    put_float(table, TRADED + at, before + notional)


@jit_small
def settle_leg(x, run, venue, most, whole):
    """Trade a leg of the order: what is filled, at what price, and the cash that flows, after the fee."""
    row, reason, ordered = leg_row(run, venue), run.order_reason, float_at(run.own, QUANTITY + venue)
    side = sign_of(run.order_direction, venue)
    touch, price = touch_at(x, row, venue, side), price_at(x, run, row, venue, side)
    filled, cause = ordered, fills.FILLED
    if reason not in (fills.GAP, fills.END):
        filled, price, cause = fill_of(x, run, row, venue, side, ordered, most, price, whole)
    elif reason == fills.END:
        price = price_of(x, run, row, venue, side, ordered)
    fee, slippage, cash = 0.0, 0.0, 0.0
    if filled > 0:
        notional = filled * price
        fee = notional * fee_at(x, run, row, venue)
        traded(x, run, row, venue, notional)
        slippage = filled * abs(price - touch)
        run.fees += fee
        run.slippage += slippage
        run.notional += notional
        if reason in (fills.HEDGE, fills.UNWIND):
            run.unhedged_pnl += filled * side * (run.hedge_touch - price)
        cash = -side * notional - fee
    else:
        run.rejected += 1.0
    if not plain(x) and run.n_fills < x.room:
        fill = fill_at(x.fills, run.n_fills)
        fill.row = row
        fill.venue = venue
        fill.side = side
        fill.price = price
        fill.size = filled
        fill.fee = fee
        fill.slippage = slippage
        fill.reason = reason
        fill.sent_row = run.sent_row
        fill.ordered = ordered
        fill.cause = cause
    run.n_fills += 1
    return filled, price, cash
