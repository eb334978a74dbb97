"""Runs in queues by the level of a series that wakes them, so that one comparison per quote serves all of them.

There is a queue per kind of trigger. A queue's levels are cut into BINS equal bins; a run stands in the list of its
level's bin, a bit per bin tells which are not empty, and `watch` has the lowest level of each queue, or something
below it. All is in four tables, so that a queue is a row of numbers:

    heads (KINDS, BINS)         first run of a bin, -1 for none
    links (KINDS, runs, 3)      next run, run before, bin
    levels (KINDS, runs)        the level of a run
    scale (KINDS, 2)            lowest level and bins per unit
    lowest (KINDS, BINS)        the lowest level in a bin, or something below it
    bits (KINDS, WORDS)         a bit per bin that is not empty
"""

from __future__ import annotations

import numpy as np

from arbd.paper import kernel_state as k
from arbd.paper.compiled import jit, trailing_zeros

KINDS = 6
# An edge of either direction at or above; both below; the edge of one direction at or above; at or below.
BEST_FROM, BEST_UNDER, AB_FROM, BA_FROM, AB_TO, BA_TO = range(KINDS)
WORDS = 16
BINS = 64 * WORDS
NEXT, BEFORE, BIN = range(3)


@jit
def put(q, kind, i, level, f):
    """Let a run wait for a level."""
    heads, links, levels, scale, lowest, bits, watch = q
    place = (level - scale[kind, 0]) * scale[kind, 1]
    bin_ = np.int64(min(max(place, 0.0), BINS - 1.0))
    first = heads[kind, bin_]
    links[kind, i, NEXT] = first
    links[kind, i, BEFORE] = -1
    links[kind, i, BIN] = bin_
    levels[kind, i] = level
    heads[kind, bin_] = i
    if first >= 0:
        links[kind, first, BEFORE] = i
        lowest[kind, bin_] = min(lowest[kind, bin_], level)
    else:
        lowest[kind, bin_] = level
        bits[kind, bin_ >> 6] |= np.uint64(1) << np.uint64(bin_ & 63)
    watch[kind] = min(watch[kind], level)
    f[i, k.IN_QUEUES] |= 1 << kind


@jit
def lowest_level(q, kind):
    """The lowest level that is waited for, or something below it; infinity when none is."""
    heads, links, levels, scale, lowest, bits, watch = q
    for word in range(WORDS):
        if bits[kind, word] != 0:
            return lowest[kind, 64 * word + trailing_zeros(bits[kind, word])]
    return np.inf


@jit
def take(q, kind, i, f):
    """Let a run wait no more."""
    heads, links, levels, scale, lowest, bits, watch = q
    after, before, bin_ = links[kind, i, NEXT], links[kind, i, BEFORE], links[kind, i, BIN]
    if after >= 0:
        links[kind, after, BEFORE] = before
    if before >= 0:
        links[kind, before, NEXT] = after
    else:
        heads[kind, bin_] = after
        if after < 0:
            bits[kind, bin_ >> 6] &= ~(np.uint64(1) << np.uint64(bin_ & 63))
            if lowest[kind, bin_] == watch[kind]:
                watch[kind] = lowest_level(q, kind)
    f[i, k.IN_QUEUES] &= ~(1 << kind)


@jit
def reached(q, kind, value, found, n_found):
    """Append the runs whose levels are at or below `value` to `found`; they stay in the queue."""
    heads, links, levels, scale, lowest, bits, watch = q
    for word in range(WORDS):
        left = bits[kind, word]
        while left != 0:
            bin_ = 64 * word + trailing_zeros(left)
            left &= left - np.uint64(1)
            if lowest[kind, bin_] > value:
                return n_found
            rest = np.inf
            i = heads[kind, bin_]
            while i >= 0:
                if levels[kind, i] <= value:
                    found[n_found] = i
                    n_found += 1
                rest = min(rest, levels[kind, i])
                i = links[kind, i, NEXT]
            if lowest[kind, bin_] == watch[kind]:
                watch[kind] = rest
            lowest[kind, bin_] = rest
    return n_found
