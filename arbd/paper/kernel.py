"""The compiled engine: the same machine as `reference.py`, as loops over numbers.

Each function here and in `kernel_execution` and `kernel_strategies` mirrors one of the reference's methods, with
the same operations in the same order, because the results must be equal to the bit. No fast-math; nothing here
is reassociated. A run carries along a row of state numbers `s` and one of whole numbers `flags`, by the
positions in `kernel_state`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.paper.compiled import jit
from arbd.paper.kernel_execution import mark, observe
from arbd.paper.kernel_state import (
    BASE_A,
    BASE_B,
    C_BREAKER,
    C_EXPOSURE,
    C_MARK,
    C_SPAN,
    CAPITAL,
    COOLING_UNTIL,
    DIRECTION,
    DUE_ROW,
    FILL_FIELDS,
    N_FILLS,
    N_FLAGS,
    N_STATE,
    NEVER,
    NONE,
    OPENED_NS,
    P_BASE_SHARE,
    P_CAPITAL,
    P_GRID,
    P_MAX_TRADES,
    P_STRATEGY,
    PEAK,
    QUOTE_A,
    QUOTE_B,
    TODAY,
    TRANSFER_NS,
    TRIPPED,
)
from arbd.paper.kernel_strategies import (
    convergence_apply,
    convergence_entry,
    convergence_exit,
    inventory_apply,
    inventory_decide,
    skip_quiet,
)
from arbd.paper.prepared import ASK_A, BID_A, CONVERGENCE, EDGE_AB, EDGE_BA, UNWIND_AB, UNWIND_BA


@jit
def _start(m, p, s, flags):
    s[:] = 0.0
    flags[:] = 0
    s[CAPITAL] = p[P_CAPITAL]
    s[PEAK] = p[P_CAPITAL]
    flags[TODAY] = -1
    flags[COOLING_UNTIL] = NEVER
    flags[TRANSFER_NS] = NEVER
    flags[DUE_ROW] = NONE
    if p[P_STRATEGY] != CONVERGENCE:
        share = p[P_BASE_SHARE]
        price = (m[1][BID_A, 0] + m[1][ASK_A, 0]) / 2.0 if m[0].shape[0] > 0 else 1.0
        s[QUOTE_A] = p[P_CAPITAL] * (1.0 - share) / 2.0
        s[QUOTE_B] = s[QUOTE_A]
        s[BASE_A] = p[P_CAPITAL] * share / 2.0 / price
        s[BASE_B] = s[BASE_A]


@jit
def _decide(row, m, p, c, s, flags, entries):
    if p[P_STRATEGY] != CONVERGENCE:
        inventory_decide(row, m, p, c, s, flags, entries)
    elif flags[DIRECTION] == 0:
        convergence_entry(row, m, p, c, s, flags, entries)
    else:
        convergence_exit(row, m, p, s, flags)


@jit
def _apply(row, m, p, c, s, flags, out):
    if p[P_STRATEGY] != CONVERGENCE:
        inventory_apply(row, m, p, c, s, flags, out)
    else:
        convergence_apply(row, m, p, c, s, flags, out)
    flags[DUE_ROW] = NONE


@jit
def walk(m: Any, p: Any, c: Any, grid: Any, out: Any) -> Any:
    """Run one row of parameters `p` over a market `m` (its times and its table).

    Adds to the counts `c`, writes equity at the grid points to `grid`, and fills to `out` while there is room;
    returns how many fills there were.
    """
    ts, table = m
    edge_ab, edge_ba, cost_ab, cost_ba = table[EDGE_AB], table[EDGE_BA], table[UNWIND_AB], table[UNWIND_BA]
    n = ts.shape[0]
    s = np.empty(N_STATE)
    flags = np.empty(N_FLAGS, dtype=np.int64)
    entries = np.zeros(max(1, np.int64(p[P_MAX_TRADES])), dtype=np.int64)
    _start(m, p, s, flags)
    points, done_points = grid.shape[0], 0
    grid_ns = max(1, np.int64(p[P_GRID] * 1e9))
    decide_from, row = 0, 0
    while row < n:
        while done_points < points - 1 and ts[0] + (done_points + 1) * grid_ns < ts[row]:
            grid[done_points] = observe(row - 1, m, p, c, s, flags)
            done_points += 1
        if flags[DUE_ROW] == row:
            _apply(row, m, p, c, s, flags, out)
            decide_from = row + 1
        if flags[DUE_ROW] < 0 and row >= decide_from:
            until_ns = ts[0] + (done_points + 1) * grid_ns if done_points < points - 1 else ts[n - 1]
            quiet_to = skip_quiet(row, ts, edge_ab, edge_ba, cost_ab, cost_ba, until_ns, p, s, flags)
            if quiet_to > row:
                row = quiet_to
                continue
            _decide(row, m, p, c, s, flags, entries)
            if flags[DUE_ROW] == row:
                _apply(row, m, p, c, s, flags, out)
        row += 1
    while done_points < points:
        grid[done_points] = observe(n - 1, m, p, c, s, flags)
        done_points += 1
    if n > 0:
        c[C_SPAN] = (ts[n - 1] - ts[0]) / 1e9
        if flags[DIRECTION] != 0:
            c[C_MARK] = mark(n - 1, m, s, flags)
            c[C_EXPOSURE] += (ts[n - 1] - flags[OPENED_NS]) / 1e9
    c[C_BREAKER] = 1.0 if flags[TRIPPED] != 0 else 0.0
    return flags[N_FILLS]


@jit
def walk_many(m: Any, rows: Any, counts: Any, grids: Any) -> None:
    """`walk` for every row of parameters, without fills."""
    nothing = np.empty((0, FILL_FIELDS))
    for i in range(rows.shape[0]):
        walk(m, rows[i], counts[i], grids[i], nothing)
