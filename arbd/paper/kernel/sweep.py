"""Many runs over one market, window by window: each is looked at only where something may happen to it.

All runs of a batch go through one window of quotes before any goes into the next, so that what they read is in the
caches. All is done that a run does at a quote, and a search finds the next quote in the window that matters to it, or
the next window that may have one; a run that has nothing to do in a window costs one comparison there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.paper.compiled import jit, jit_small
from arbd.paper.kernel.convergence import convergence_finish
from arbd.paper.kernel.execution import observe_grid, rate_at
from arbd.paper.kernel.inventory import inventory_finish
from arbd.paper.kernel.memory import before, fetch, float_at, int_at, put_float, put_int
from arbd.paper.kernel.records import (
    converges,
    desk_at,
    inventory_desk_at,
    plain_desk_at,
    plain_inventory_desk_at,
    run_at,
)
from arbd.paper.kernel.search import WINDOW, lowest_bit
from arbd.paper.kernel.state import (
    BASE,
    BORROW,
    FEE,
    FUNDING,
    LATENCY,
    NEVER,
    NONE,
    OFTEN_SIZE,
    OWN_SIZE,
    QUOTE,
    RUN,
    SLIPPAGE,
    TIERS_SIZE,
    WAIT_ENTRY,
)
from arbd.paper.kernel.sweeps import BY_EVENTS
from arbd.paper.kernel.walk import advance
from arbd.paper.market.loops import LANES

# Bytes of a line of memory, of a run's record, of what is read of it often, and of what it has per venue.
LINE, RUN_BYTES, OFTEN_BYTES, OWN_BYTES = 64, RUN.itemsize, OFTEN_SIZE, 8 * OWN_SIZE
# How many runs have one place in `nearest`.
GROUP = 64
# How many runs ahead records are sent for.
AHEAD = 2


@jit_small
def copy_parameters(x, row, record, places, n_places):
    """What of a row of parameters stands in a record, to where it does."""
    for at in range(n_places):
        put_float(record, int_at(places, 2 * at), float_at(row, int_at(places, 2 * at + 1)))


@jit_small
def equip(x, run, i, n_entries):
    """Give a run its parameters and room, and how many times of entries it and those before it may keep."""
    given = int_at(x.order, i)
    row, own = x.given + 8 * given * x.n_fields, x.own + i * OWN_BYTES
    copy_parameters(x, row, x.runs + i * RUN_BYTES, x.places, x.n_places)
    copy_parameters(x, row, own, x.own_places, x.n_own_places)
    for venue in range(2):
        put_float(own, LATENCY + venue, float_at(own, LATENCY + venue) * 1e6)
        put_float(own, FEE + venue, float_at(own, FEE + venue) / 1e4)
    put_float(own, SLIPPAGE, run.slippage_bps / 1e4)
    run.carries = np.int64(1 if x.n_funding > 0 else 0)
    for at in range(FUNDING, BORROW + 2):
        if float_at(own, at) != 0:
            run.carries = np.int64(1)
    run.own = own
    run.grid = x.equity + 8 * given * x.n_grid
    run.entries = x.entries + 8 * n_entries
    run.tiers = x.tiers + 8 * 2 * TIERS_SIZE * i if x.tiers != 0 else np.int64(0)
    return n_entries + np.int64(run.max_trades_per_hour)


@jit_small
def start(x, run):
    """A run before the first quote; its record has the parameters and zeros."""
    run.peak = run.initial_capital
    run.today_until_ns = -NEVER
    run.cooling_until_ns = -NEVER
    run.transfer_row = NEVER
    run.hold_row = NEVER
    run.hold_ns = NEVER
    run.due_row = NONE
    run.done_row = NONE
    run.unhedged_since_ns = NONE
    run.margin_low = np.inf
    run.hedge_venue = NONE
    run.wait = WAIT_ENTRY
    if converges(x):
        return
    share = run.base_share
    price = (float_at(x.book, 0) + float_at(x.book, 1)) / 2.0
    for venue in range(2):
        half = run.initial_capital * (1.0 - share) / 2.0
        put_float(run.own, QUOTE + venue, half / rate_at(x, run, np.int64(0), venue))
        put_float(run.own, BASE + venue, run.initial_capital * share / 2.0 / price)


@jit_small
def finish(x, run):
    """A run after the last quote."""
    last = x.n - 1
    observe_grid(x, run, last)
    if run.given_up == 0:
        if converges(x):
            convergence_finish(x, run, last)
        else:
            inventory_finish(x, run, last)
        run.span_s = (x.last_ns - x.first_ns) / 1e9
    observe_grid(x, run, x.n)
    run.breaker = 1.0 if run.tripped != 0 else 0.0


@jit_small
def find_active(x, stop):
    """How many runs have something to do before a row; which ones stands in `active`."""
    found = 0
    for group in range(0, x.n_runs, GROUP):
        if int_at(x.nearest, group // GROUP) >= stop:
            continue
        for first in range(group, min(group + GROUP, x.n_runs), LANES):
            mask = before(x.next_rows, first, stop)
            while mask != 0:
                put_int(x.active, found, first + lowest_bit(mask))
                mask &= mask - 1
                found += 1
    return found


@jit_small
def find_nearest(x, stop):
    """Where runs of groups that had something to do before a row next have: the nearest of each group."""
    for group in range(0, x.n_runs, GROUP):
        if int_at(x.nearest, group // GROUP) < stop:
            nearest = NEVER
            for i in range(group, min(group + GROUP, x.n_runs)):
                nearest = min(nearest, int_at(x.next_rows, i))
            put_int(x.nearest, group // GROUP, nearest)


@jit_small
def fetch_run(x, i):
    """Have what every trade reads of a run on its way into the caches."""
    for at in range(0, OFTEN_BYTES, LINE):
        fetch(x.runs + i * RUN_BYTES + at)
    for at in range(0, OWN_BYTES, LINE):
        fetch(x.own + i * OWN_BYTES + at)


@jit_small
def sweep_all(x, way):
    """All runs of a batch over a market."""
    n_entries = np.int64(0)
    for i in range(x.n_runs):
        n_entries = equip(x, run_at(x.runs, i), i, n_entries)
        start(x, run_at(x.runs, i))
    stop = np.int64(0)
    while stop < x.n:
        stop = min(x.n, stop + WINDOW)
        n_active = find_active(x, stop)
        for at in range(n_active):
            if at + AHEAD < n_active:
                fetch_run(x, int_at(x.active, at + AHEAD))
            i = int_at(x.active, at)
            put_int(x.next_rows, i, advance(x, run_at(x.runs, i), int_at(x.next_rows, i), stop, way == BY_EVENTS))
        if n_active > 0:
            find_nearest(x, stop)
    for i in range(x.n_runs):
        finish(x, run_at(x.runs, i))


@jit
def sweep(desk: Any, way: Any) -> None:
    """All runs of a batch over a market, with the tables of the desk at this address; `way` is one of the above."""
    sweep_all(desk_at(desk, np.int64(0)), way)


@jit
def sweep_plain(desk: Any, way: Any) -> None:
    """`sweep` for a desk that is plain."""
    sweep_all(plain_desk_at(desk, np.int64(0)), way)


@jit
def sweep_inventory(desk: Any, way: Any) -> None:
    """`sweep` for the inventory strategy."""
    sweep_all(inventory_desk_at(desk, np.int64(0)), way)


@jit
def sweep_plain_inventory(desk: Any, way: Any) -> None:
    """`sweep_inventory` for a desk that is plain."""
    sweep_all(plain_inventory_desk_at(desk, np.int64(0)), way)
