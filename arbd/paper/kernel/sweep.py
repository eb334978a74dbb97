"""Many runs over one market in one pass: each is looked at only where something may happen to it.

Runs that wait for a level of an edge stand in queues (`kernel_queues`), those that wait for a row in a calendar
(`kernel_calendar`). Windows and blocks of quotes whose extremes reach no queue's lowest level, and for which nobody
waits, are passed over whole. A run that something happened to at more than HOT quotes of a window is walked quote by
quote through the next, as long as that lasts: then walking costs less. What is done at a quote is `kernel_walk.visit`
either way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.paper.compiled import jit, jit_within
from arbd.paper.kernel.calendar import BLOCK, open_block, strike_off, wait_for_row
from arbd.paper.kernel.convergence import convergence_finish
from arbd.paper.kernel.execution import observe_grid
from arbd.paper.kernel.inventory import inventory_finish
from arbd.paper.kernel.memory import float_at, int_at, put_float, put_int, small_at, trailing_zeros
from arbd.paper.kernel.queues import AB_FROM, AB_TO, BA_FROM, BA_TO, BEST_FROM, BEST_TO, KINDS, first, put, take
from arbd.paper.kernel.state import (
    BASE,
    NEVER,
    NONE,
    QUOTE,
    WAIT_ENTRY,
    WAIT_EXIT,
    WAIT_NEXT,
    WAIT_REFUSED,
    WAIT_STARVED_AB,
    WAIT_STARVED_BA,
    desk_at,
    run_at,
)
from arbd.paper.kernel.walk import advance, entry_thresholds, exit_levels, next_observed, visit
from arbd.paper.market.prepare_kernel import (
    BLOCK_BITS,
    MAX_AB,
    MAX_BA,
    MIN_AB,
    MIN_BA,
    MIN_BEST,
    N_EXTREMES,
    WINDOW_BITS,
)
from arbd.paper.market.prepared import CONVERGENCE

HOT = 64
BY_EVENTS, BY_WALKING, BY_COUNT = range(3)


@jit
def leave(x, run):
    """Out of all queues and the calendar."""
    queues = run.queues
    for kind in range(KINDS):
        if (queues >> kind) & 1:
            take(x, np.int64(kind), run)
    if run.wake >= 0:
        strike_off(x, run)


@jit
def await_exit(x, run):
    """Into the queues for an exit; the row at which to look again anyway."""
    above, below = exit_levels(run)
    put(x, BA_FROM if run.direction > 0 else AB_FROM, run, above)
    if below > -np.inf:
        put(x, BA_TO if run.direction > 0 else AB_TO, run, -below)
    return min(run.hold_row, next_observed(x, run))


@jit
def await_edges(x, run, row):
    """Into the queues for an entry, or for the end of a stretch without one; the row at which to look again anyway."""
    wait = run.wait
    threshold_ab, threshold_ba = entry_thresholds(run)
    alike = threshold_ab == threshold_ba
    if wait == WAIT_REFUSED and alike:
        put(x, BEST_TO, run, -threshold_ab)
        return min(run.transfer_row, run.wait_row)
    if wait == WAIT_REFUSED:
        # Both edges have to fall below their thresholds: the one that is above it now is waited for.
        if row >= 0 and float_at(x.ab, row) >= threshold_ab:
            put(x, AB_TO, run, -threshold_ab)
        else:
            put(x, BA_TO, run, -threshold_ba)
        return min(run.transfer_row, run.wait_row)
    if wait == WAIT_ENTRY and alike:
        put(x, BEST_FROM, run, threshold_ab)
        return run.transfer_row
    if wait == WAIT_STARVED_AB:
        put(x, AB_TO, run, -threshold_ab)
    else:
        put(x, AB_FROM, run, threshold_ab)
    if wait == WAIT_STARVED_BA:
        put(x, BA_TO, run, -threshold_ba)
    else:
        put(x, BA_FROM, run, threshold_ba)
    return run.transfer_row


@jit
def await_next(x, run, row):
    """After all was done at `row`: into the queues and the calendar, by what the run waits for."""
    if run.given_up != 0:
        return
    if run.due_row >= 0:
        # One that never falls due waits as well: what is open has to be found before a gap.
        wake = min(run.due_row, x.n - 1)
    elif run.wait == WAIT_NEXT:
        wake = row + 1
    elif run.wait == WAIT_EXIT:
        wake = await_exit(x, run)
    else:
        wake = await_edges(x, run, row)
    wake = max(wake, row + 1)
    if wake < x.n:
        wait_for_row(x, run, wake)


@jit
def may_reach(x, extremes, at):
    """Does a stretch of quotes reach the lowest level of some queue?"""
    line = N_EXTREMES * at
    max_ab, max_ba = float_at(extremes, line + MAX_AB), float_at(extremes, line + MAX_BA)
    return (
        max(max_ab, max_ba) >= float_at(x.watch, BEST_FROM)
        or max_ab >= float_at(x.watch, AB_FROM)
        or max_ba >= float_at(x.watch, BA_FROM)
        or -float_at(extremes, line + MIN_AB) >= float_at(x.watch, AB_TO)
        or -float_at(extremes, line + MIN_BA) >= float_at(x.watch, BA_TO)
        or -float_at(extremes, line + MIN_BEST) >= float_at(x.watch, BEST_TO)
    )


@jit
def first_reaching(x, row, stop):
    """The first row from `row` on whose edges reach the lowest level of some queue, or `stop`."""
    best = float_at(x.watch, BEST_FROM)
    ab_from, ba_from = min(best, float_at(x.watch, AB_FROM)), min(best, float_at(x.watch, BA_FROM))
    ab_to, ba_to = -float_at(x.watch, AB_TO), -float_at(x.watch, BA_TO)
    both_to = -float_at(x.watch, BEST_TO)
    while row < stop:
        ab, ba = float_at(x.ab, row), float_at(x.ba, row)
        if ab >= ab_from or ba >= ba_from or ab <= ab_to or ba <= ba_to or (ab <= both_to and ba <= both_to):
            break
        row += 1
    return row


@jit
def collect(x, row):
    """Take the runs that wait for this row, or for levels that it reaches, out of queues and calendar, into `found`."""
    n_found = 0
    i = int_at(x.slots, row & (BLOCK - 1))
    while i >= 0:
        run = run_at(x.runs, i)
        put_int(x.found, n_found, i)
        n_found += 1
        i = run.next
        leave(x, run)
    ab, ba = float_at(x.ab, row), float_at(x.ba, row)
    for kind in range(KINDS):
        value = max(ab, ba)
        if kind == BEST_TO:
            value = -value
        elif kind == AB_FROM:
            value = ab
        elif kind == BA_FROM:
            value = ba
        elif kind == AB_TO:
            value = -ab
        elif kind == BA_TO:
            value = -ba
        while value >= float_at(x.watch, kind):
            i = first(x, np.int64(kind))
            put_int(x.found, n_found, i)
            n_found += 1
            leave(x, run_at(x.runs, i))
    return n_found


@jit_within
def collect_open(x, n_found):
    """At the last row before a gap: also every run that holds a position, or has an order under way."""
    for i in range(x.n_runs):
        run = run_at(x.runs, i)
        if (run.direction != 0 or run.due_row >= 0) and run.walks == 0 and (run.queues != 0 or run.wake >= 0):
            leave(x, run)
            put_int(x.found, n_found, i)
            n_found += 1
    x.end_now += 1
    return n_found


@jit_within
def sweep_block(x, begin, row, end, n_hot):
    """One block of quotes of the window that begins at `begin`; returns how many runs are hot now."""
    block = row >> BLOCK_BITS
    open_block(x, block)
    while True:
        next_row = min(end, int_at(x.ends, x.end_now)) if int_at(x.ends, x.end_now) >= row else end
        if x.due != 0:
            next_row = min(next_row, (block << BLOCK_BITS) + trailing_zeros(x.due))
        row = first_reaching(x, row, next_row) if may_reach(x, x.blocks, block) else next_row
        if row >= end:
            return n_hot
        n_found = collect(x, row)
        if row == int_at(x.ends, x.end_now):
            n_found = collect_open(x, n_found)
        for at in range(n_found):
            run = run_at(x.runs, int_at(x.found, at))
            visit(x, run, row)
            run.events = max(run.events, begin) + 1
            if run.events == begin + HOT:
                put_int(x.hot, n_hot, run.number)
                n_hot += 1
            await_next(x, run, row)
        row += 1


@jit_within
def sweep_window(x, begin, stop):
    """One window of quotes; returns how many runs were hot in it, and puts them into `hot`."""
    n_hot = np.int64(0)
    for block in range(begin >> BLOCK_BITS, (stop + BLOCK - 1) >> BLOCK_BITS):
        row, end = block << BLOCK_BITS, min(stop, (block + 1) << BLOCK_BITS)
        ends_here = row <= int_at(x.ends, x.end_now) < end
        if ends_here or small_at(x.block_heads, block) >= 0 or may_reach(x, x.blocks, block):
            n_hot = sweep_block(x, begin, row, end, n_hot)
    x.block_now = NONE
    return n_hot


@jit_within
def walk_window(x, begin, stop, n_walkers):
    """Walk the runs in `walkers` through a window; returns how many of them go on walking."""
    still = 0
    for at in range(n_walkers):
        run = run_at(x.runs, int_at(x.walkers, at))
        before = run.events
        advance(x, run, begin, stop)
        if run.events - before > HOT // 2 and stop < x.n:
            put_int(x.walkers, still, run.number)
            still += 1
        else:
            run.walks = 0
            run.events = begin
            await_next(x, run, stop - 1)
    return still


@jit_within
def start(x, run):
    """A run before the first quote; its record has the parameters and zeros."""
    run.peak = run.initial_capital
    run.today_until_ns = -NEVER
    run.cooling_until_ns = -NEVER
    run.transfer_row = NEVER
    run.hold_row = NEVER
    run.due_row = NONE
    run.wake = NONE
    run.done_row = NONE
    run.unhedged_since_ns = NONE
    run.hedge_venue = NONE
    run.wait = WAIT_ENTRY
    if run.strategy == CONVERGENCE:
        return
    share = run.base_share
    price = (float_at(x.book, 0) + float_at(x.book, 1)) / 2.0
    for venue in range(2):
        put_float(run.own, QUOTE + venue, run.initial_capital * (1.0 - share) / 2.0)
        put_float(run.own, BASE + venue, run.initial_capital * share / 2.0 / price)


@jit_within
def finish(x, run):
    """A run after the last quote."""
    last = x.n - 1
    observe_grid(x, run, last)
    if run.given_up == 0:
        if run.strategy == CONVERGENCE:
            convergence_finish(x, run, last)
        else:
            inventory_finish(x, run, last)
        run.span_s = (x.last_ns - x.first_ns) / 1e9
    observe_grid(x, run, x.n)
    run.breaker = 1.0 if run.tripped != 0 else 0.0


@jit
def sweep(desk: Any, way: Any) -> None:
    """All runs of a batch over a market, with the tables of the desk at this address.

    `way` is BY_EVENTS, BY_WALKING or BY_COUNT, which chooses between the two for each run and window by what happened.
    """
    x = desk_at(desk, np.int64(0))
    n_walkers = np.int64(0)
    for i in range(x.n_runs):
        run = run_at(x.runs, i)
        start(x, run)
        if way == BY_WALKING:
            advance(x, run, np.int64(0), x.n)
        else:
            await_next(x, run, NONE)
    for window in range(x.n_windows if way != BY_WALKING else 0):
        begin, stop = window << WINDOW_BITS, min(x.n, (window + 1) << WINDOW_BITS)
        n_hot = np.int64(0)
        if small_at(x.window_counts, window) > 0 or int_at(x.ends, x.end_now) < stop or may_reach(x, x.windows, window):
            n_hot = sweep_window(x, begin, stop)
        n_walkers = walk_window(x, begin, stop, n_walkers)
        for at in range(n_hot if way == BY_COUNT else 0):
            run = run_at(x.runs, int_at(x.hot, at))
            leave(x, run)
            run.walks = 1
            put_int(x.walkers, n_walkers, run.number)
            n_walkers += 1
    for i in range(x.n_runs):
        finish(x, run_at(x.runs, i))
