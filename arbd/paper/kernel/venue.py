"""A venue as an order meets it: `reference.venue.Venue`, as loops over numbers.

The same operations in the same order, because the results must be equal to the bit.
"""

from __future__ import annotations

import numpy as np

from arbd.paper import fills
from arbd.paper.compiled import jit, jit_small
from arbd.paper.draws import REFUSAL, latency_factor, uniform
from arbd.paper.kernel.memory import byte_at, float_at, int_at, put_float, put_int, small_at
from arbd.paper.kernel.state import LATENCY, LOT, MINIMUM, NEVER, REJECT, SLIPPAGE, TAKEN, TAKEN_ROW, TICK
from arbd.paper.market.prepared import DUST


@jit_small
def touch_at(x, row, venue, side):
    return float_at(x.book, 8 * row + 2 * venue + (1 if side > 0 else 0))


@jit_small
def price_at(x, run, row, venue, side):
    price = touch_at(x, row, venue, side) * (1.0 + side * float_at(run.own, SLIPPAGE))
    tick = float_at(run.own, TICK + venue)
    if tick > 0:
        if side > 0:
            return np.ceil(price / tick - DUST) * tick
        return np.floor(price / tick + DUST) * tick
    return price


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


@jit_small
def delay_ns(x, run, row, venue):
    latency_ns = float_at(run.own, LATENCY + venue)
    if run.latency_jitter > 0:
        latency_ns = latency_ns * latency_factor(np.int64(run.execution_seed), x.salt, row, venue, run.latency_jitter)
    return np.int64(latency_ns)


@jit
def row_after(x, row, time_ns, venue):
    """The first row from `row` on that is not before a time, and at which the venue's quote may be traded on."""
    if row >= x.n:
        return x.n
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


@jit
def available(x, run, row, venue, side):
    at = 2 * venue + (1 if side > 0 else 0)
    allowed = run.participation * float_at(x.book, 8 * row + 4 + at)
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
    if left >= quantity and not left < DUST * allowed:
        return quantity
    return min(quantity, available(x, run, row, venue, side))


@jit_small
def take(x, run, row, venue, side, quantity):
    at = 2 * venue + (1 if side > 0 else 0)
    put_float(run.own, TAKEN + at, taken_of(x, run, row, at) + quantity)
    put_int(run.own, TAKEN_ROW + at, row)


@jit_small
def round_down(run, venue, quantity):
    lot = float_at(run.own, LOT + venue)
    return np.floor(quantity / lot + DUST) * lot if lot > 0 else quantity


@jit_small
def round_down_both(run, quantity):
    """To the larger lot of the two venues."""
    return round_down(run, np.int64(0 if float_at(run.own, LOT) > float_at(run.own, LOT + 1) else 1), quantity)


@jit_small
def subtract(run, venue, quantity, part):
    left = quantity - part
    return 0.0 if left < DUST * quantity or left < float_at(run.own, LOT + venue) / 2 else left


@jit_small
def sendable(x, run, row, venue, side, quantity):
    least = float_at(run.own, MINIMUM + venue)
    # The price matters only where there is a minimum.
    return quantity > 0 and (least <= 0 or quantity * price_at(x, run, row, venue, side) >= least)


@jit_small
def fill_of(x, run, row, venue, side, ordered, most, price, whole):
    """How much of an order is filled, and why nothing is."""
    refusals = float_at(run.own, REJECT + venue)
    if refusals > 0:
        luck = uniform(np.int64(run.execution_seed), x.salt, row, REFUSAL + venue)
        if luck * 100.0 < refusals:
            return 0.0, fills.REFUSED
    filled = at_most(x, run, row, venue, side, ordered)
    if filled <= 0:
        return 0.0, fills.NOTHING_LEFT
    filled = min(filled, most)
    if filled <= 0:
        return 0.0, fills.BALANCE
    if filled < ordered:
        filled = round_down(run, venue, filled)
        if filled <= 0:
            return 0.0, fills.BELOW_LOT
    if not (whole and filled == ordered) and filled * price < float_at(run.own, MINIMUM + venue):
        return 0.0, fills.BELOW_MINIMUM
    take(x, run, row, venue, side, filled)
    return filled, fills.FILLED
