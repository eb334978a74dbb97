"""A venue as an order meets it: `reference.venue.Venue`, as loops over numbers.

The same operations in the same order, because the results must be equal to the bit.
"""

from __future__ import annotations

import numpy as np

from arbd.paper import fills
from arbd.paper.compiled import jit_part, jit_small
from arbd.paper.draws import REFUSAL, latency_factor, uniform
from arbd.paper.kernel.memory import byte_at, float_at, int_at, put_float, put_int, small_at
from arbd.paper.kernel.records import plain
from arbd.paper.kernel.search import first_from, row_at
from arbd.paper.kernel.state import LATENCY, LOT, MINIMUM, REJECT, SLIPPAGE, TAKEN, TAKEN_ROW, TICK
from arbd.paper.market.prepared import DUST

# An order's quote is mostly within so many rows.
NEAR = 32


@jit_small
def seen_row(x, row, venue):
    """The row of the quote that has come to the strategy by a row."""
    if plain(x) or x.seen == 0:
        return row
    return small_at(x.seen, 2 * row + venue)


@jit_small
def touch_at(x, row, venue, side):
    return float_at(x.book, 8 * row + 2 * venue + (1 if side > 0 else 0))


@jit_small
def price_at(x, run, row, venue, side):
    return worsened(x, run, venue, side, touch_at(x, row, venue, side))


@jit_small
def worsened(x, run, venue, side, price):
    price = price * (1.0 + side * float_at(run.own, SLIPPAGE))
    tick = float_at(run.own, TICK + venue)
    if not plain(x) and tick > 0:
        if side > 0:
            return np.ceil(price / tick - DUST) * tick
        return np.floor(price / tick + DUST) * tick
    return price


@jit_small
def delay_ns(x, run, row, venue):
    latency_ns = float_at(run.own, LATENCY + venue)
    if not plain(x) and run.latency_jitter > 0:
        latency_ns = latency_ns * latency_factor(np.int64(run.execution_seed), x.salt, row, venue, run.latency_jitter)
    return np.int64(latency_ns)


@jit_part
def row_after(x, row, time_ns, venue):
    """The first row from `row` on that is not before a time, and at which the venue's quote may be traded on."""
    if row >= x.n:
        return x.n
    if int_at(x.ts, row) < time_ns:
        near = min(row + NEAR, x.n)
        row = first_from(x, row + 1, near, time_ns)
        if row == near and near < x.n and int_at(x.ts, near) < time_ns:
            row = min(row_at(x, near, time_ns), x.n)
    if not plain(x) and x.unusable != 0:
        while row < x.n and (byte_at(x.unusable, row) >> venue) & 1:
            row += 1
    return row


@jit_small
def taken_of(x, run, row, at):
    """What was taken before of the quote that a side shows at a row."""
    taken = float_at(run.own, TAKEN + at)
    if taken > 0:
        taken_row = int_at(run.own, TAKEN_ROW + at)
        while row > taken_row:
            if (byte_at(x.fresh, row) >> at) & 1:
                return 0.0
            row -= 1
    return taken


@jit_small
def below_touch(x, run):
    """How many levels below the touch an order may walk."""
    return np.int64(0) if plain(x) else min(x.n_below, np.int64(run.book_levels) - 1)


@jit_part
def average(x, run, row, venue, side, quantity):
    at = 2 * venue + (1 if side > 0 else 0)
    skip, rest, paid = taken_of(x, run, row, at), quantity, 0.0
    price, size = float_at(x.book, 8 * row + at), float_at(x.book, 8 * row + 4 + at)
    last = price
    for level in range(below_touch(x, run) + 1):
        if level > 0:
            line = 8 * (row * x.n_below + level - 1) + at
            price, size = float_at(x.below, line), float_at(x.below, line + 4)
        part = run.participation * size
        if skip >= part:
            skip -= part
            continue
        took = min(rest, part - skip)
        if took == quantity:
            return price
        skip, last = 0.0, price
        paid += took * price
        rest -= took
        if rest <= 0:
            break
    return (paid + rest * last) / quantity if rest > 0 else paid / quantity


