"""One run: what is done at a quote, and what the next quote is at which something may be done.

A quote at which nothing is done but that an unheard signal ends may be skipped; looking at one in vain does no harm.
"""

from __future__ import annotations

import numpy as np

from arbd.paper.compiled import jit_part, jit_small
from arbd.paper.kernel.convergence import close_before_gap, convergence_apply, convergence_entry, convergence_exit
from arbd.paper.kernel.execution import last_of_stretch, observe_grid
from arbd.paper.kernel.inventory import imbalanced, inventory_apply, inventory_decide, thresholds
from arbd.paper.kernel.memory import fetch, float_at, int_at, put_float, put_int
from arbd.paper.kernel.records import converges, plain
from arbd.paper.kernel.search import WINDOW, first_reaching, search, stretches, verdict
from arbd.paper.kernel.state import (
    KNOWN_BYTES,
    KNOWN_PLACES,
    NEVER,
    WAIT_EXIT,
    WAIT_NEXT,
    WAIT_REFUSED,
    WAIT_STARVED_AB,
    WAIT_STARVED_BA,
)
from arbd.paper.market.loops import BLOCK_BITS, MAX_AB, MAX_BA, WINDOW_BITS

# How far from a decision on quotes are fetched, and the bytes of one.
QUOTES_AHEAD, QUOTE_BYTES = 5, 64


@jit_small
def fetch_quotes(x, row):
    """Have the next quotes, at one of which an order of this row often fills, on their way into the caches."""
    for ahead in range(1, QUOTES_AHEAD):
        fetch(x.book + QUOTE_BYTES * (row + ahead))


@jit_small
def visit(x, run, row):
    """All that happens to a run at a quote: grid points before it, an order that is due, else a decision."""
    observe_grid(x, run, row)
    if run.given_up != 0:
        return
    if run.tripped != 0 and run.wait == WAIT_EXIT:
        # The circuit breaker closes at the next quote that may be traded on, which need not be this one.
        run.wait = WAIT_NEXT
    if run.due_row < 0 and (plain(x) or float_at(x.ab, row) == float_at(x.ab, row)):
        fetch_quotes(x, row)
        if not converges(x):
            inventory_decide(x, run, row)
        elif run.direction == 0:
            convergence_entry(x, run, row)
        else:
            convergence_exit(x, run, row)
    if run.due_row == row:
        run.done_row = row
        if not converges(x):
            inventory_apply(x, run, row, row)
        else:
            convergence_apply(x, run, row, row)
    if converges(x) and run.given_up == 0:
        close_before_gap(x, run, row)


@jit_small
def entry_thresholds(x, run):
    if converges(x):
        return run.min_spread_ab_pct, run.min_spread_ba_pct
    return thresholds(run, imbalanced(run))


@jit_small
def next_observed(x, run):
    """The first row after the next grid point, where an open position may have to be closed by the circuit breaker."""
    if run.circuit_breaker_pct > 0 and run.grid_done < x.n_grid:
        return int_at(x.grid_rows, run.grid_done) + 1
    return NEVER


@jit_small
def exit_levels(run):
    """At or above the first, or at or below the second edge of the closing direction, an exit may be called for.

    Both are a little generous, because gains are rounded.
    """
    entry_edge, take, stop = run.entry_edge, run.take_profit_pct, run.stop_loss_pct
    above, below = -run.exit_spread_pct, -np.inf
    if take > 0:
        above = min(above, take - entry_edge - 1e-15 * (take + abs(entry_edge)))
    if stop > 0:
        below = -stop - entry_edge + 1e-15 * (stop + abs(entry_edge))
    return above, below


@jit_small
def next_exit(x, run, row, limit, stop):
    """The row at which the cost of unwinding next may call for an exit, by `search`."""
    above, below = exit_levels(run)
    edges = x.ba if run.direction > 0 else x.ab
    return search(x, row, limit, stop, edges, edges, above, below, True)


@jit_small
def next_edge(x, run, row, limit, stop):
    """The row at which edges next change what a run without a position does, by `search`.

    Runs that are swept one after the other mostly look from the same rows on, for thresholds that rise. What one of them
    has looked through in vain, the next need not look through: see `known` in `state`.
    """
    high_ab, high_ba = entry_thresholds(x, run)
    known = x.known + KNOWN_BYTES * ((row >> BLOCK_BITS) % KNOWN_PLACES)
    first, start, found = row, row, int_at(known, 1)
    if int_at(known, 0) <= row <= found and float_at(known, 2) <= high_ab and float_at(known, 3) <= high_ba:
        first, start = int_at(known, 0), min(found, limit)
    found = search(x, start, limit, stop, x.ab, x.ba, high_ab, high_ba, False)
    put_int(known, 0, first)
    put_int(known, 1, found)
    put_float(known, 2, high_ab)
    put_float(known, 3, high_ba)
    return found


