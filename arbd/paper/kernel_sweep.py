"""Many runs over one market in one pass: each is looked at only where something may happen to it.

Runs that wait for a level of an edge stand in queues (`kernel_queues`), those that wait for a row in a calendar.
Windows and blocks of quotes whose extremes reach no queue's lowest level, and for which nobody waits, are passed
over whole. A run that something happened to at more than HOT quotes of a window is walked quote by quote through
the next, as long as that lasts: then walking costs less. What is done at a quote is `kernel_walk.visit` either way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.paper import kernel_state as k
from arbd.paper.compiled import jit, trailing_zeros
from arbd.paper.kernel_execution import mark, observe_grid
from arbd.paper.kernel_prepare import BLOCK_BITS, MAX_AB, MAX_BA, MIN_AB, MIN_BA, MIN_BEST, WINDOW_BITS
from arbd.paper.kernel_queues import (
    AB_FROM,
    AB_TO,
    BA_FROM,
    BA_TO,
    BEST_FROM,
    BEST_UNDER,
    KINDS,
    put,
    reached,
    take,
)
from arbd.paper.kernel_walk import advance, entry_thresholds, exit_levels, next_observed, visit

BLOCK, WINDOW = 1 << BLOCK_BITS, 1 << WINDOW_BITS
HOT = 64
BY_EVENTS, BY_WALKING, BY_COUNT = range(3)


@jit
def wait_for_row(calendar, i, row, f):
    """Let a run be looked at again at a row."""
    blocks, windows, slots, due, now = calendar
    f[i, k.WAKE] = row
    block = row >> BLOCK_BITS
    if block == now[0]:
        first = slots[row & (BLOCK - 1)]
        slots[row & (BLOCK - 1)] = i
        due[0] |= np.uint64(1) << np.uint64(row & (BLOCK - 1))
    else:
        first = np.int64(blocks[block])
        blocks[block] = i
    windows[row >> WINDOW_BITS] += 1
    f[i, k.NEXT] = first
    f[i, k.BEFORE] = -1
    if first >= 0:
        f[first, k.BEFORE] = i


@jit
def strike_off(calendar, i, f):
    """The run waits for no row any more."""
    blocks, windows, slots, due, now = calendar
    row, after, before = f[i, k.WAKE], f[i, k.NEXT], f[i, k.BEFORE]
    f[i, k.WAKE] = k.NONE
    windows[row >> WINDOW_BITS] -= 1
    if after >= 0:
        f[after, k.BEFORE] = before
    if before >= 0:
        f[before, k.NEXT] = after
    elif row >> BLOCK_BITS == now[0]:
        slots[row & (BLOCK - 1)] = after
        if after < 0:
            due[0] &= ~(np.uint64(1) << np.uint64(row & (BLOCK - 1)))
    else:
        blocks[row >> BLOCK_BITS] = after


@jit
def open_block(calendar, block, f):
    """Hand the runs that wait for a row of this block to its rows."""
    blocks, windows, slots, due, now = calendar
    now[0] = block
    i = np.int64(blocks[block])
    blocks[block] = -1
    while i >= 0:
        after = f[i, k.NEXT]
        slot = f[i, k.WAKE] & (BLOCK - 1)
        first = slots[slot]
        slots[slot] = i
        f[i, k.NEXT] = first
        f[i, k.BEFORE] = -1
        if first >= 0:
            f[first, k.BEFORE] = i
        due[0] |= np.uint64(1) << np.uint64(slot)
        i = after


@jit
def leave(q, calendar, i, f):
    """Out of all queues and the calendar."""
    kinds = f[i, k.IN_QUEUES]
    for kind in range(KINDS):
        if (kinds >> kind) & 1:
            take(q, kind, i, f)
    if f[i, k.WAKE] >= 0:
        strike_off(calendar, i, f)


@jit
def await_next(q, calendar, i, row, m, p, s, f, grid_rows):
    """After all was done at `row`: into the queues and the calendar, by what the run waits for."""
    wake = np.int64(k.NEVER)
    wait = f[i, k.WAIT]
    if f[i, k.DUE_ROW] >= 0:
        wake = f[i, k.DUE_ROW]
    elif wait == k.WAIT_NEXT:
        wake = row + 1
    elif wait == k.WAIT_EXIT:
        above, below = exit_levels(i, p, s)
        sold_a = f[i, k.DIRECTION] > 0
        put(q, BA_FROM if sold_a else AB_FROM, i, above, f)
        if below > -np.inf:
            put(q, BA_TO if sold_a else AB_TO, i, -below, f)
        wake = min(f[i, k.HOLD_ROW], next_observed(i, p, f, grid_rows))
    else:
        threshold_ab, threshold_ba = entry_thresholds(i, p, s)
        wake = f[i, k.TRANSFER_ROW]
        if wait == k.WAIT_ENTRY:
            if threshold_ab == threshold_ba:
                put(q, BEST_FROM, i, threshold_ab, f)
            else:
                put(q, AB_FROM, i, threshold_ab, f)
                put(q, BA_FROM, i, threshold_ba, f)
        elif wait == k.WAIT_REFUSED:
            wake = min(wake, f[i, k.WAIT_ROW])
            if threshold_ab == threshold_ba:
                put(q, BEST_UNDER, i, -threshold_ab, f)
            else:
                wake = row + 1
        elif wait == k.WAIT_STARVED_AB:
            put(q, AB_TO, i, -threshold_ab, f)
            put(q, BA_FROM, i, threshold_ba, f)
        else:
            put(q, BA_TO, i, -threshold_ba, f)
            put(q, AB_FROM, i, threshold_ab, f)
    wake = max(wake, row + 1)
    if wake < m[k.TS].shape[0]:
        wait_for_row(calendar, i, wake, f)


@jit
def may_reach(extremes, at, watch):
    """Does a stretch of quotes reach the lowest level of some queue?"""
    max_ab, max_ba = extremes[at, MAX_AB], extremes[at, MAX_BA]
    return (
        max(max_ab, max_ba) >= watch[BEST_FROM]
        or max_ab >= watch[AB_FROM]
        or max_ba >= watch[BA_FROM]
        or -extremes[at, MIN_AB] >= watch[AB_TO]
        or -extremes[at, MIN_BA] >= watch[BA_TO]
        or -extremes[at, MIN_BEST] >= watch[BEST_UNDER]
    )


@jit
def first_reaching(row, stop, m, watch):
    """The first row from `row` on whose edges reach the lowest level of some queue, or `stop`."""
    ab, ba = m[k.AB], m[k.BA]
    ab_from, ba_from = min(watch[BEST_FROM], watch[AB_FROM]), min(watch[BEST_FROM], watch[BA_FROM])
    ab_to, ba_to, under = -watch[AB_TO], -watch[BA_TO], -watch[BEST_UNDER]
    while row < stop:
        a, b = ab[row], ba[row]
        if a >= ab_from or b >= ba_from or a <= ab_to or b <= ba_to or (a <= under and b <= under):
            break
        row += 1
    return row


@jit
def collect(row, q, calendar, found, m, f):
    """Take the runs that wait for this row or for levels that it reaches out of queues and calendar, into `found`."""
    slots, watch = calendar[2], q[6]
    n_found = 0
    i = slots[row & (BLOCK - 1)]
    while i >= 0:
        found[n_found] = i
        n_found += 1
        i = f[i, k.NEXT]
    for at in range(n_found):
        leave(q, calendar, found[at], f)
    a, b = m[k.AB][row], m[k.BA][row]
    best = max(a, b)
    for kind in range(KINDS):
        value = best
        if kind == BEST_UNDER:
            value = -best
        elif kind == AB_FROM:
            value = a
        elif kind == BA_FROM:
            value = b
        elif kind == AB_TO:
            value = -a
        elif kind == BA_TO:
            value = -b
        if value >= watch[kind]:
            known = n_found
            n_found = reached(q, kind, value, found, n_found)
            for at in range(known, n_found):
                leave(q, calendar, found[at], f)
    return n_found


@jit
def sweep_window(first, stop, q, calendar, index, found, hot, m, p, s, f, entries, grid, grid_rows, out):
    """One window of quotes; returns how many runs were hot in it, and puts them into `hot`."""
    due, now, watch, ends = calendar[3], calendar[4], q[6], m[k.ENDS]
    n_hot = 0
    for block in range(first >> BLOCK_BITS, (stop + BLOCK - 1) >> BLOCK_BITS):
        row, end = block << BLOCK_BITS, min(stop, (block + 1) << BLOCK_BITS)
        if calendar[0][block] < 0 and ends[now[1]] >= end and not may_reach(index, block, watch):
            continue
        open_block(calendar, block, f)
        while row < end:
            next_row = row + trailing_zeros(due[0] >> np.uint64(row & (BLOCK - 1))) if due[0] != 0 else end
            next_row = min(next_row, ends[now[1]])
            if may_reach(index, block, watch):
                row = first_reaching(row, min(next_row, end), m, watch)
            else:
                row = min(next_row, end)
            if row >= end:
                break
            n_found = collect(row, q, calendar, found, m, f)
            if row == ends[now[1]]:
                now[1] = min(now[1] + 1, ends.shape[0] - 1)
                for i in range(f.shape[0]):
                    if f[i, k.DIRECTION] != 0 and f[i, k.MODE] == BY_EVENTS and (f[i, k.IN_QUEUES] or f[i, k.WAKE] >= 0):
                        leave(q, calendar, i, f)
                        found[n_found] = i
                        n_found += 1
            for at in range(n_found):
                i = found[at]
                visit(i, row, m, p, s, f, entries, grid, grid_rows, out)
                if f[i, k.EVENTS] < first:
                    f[i, k.EVENTS] = first
                f[i, k.EVENTS] += 1
                if f[i, k.EVENTS] == first + HOT:
                    hot[n_hot] = i
                    n_hot += 1
                await_next(q, calendar, i, row, m, p, s, f, grid_rows)
            row += 1
    now[0] = k.NONE
    return n_hot


@jit
def start(i, m, p, s, f):
    """A run before the first quote."""
    s[i] = 0.0
    f[i] = 0
    s[i, k.CAPITAL] = p[i, k.P_CAPITAL]
    s[i, k.PEAK] = p[i, k.P_CAPITAL]
    f[i, k.TODAY] = np.iinfo(np.int64).min
    f[i, k.COOLING_UNTIL] = -k.NEVER
    f[i, k.TRANSFER_ROW] = k.NEVER
    f[i, k.HOLD_ROW] = k.NEVER
    f[i, k.DUE_ROW] = k.NONE
    f[i, k.TO_BASE] = k.NONE
    f[i, k.WAKE] = k.NONE
    f[i, k.EVENTS] = k.NONE
    f[i, k.WAIT] = k.WAIT_ENTRY
    share = p[i, k.P_BASE_SHARE]
    price = (m[k.BOOK][0, k.BID_A] + m[k.BOOK][0, k.ASK_A]) / 2.0
    s[i, k.QUOTE_A] = p[i, k.P_CAPITAL] * (1.0 - share) / 2.0
    s[i, k.QUOTE_B] = s[i, k.QUOTE_A]
    s[i, k.BASE_A] = p[i, k.P_CAPITAL] * share / 2.0 / price
    s[i, k.BASE_B] = s[i, k.BASE_A]
    # How many entries are remembered for the hourly limit; `entries` has room for each run's own.
    f[i, k.ENTRIES_AT] = f[i - 1, k.ENTRIES_AT] + np.int64(p[i - 1, k.P_MAX_TRADES]) if i > 0 else 0


@jit
def finish(i, m, p, s, f, grid, grid_rows):
    """A run after the last quote."""
    ts = m[k.TS]
    last = ts.shape[0] - 1
    observe_grid(i, last + 1, m, p, s, f, grid, grid_rows)
    s[i, k.C_SPAN] = (ts[last] - ts[0]) / 1e9
    if f[i, k.DIRECTION] != 0:
        s[i, k.C_MARK] = mark(i, last, m, s, f)
        s[i, k.C_EXPOSURE] += (ts[last] - f[i, k.OPENED_NS]) / 1e9
    s[i, k.C_BREAKER] = 1.0 if f[i, k.TRIPPED] != 0 else 0.0


@jit
def sweep(m: Any, index: Any, windows: Any, q: Any, p: Any, s: Any, grid: Any, grid_rows: Any, out: Any, way: int) -> Any:
    """All runs of a batch over a market; the counts are in the first columns of `s` then. Returns the last run's fills.

    `way` is BY_EVENTS, BY_WALKING or BY_COUNT, which chooses between the two for each run and window by what happened.
    Fills go to `out` while there is room, meaningful with one run.
    """
    n, runs = m[k.TS].shape[0], p.shape[0]
    f = np.empty((runs, k.N_FLAGS), dtype=np.int64)
    n_entries = 1
    for i in range(runs):
        start(i, m, p, s, f)
        n_entries += np.int64(p[i, k.P_MAX_TRADES])
    entries = np.empty(n_entries, dtype=np.int64)
    if way == BY_WALKING:
        for i in range(runs):
            advance(i, 0, n, m, p, s, f, entries, grid, grid_rows, out)
            finish(i, m, p, s, f, grid, grid_rows)
        return f[runs - 1, k.N_FILLS]
    calendar = (
        np.full(index.shape[0], -1, dtype=np.int32), np.zeros(windows.shape[0], dtype=np.int32),
        np.full(BLOCK, -1, dtype=np.int64), np.zeros(1, dtype=np.uint64), np.array([k.NONE, 0]),
    )  # fmt: skip
    found, hot, walkers = np.empty(runs, dtype=np.int64), np.empty(runs, dtype=np.int64), np.empty(runs, dtype=np.int64)
    n_walkers = 0
    for i in range(runs):
        f[i, k.MODE] = BY_EVENTS
        await_next(q, calendar, i, -1, m, p, s, f, grid_rows)
    for window in range(windows.shape[0]):
        first, stop = window << WINDOW_BITS, min(n, (window + 1) << WINDOW_BITS)
        n_hot = 0
        if (
            calendar[1][window] > 0 or m[k.ENDS][calendar[4][1]] < stop or may_reach(windows, window, q[6])
        ):  # fmt: skip
            n_hot = sweep_window(
                first, stop, q, calendar, index, found, hot, m, p, s, f, entries, grid, grid_rows, out
            )  # fmt: skip
        still = 0
        for at in range(n_walkers):
            i = walkers[at]
            before = f[i, k.EVENTS]
            advance(i, first, stop, m, p, s, f, entries, grid, grid_rows, out)
            if f[i, k.EVENTS] - before > HOT // 2 and stop < n:
                walkers[still] = i
                still += 1
            else:
                f[i, k.MODE] = BY_EVENTS
                f[i, k.EVENTS] = first
                await_next(q, calendar, i, stop - 1, m, p, s, f, grid_rows)
        n_walkers = still
        if way == BY_COUNT:
            for at in range(n_hot):
                leave(q, calendar, hot[at], f)
                f[hot[at], k.MODE] = BY_WALKING
                walkers[n_walkers] = hot[at]
                n_walkers += 1
    for i in range(runs):
        finish(i, m, p, s, f, grid, grid_rows)
    return f[runs - 1, k.N_FILLS]
