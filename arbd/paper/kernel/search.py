"""Where an edge next reaches a level: a compiled search over quotes, with vector code and the extremes of blocks.

Blocks of 64 quotes whose extremes reach no level are passed over, and so are windows of 64 blocks and regions of 64
windows; LANES values are compared at once. A search goes no further than the window: beyond, it finds the next window
that reaches a level. A level that does not matter is infinite, of the sign that nothing reaches.
"""

from __future__ import annotations

import numpy as np

from arbd.paper.compiled import jit_part, jit_small
from arbd.paper.kernel.memory import (
    at_least,
    at_most,
    before,
    bits_in,
    fetch,
    float_at,
    int_at,
    small_at,
    trailing_zeros,
)
from arbd.paper.kernel.records import plain
from arbd.paper.kernel.state import NEVER
from arbd.paper.market.loops import (
    BLOCK_BITS,
    LANES,
    MAX_AB,
    MAX_BA,
    MIN_AB,
    MIN_BA,
    MIN_BEST,
    REGION_BITS,
    WINDOW_BITS,
)

BLOCK, WINDOW, REGION = 1 << BLOCK_BITS, 1 << WINDOW_BITS, 1 << REGION_BITS
_ALL = (1 << LANES) - 1


@jit_small
def lowest_bit(mask):
    return trailing_zeros(np.uint64(mask))


@jit_small
def passing(first, second, at, level, other, falls):
    """A bit for each of the LANES places from `at` on: the first column at or above its level, or the second beyond its."""
    beyond = at_most(second, at, other) if falls else at_least(second, at, other)
    return at_least(first, at, level) | beyond


@jit_small
def passes(first, second, at, level, other, falls):
    """`passing` of one place."""
    value = float_at(second, at)
    return float_at(first, at) >= level or (value <= other if falls else value >= other)


@jit_part
def reaching_in(x, row, end, first, second, level, other, falls):
    """The first row from `row` to before `end` with an edge at or beyond a level; `end` when there is none."""
    while row + LANES <= x.n and row < end:
        mask = passing(first, second, row, level, other, falls)
        if mask != 0:
            return min(row + lowest_bit(mask), end)
        row += LANES
    while row < end:
        if passes(first, second, row, level, other, falls):
            return row
        row += 1
    return end


@jit_part
def part_reaching(first, second, at, end, level, other, falls):
    """The first of the parts from `at` to before `end` whose extremes reach a level; `end` when there is none."""
    while at < end:
        mask = passing(first, second, at, level, other, falls)
        if mask != 0:
            return min(at + lowest_bit(mask), end)
        at += LANES
    return end


@jit_small
def column(table, stride, which):
    """Where extremes of a kind are, in a table of them."""
    return table + 8 * which * stride


@jit_part
def first_reaching(x, row, stop, first, second, level, other, falls):
    """The first row from `row` to before `stop`, in the same window, with an edge at or beyond a level, or `stop`."""
    high = column(x.blocks, x.block_stride, MAX_AB if first == x.ab else MAX_BA)
    bound = second_bound(x, x.blocks, x.block_stride, second, falls)
    block, last_block = row >> BLOCK_BITS, (stop + BLOCK - 1) >> BLOCK_BITS
    while block < last_block:
        block = part_reaching(high, bound, block, last_block, level, other, falls)
        row = max(row, block << BLOCK_BITS)
        block += 1
        end = min(stop, block << BLOCK_BITS)
        if row < end:
            row = reaching_in(x, row, end, first, second, level, other, falls)
            if row < end:
                return row
    return stop


@jit_small
def second_bound(x, table, stride, second, falls):
    """What of the second edge is looked at in a table of extremes."""
    if second == x.ab:
        return column(table, stride, MIN_AB if falls else MAX_AB)
    return column(table, stride, MIN_BA if falls else MAX_BA)


@jit_part
def window_reaching(x, row, stop, first, second, level, other, falls):
    """The first row of the first window from `row` to before `stop` in which an edge reaches a level, or `stop`."""
    which = MAX_AB if first == x.ab else MAX_BA
    high = column(x.windows, x.window_stride, which)
    bound = second_bound(x, x.windows, x.window_stride, second, falls)
    region_high = column(x.regions, x.region_stride, which)
    region_bound = second_bound(x, x.regions, x.region_stride, second, falls)
    at, last = row >> WINDOW_BITS, (stop + WINDOW - 1) >> WINDOW_BITS
    region, last_region = at >> REGION_BITS, (last + REGION - 1) >> REGION_BITS
    while region < last_region:
        region = part_reaching(region_high, region_bound, region, last_region, level, other, falls)
        at = max(at, region << REGION_BITS)
        region += 1
        end = min(last, region << REGION_BITS)
        if at < end:
            at = part_reaching(high, bound, at, end, level, other, falls)
            if at < end:
                return min(stop, at << WINDOW_BITS)
    return stop


@jit_small
def search(x, row, limit, stop, first, second, level, other, falls):
    """The first row from `row` on with an edge at or beyond a level, or `limit`, if it is before `stop`.

    Edges are the columns `first`, at or above `level`, and `second`, at or above `other` or (`falls`) at or below it.
    Else a row from `stop` on before which there is none. `stop` ends the window of `row`: what is beyond is looked at
    when all runs have come there.
    """
    end = min(limit, stop)
    if row < end:
        # Where trading is dense it is often the very next row, which takes longer to be told by vectors.
        if passes(first, second, row, level, other, falls):
            return row
        row = first_reaching(x, row, end, first, second, level, other, falls)
    if row < end or limit <= stop:
        return row
    return window_reaching(x, max(row, stop), limit, first, second, level, other, falls)