@jit_small
def pass_windows(x, row, limit, high_ab, high_ba, other_ab, other_ba, wanted):
    """Over whole windows before `limit` of which the extremes tell what is counted, none of which reaches the others.

    How many stretches begin in them, whether the last quote is in one, and the row from which to go on.
    """
    found = np.int64(0)
    while row + WINDOW <= limit:
        at = row >> WINDOW_BITS
        now = verdict(x.windows, x.window_stride, at, high_ab, high_ba, wanted)
        if (
            now < 0
            or float_at(x.windows, MAX_AB * x.window_stride + at) >= other_ab
            or float_at(x.windows, MAX_BA * x.window_stride + at) >= other_ba
        ):
            break
        found += now & ~wanted
        wanted = now
        row += WINDOW
    return found, wanted, row


@jit_small
def pass_refused(x, run, row, limit, stop):
    """Of a run that a safety limit refuses every entry until `limit`: what it would have asked for is counted.

    Up to the end of the window, `stop`, and over windows of which the extremes tell; the row from which to go on.
    """
    high_ab, high_ba = entry_thresholds(x, run)
    found, wanted = stretches(x, row, min(limit, stop), high_ab, high_ba, run.signalled)
    more, wanted, row = pass_windows(x, min(limit, stop), limit, high_ab, high_ba, np.inf, np.inf, wanted)
    found += more
    run.signals += found
    run.violations += found
    run.signalled = wanted
    if row == limit:
        run.wait = WAIT_NEXT
    return row


@jit_small
def pass_starved(x, run, row, limit, stop):
    """Of a run that has nothing to trade in one direction with until `limit`: what it would ask for there is counted.

    Up to an edge that calls for the other direction, or the end of the window, `stop`, and over windows of which the
    extremes tell; the row from which to go on.
    """
    high_ab, high_ba = entry_thresholds(x, run)
    other_ab, other_ba = (np.inf, high_ba) if run.wait == WAIT_STARVED_AB else (high_ab, np.inf)
    end = min(limit, stop)
    found_row = first_reaching(x, row, end, x.ab, x.ba, other_ab, other_ba, False)
    # Before that the other edge calls for nothing, so what is counted is the starved one's.
    found, wanted = stretches(x, row, found_row, high_ab, high_ba, run.signalled)
    if found_row == end:
        more, wanted, end = pass_windows(x, end, limit, high_ab, high_ba, other_ab, other_ba, wanted)
        found += more
        found_row = end
    run.signals += found
    run.signalled = wanted
    if found_row == limit:
        run.wait = WAIT_NEXT
    return found_row


@jit_small
def next_of_interest(x, run, row, stop):
    """The first row from `row` on at which something may be done, if it is before `stop`; else one before it.

    `stop` ends the window of `row`, and what is returned from there on is where to ask again.
    """
    if run.due_row >= 0:
        if converges(x):
            return min(run.due_row, last_of_stretch(x, run, row))
        return run.due_row
    if run.wait == WAIT_NEXT or row >= x.n:
        return row
    if run.wait == WAIT_EXIT:
        limit = min(x.n, last_of_stretch(x, run, row), run.hold_row, next_observed(x, run))
        return next_exit(x, run, row, limit, stop) if row < limit else row
    limit = min(x.n, run.transfer_row)
    if run.wait == WAIT_REFUSED:
        limit = min(limit, run.wait_row)
        return pass_refused(x, run, row, limit, stop) if row < limit else row
    if not converges(x) and run.wait in (WAIT_STARVED_AB, WAIT_STARVED_BA):
        limit = min(limit, next_observed(x, run))
        return pass_starved(x, run, row, limit, stop) if row < limit else row
    return next_edge(x, run, row, limit, stop) if row < limit else row


@jit_part
def advance(x, run, row, stop, jumps):
    """Take a run from a row to the end of its window, `stop`, and the row from which to go on; with or without jumps."""
    while True:
        if jumps:
            row = next_of_interest(x, run, row, stop)
        if row >= stop:
            return row
        visit(x, run, row)
        if run.given_up != 0:
            return NEVER
        row += 1
