"""One run, quote by quote: what is done at a quote, and the loops that look for the next one that matters.

A quote at which nothing is done but that an unheard signal ends may be skipped; looking at one in vain does no harm.
"""

from __future__ import annotations

import numpy as np

from arbd.paper.compiled import jit, jit_within
from arbd.paper.kernel.convergence import close_before_gap, convergence_apply, convergence_entry, convergence_exit
from arbd.paper.kernel.execution import last_of_stretch, observe_grid
from arbd.paper.kernel.inventory import imbalanced, inventory_apply, inventory_decide, thresholds
from arbd.paper.kernel.memory import float_at, int_at
from arbd.paper.kernel.state import NEVER, WAIT_ENTRY, WAIT_EXIT, WAIT_NEXT, WAIT_REFUSED, WAIT_STARVED_AB
from arbd.paper.market.prepared import CONVERGENCE


@jit
def visit(x, run, row):
    """All that happens to a run at a quote: grid points before it, an order that is due, else a decision."""
    observe_grid(x, run, row)
    if run.given_up != 0:
        return
    if run.tripped != 0 and run.wait == WAIT_EXIT:
        # The circuit breaker closes at the next quote that may be traded on, which need not be this one.
        run.wait = WAIT_NEXT
    if run.due_row < 0 and float_at(x.ab, row) == float_at(x.ab, row):
        if run.strategy != CONVERGENCE:
            inventory_decide(x, run, row)
        elif run.direction == 0:
            convergence_entry(x, run, row)
        else:
            convergence_exit(x, run, row)
    if run.due_row == row:
        run.done_row = row
        if run.strategy != CONVERGENCE:
            inventory_apply(x, run, row, row)
        else:
            convergence_apply(x, run, row, row)
    if run.strategy == CONVERGENCE and run.given_up == 0:
        close_before_gap(x, run, row)


@jit
def entry_thresholds(run):
    if run.strategy == CONVERGENCE:
        return run.min_spread_ab_pct, run.min_spread_ba_pct
    return thresholds(run, imbalanced(run))


@jit
def next_observed(x, run):
    """The first row after the next grid point, where an open position may have to be closed by the circuit breaker."""
    if run.circuit_breaker_pct > 0 and run.grid_done < x.n_grid:
        return int_at(x.grid_rows, run.grid_done) + 1
    return NEVER


@jit
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


@jit_within
def next_exit(x, run, row, limit):
    """The first row from `row` on, at most `limit`, whose cost of unwinding may call for an exit."""
    above, below = exit_levels(run)
    edges = x.ba if run.direction > 0 else x.ab
    while row < limit:
        edge = float_at(edges, row)
        if edge >= above or edge <= below:
            break
        row += 1
    return row


@jit_within
def next_edge(x, run, row, limit):
    """The first row from `row` on, at most `limit`, whose edges change what a run without a position does."""
    threshold_ab, threshold_ba = entry_thresholds(run)
    if run.wait == WAIT_ENTRY:
        while row < limit and not (float_at(x.ab, row) >= threshold_ab or float_at(x.ba, row) >= threshold_ba):
            row += 1
    elif run.wait == WAIT_REFUSED:
        while row < limit and not (float_at(x.ab, row) < threshold_ab and float_at(x.ba, row) < threshold_ba):
            row += 1
    elif run.wait == WAIT_STARVED_AB:
        while row < limit and not (float_at(x.ab, row) < threshold_ab or float_at(x.ba, row) >= threshold_ba):
            row += 1
    else:
        while row < limit and not (float_at(x.ba, row) < threshold_ba or float_at(x.ab, row) >= threshold_ab):
            row += 1
    return row


@jit
def next_of_interest(x, run, row, stop):
    """The first row from `row` on, at most `stop`, at which something may be done."""
    if run.wait == WAIT_NEXT:
        return row
    if run.wait == WAIT_EXIT:
        limit = min(stop, last_of_stretch(x, run, row), run.hold_row, next_observed(x, run))
        return next_exit(x, run, row, limit)
    limit = min(stop, run.transfer_row)
    if run.wait == WAIT_REFUSED:
        limit = min(limit, run.wait_row)
    return next_edge(x, run, row, limit)


@jit
def advance(x, run, row, stop):
    """Walk a run over the rows from `row` to before `stop`."""
    while run.given_up == 0:
        if run.due_row < 0:
            row = next_of_interest(x, run, row, stop)
        elif run.strategy == CONVERGENCE:
            row = min(run.due_row, last_of_stretch(x, run, row))
        else:
            row = run.due_row
        if row >= stop:
            return
        visit(x, run, row)
        run.events += 1
        row += 1