@jit_small
def _stretches(mask, wanted):
    """How many stretches begin in a mask, given whether the quote before was wanted; and whether the last one was."""
    return bits_in(mask & ~((mask << 1) | wanted)), mask >> (LANES - 1)


@jit_small
def block_mask(x, row, high_ab, high_ba):
    """A bit for each quote of a block: whether one of its edges is at or above its level."""
    mask = np.int64(0)
    for lane in range(0, BLOCK, LANES):
        mask |= (at_least(x.ab, row + lane, high_ab) | at_least(x.ba, row + lane, high_ba)) << lane
    return mask


@jit_part
def stretches_in(x, row, end, high_ab, high_ba, wanted):
    """`stretches` within a block, quote by quote."""
    found = np.int64(0)
    if row + BLOCK == end and (plain(x) or (x.unusable == 0 and x.seen == 0)):
        mask = block_mask(x, row, high_ab, high_ba)
        return bits_in(mask & ~((mask << 1) | wanted)), (mask >> (BLOCK - 1)) & 1
    while row + LANES <= end:
        mask = at_least(x.ab, row, high_ab) | at_least(x.ba, row, high_ba)
        if not plain(x) and (x.unusable != 0 or x.seen != 0) and at_most(x.ab, row, np.inf) != _ALL:
            break
        more, wanted = _stretches(mask, wanted)
        found += more
        row += LANES
    while row < end:
        ab, ba = float_at(x.ab, row), float_at(x.ba, row)
        if not np.isnan(ab):
            wants = np.int64(1) if ab >= high_ab or ba >= high_ba else np.int64(0)
            found += wants & ~wanted
            wanted = wants
        row += 1
    return found, wanted


@jit_small
def verdict(extremes, stride, at, high_ab, high_ba, wanted):
    """Of a whole block: 0 when none of its quotes is wanted, 1 when all are, the state before when it has none, or -1."""
    if float_at(extremes, MIN_BEST * stride + at) == np.inf:
        return wanted
    if float_at(extremes, MAX_AB * stride + at) < high_ab and float_at(extremes, MAX_BA * stride + at) < high_ba:
        return np.int64(0)
    return np.int64(1) if float_at(extremes, MIN_BEST * stride + at) >= max(high_ab, high_ba) else np.int64(-1)


@jit_part
def stretches(x, row, stop, high_ab, high_ba, wanted):
    """How many stretches of quotes with an edge at or above its level begin from `row` to before `stop`.

    `wanted` tells (1 or 0) whether the quote before is in one, and what is returned second whether the last one is.
    """
    found = np.int64(0)
    while row < stop:
        for level in range(2):
            bits = 2 * BLOCK_BITS if level == 0 else BLOCK_BITS
            if row & ((1 << bits) - 1) != 0 or row + (1 << bits) > stop:
                continue
            extremes, stride = (x.windows, x.window_stride) if level == 0 else (x.blocks, x.block_stride)
            now = verdict(extremes, stride, row >> bits, high_ab, high_ba, wanted)
            if now >= 0:
                found += now & ~wanted
                wanted = now
                row += 1 << bits
                break
        else:
            end = min(stop, (row | (BLOCK - 1)) + 1)
            more, wanted = stretches_in(x, row, end, high_ab, high_ba, wanted)
            found += more
            row = end
    return found, wanted


@jit_part
def first_from(x, low, high, time_ns):
    """The first of the rows from `low` to before `high` that is not before a time; `high` when there is none."""
    while high - low > BLOCK:
        middle = (low + high) // 2
        if int_at(x.ts, middle) < time_ns:
            low = middle + 1
        else:
            high = middle
    while low + LANES <= x.n and low < high:
        mask = before(x.ts, low, time_ns)
        if mask != _ALL:
            return min(low + lowest_bit(~mask), high)
        low += LANES
    while low < high and int_at(x.ts, low) < time_ns:
        low += 1
    return min(low, high)


@jit_small
def row_before(x, row, time_ns):
    """A row after `row`, and a few before the first that is not before a time, or NEVER when there is none.

    Where the time is far away, `row_at` waits for memory, mostly for nothing: until then other things happen.
    """
    if time_ns > x.last_ns:
        return NEVER
    if time_ns <= int_at(x.ts, row):
        return row + 1
    return max(row + 1, small_at(x.rows_by_time, (time_ns - x.first_ns) >> x.time_shift))


@jit_small
def fetch_row_before(x, time_ns):
    """Have what `row_before` reads of a time soon on its way into the caches."""
    fetch(x.rows_by_time + 4 * ((time_ns - x.first_ns) >> x.time_shift))


@jit_part
def row_at(x, row, time_ns):
    """The first row after `row` that is not before a time; NEVER when there is none. A table says where to look."""
    if time_ns > x.last_ns:
        return NEVER
    if time_ns <= int_at(x.ts, row):
        return row + 1
    step = (time_ns - x.first_ns) >> x.time_shift
    return first_from(x, max(row + 1, small_at(x.rows_by_time, step)), small_at(x.rows_by_time, step + 1), time_ns)