@jit_small
def price_of(x, run, row, venue, side, quantity):
    if below_touch(x, run) > 0:
        return worsened(x, run, venue, side, average(x, run, row, venue, side, quantity))
    return price_at(x, run, row, venue, side)


@jit_part
def available(x, run, row, venue, side):
    at = 2 * venue + (1 if side > 0 else 0)
    allowed = run.participation * float_at(x.book, 8 * row + 4 + at)
    for level in range(below_touch(x, run)):
        allowed += run.participation * float_at(x.below, 8 * (row * x.n_below + level) + 4 + at)
    if allowed == np.inf:
        return allowed
    left = allowed - taken_of(x, run, row, at)
    return 0.0 if left < DUST * allowed else left


@jit_small
def at_most(x, run, row, venue, side, quantity):
    """A quantity, or what is available of it; whether the quote is a new one matters only where that is less."""
    at = 2 * venue + (1 if side > 0 else 0)
    allowed = run.participation * float_at(x.book, 8 * row + 4 + at)
    left = allowed - float_at(run.own, TAKEN + at)
    if left >= quantity and not left < DUST * allowed and below_touch(x, run) <= 0:
        return quantity
    return min(quantity, available(x, run, row, venue, side))


@jit_small
def take(x, run, row, venue, side, quantity):
    at = 2 * venue + (1 if side > 0 else 0)
    put_float(run.own, TAKEN + at, taken_of(x, run, row, at) + quantity)
    put_int(run.own, TAKEN_ROW + at, row)


@jit_small
def round_down(x, run, venue, quantity):
    lot = float_at(run.own, LOT + venue)
    if plain(x):
        return quantity
    return np.floor(quantity / lot + DUST) * lot if lot > 0 else quantity


@jit_small
def round_down_both(x, run, quantity):
    """To the larger lot of the two venues."""
    return round_down(x, run, np.int64(0 if float_at(run.own, LOT) > float_at(run.own, LOT + 1) else 1), quantity)


@jit_small
def subtract(x, run, venue, quantity, part):
    left = quantity - part
    if plain(x):
        return 0.0 if left < DUST * quantity else left
    return 0.0 if left < DUST * quantity or left < float_at(run.own, LOT + venue) / 2 else left


@jit_small
def sendable(x, run, row, venue, side, quantity):
    least = float_at(run.own, MINIMUM + venue)
    # The price matters only where there is a minimum.
    return quantity > 0 and (plain(x) or least <= 0 or quantity * price_at(x, run, row, venue, side) >= least)


@jit_small
def fill_of(x, run, row, venue, side, ordered, most, price, whole):
    """How much of an order is filled, at what price, and why nothing is."""
    refusals = float_at(run.own, REJECT + venue)
    if not plain(x) and refusals > 0:
        luck = uniform(np.int64(run.execution_seed), x.salt, row, REFUSAL + venue)
        if luck * 100.0 < refusals:
            return 0.0, price, fills.REFUSED
    filled = at_most(x, run, row, venue, side, ordered)
    if filled <= 0:
        return 0.0, price, fills.NOTHING_LEFT
    if side > 0 and most < np.inf and below_touch(x, run) > 0:
        most = most * (price / price_of(x, run, row, venue, side, filled))
    filled = min(filled, most)
    if filled <= 0:
        return 0.0, price, fills.BALANCE
    if filled < ordered:
        filled = round_down(x, run, venue, filled)
        if filled <= 0:
            return 0.0, price, fills.BELOW_LOT
    touched = price
    price = price_of(x, run, row, venue, side, filled)
    if not plain(x) and not (whole and filled == ordered) and filled * price < float_at(run.own, MINIMUM + venue):
        return 0.0, touched, fills.BELOW_MINIMUM
    take(x, run, row, venue, side, filled)
    return filled, price, fills.FILLED
