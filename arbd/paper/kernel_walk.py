"""One run, quote by quote: what is done at a quote, and the loops that look for the next one that matters.

A quote at which nothing is done but that an unheard signal ends may be skipped; looking at one in vain does no harm.
"""

from __future__ import annotations

import numpy as np

from arbd.paper import kernel_state as k
from arbd.paper.compiled import jit
from arbd.paper.kernel_convergence import close_before_gap, convergence_apply, convergence_entry, convergence_exit
from arbd.paper.kernel_execution import last_of_stretch, observe_grid
from arbd.paper.kernel_inventory import imbalanced, inventory_apply, inventory_decide, thresholds
from arbd.paper.prepared import CONVERGENCE


@jit
def apply(i, row, m, p, s, f, out):
    if p[i, k.P_STRATEGY] != CONVERGENCE:
        inventory_apply(i, row, m, p, s, f, out)
    else:
        convergence_apply(i, row, m, p, s, f, out)


@jit
def visit(i, row, m, p, s, f, entries, grid, grid_rows, out):
    """All that happens to a run at a quote: grid points before it, an order that is due, else a decision."""
    observe_grid(i, row, m, p, s, f, grid, grid_rows)
    if f[i, k.DUE_ROW] >= 0:
        if f[i, k.DUE_ROW] == row:
            apply(i, row, m, p, s, f, out)
    elif m[k.AB][row] == m[k.AB][row]:
        if p[i, k.P_STRATEGY] != CONVERGENCE:
            inventory_decide(i, row, m, p, s, f, entries)
        elif f[i, k.DIRECTION] == 0:
            convergence_entry(i, row, m, p, s, f, entries)
        else:
            convergence_exit(i, row, m, p, s, f)
        if f[i, k.DUE_ROW] == row:
            apply(i, row, m, p, s, f, out)
    close_before_gap(i, row, m, p, s, f, out)


@jit
def entry_thresholds(i, p, s):
    if p[i, k.P_STRATEGY] == CONVERGENCE:
        return p[i, k.P_MIN_SPREAD], p[i, k.P_MIN_SPREAD]
    return thresholds(i, imbalanced(i, p, s), p)


@jit
def next_observed(i, p, f, grid_rows):
    """The first row after the next grid point, where an open position may have to be closed by the circuit breaker."""
    if p[i, k.P_BREAKER] > 0 and f[i, k.GRID_DONE] < grid_rows.shape[0]:
        return grid_rows[f[i, k.GRID_DONE]] + 1
    return np.int64(k.NEVER)


@jit
def exit_levels(i, p, s):
    """At or above the first, or at or below the second edge of the closing direction, an exit may be called for.

    Both are a little generous, because gains are rounded.
    """
    entry_edge, take, stop = s[i, k.ENTRY_EDGE], p[i, k.P_TAKE_PROFIT], p[i, k.P_STOP_LOSS]
    above, below = -p[i, k.P_EXIT_SPREAD], -np.inf
    if take > 0:
        above = min(above, take - entry_edge - 1e-15 * (take + abs(entry_edge)))
    if stop > 0:
        below = -stop - entry_edge + 1e-15 * (stop + abs(entry_edge))
    return above, below


@jit
def next_of_interest(i, row, stop, m, p, s, f, grid_rows):
    """The first row from `row` on, at most `stop`, at which something may be done."""
    wait = f[i, k.WAIT]
    ab, ba = m[k.AB], m[k.BA]
    if wait == k.WAIT_NEXT:
        return row
    if wait == k.WAIT_EXIT:
        limit = min(min(stop, last_of_stretch(i, row, m, f)), min(f[i, k.HOLD_ROW], next_observed(i, p, f, grid_rows)))
        above, below = exit_levels(i, p, s)
        edge = ba if f[i, k.DIRECTION] > 0 else ab
        while row < limit and not (edge[row] >= above or edge[row] <= below):
            row += 1
        return row
    threshold_ab, threshold_ba = entry_thresholds(i, p, s)
    limit = min(stop, f[i, k.TRANSFER_ROW])
    if wait == k.WAIT_ENTRY:
        while row < limit and not (ab[row] >= threshold_ab or ba[row] >= threshold_ba):
            row += 1
    elif wait == k.WAIT_REFUSED:
        limit = min(limit, f[i, k.WAIT_ROW])
        while row < limit and not (ab[row] < threshold_ab and ba[row] < threshold_ba):
            row += 1
    elif wait == k.WAIT_STARVED_AB:
        while row < limit and not (ab[row] < threshold_ab or ba[row] >= threshold_ba):
            row += 1
    else:
        while row < limit and not (ba[row] < threshold_ba or ab[row] >= threshold_ab):
            row += 1
    return row


@jit
def advance(i, row, stop, m, p, s, f, entries, grid, grid_rows, out):
    """Walk a run over the rows from `row` to before `stop`."""
    while True:
        row = f[i, k.DUE_ROW] if f[i, k.DUE_ROW] >= 0 else next_of_interest(i, row, stop, m, p, s, f, grid_rows)
        if row >= stop:
            return
        visit(i, row, m, p, s, f, entries, grid, grid_rows, out)
        f[i, k.EVENTS] += 1
        row += 1
