"""Which runs wait for which row: lists by block of quotes, and by quote for the block that the sweep is in.

A run waits for one row at most. Its list's links are in its record; the desk has the heads: `block_heads` (int32),
`slots` (int64, a list per quote of the block `block_now`, with a bit of `due` for each that is not empty), and how many
wait in each window of quotes in `window_counts` (int32).
"""

from __future__ import annotations

import numpy as np

from arbd.paper.compiled import jit
from arbd.paper.kernel.memory import int_at, put_int, put_small, small_at
from arbd.paper.kernel.state import NONE, run_at
from arbd.paper.market.prepare_kernel import BLOCK_BITS, WINDOW_BITS

BLOCK, WINDOW = 1 << BLOCK_BITS, 1 << WINDOW_BITS
_ONE = np.uint64(1)


@jit
def _chain(x, run, after):
    """Put a run before another (or none) in a list of which it becomes the first."""
    run.next = after
    run.before = NONE
    if after >= 0:
        run_at(x.runs, after).before = run.number


@jit
def _into_slot(x, run):
    slot = run.wake & (BLOCK - 1)
    _chain(x, run, int_at(x.slots, slot))
    put_int(x.slots, slot, run.number)
    x.due |= _ONE << np.uint64(slot)


@jit
def wait_for_row(x, run, row):
    """Let a run be looked at again at a row."""
    run.wake = row
    block, window = row >> BLOCK_BITS, row >> WINDOW_BITS
    put_small(x.window_counts, window, small_at(x.window_counts, window) + 1)
    if block == x.block_now:
        _into_slot(x, run)
    else:
        _chain(x, run, small_at(x.block_heads, block))
        put_small(x.block_heads, block, run.number)


@jit
def strike_off(x, run):
    """The run waits for no row any more."""
    row = run.wake
    block, window = row >> BLOCK_BITS, row >> WINDOW_BITS
    run.wake = NONE
    put_small(x.window_counts, window, small_at(x.window_counts, window) - 1)
    if run.next >= 0:
        run_at(x.runs, run.next).before = run.before
    if run.before >= 0:
        run_at(x.runs, run.before).next = run.next
    elif block == x.block_now:
        slot = row & (BLOCK - 1)
        put_int(x.slots, slot, run.next)
        if run.next < 0:
            x.due &= ~(_ONE << np.uint64(slot))
    else:
        put_small(x.block_heads, block, run.next)


@jit
def open_block(x, block):
    """The sweep is in this block now: hand the runs that wait for one of its rows to the rows."""
    x.block_now = block
    i = small_at(x.block_heads, block)
    put_small(x.block_heads, block, NONE)
    while i >= 0:
        run = run_at(x.runs, i)
        i = run.next
        _into_slot(x, run)
