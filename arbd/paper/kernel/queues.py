"""Runs in queues by the level of a series that wakes them, so that one comparison per quote serves all of them.

There is a queue per kind of trigger. A queue's levels are cut into BINS equal bins; a run stands in the list of its
level's bin, lowest level first; a bit per bin tells which are not empty, a bit per word of those which words are not;
`watch` has the lowest level of each queue. The tables of the desk, a line per kind:

    heads (KINDS, BINS) int32       first run of a bin, -1 for none
    links (KINDS, runs, 3) int32    next run, run before, bin
    levels (KINDS, runs) float64    the level of a run
    scale (KINDS, 2) float64        lowest level, and bins per unit
    bits (KINDS, WORDS + 1) uint64  a bit per bin that is not empty, then a bit per word that is not zero
    watch (KINDS) float64           the lowest level, infinity when nobody waits
"""

from __future__ import annotations

import numpy as np

from arbd.paper.compiled import jit
from arbd.paper.kernel.memory import (
    float_at,
    put_float,
    put_small,
    put_word,
    small_at,
    trailing_zeros,
    word_at,
)

KINDS = 6
# An edge of either direction at or above; both at or below; the edge of one direction at or above; at or below.
BEST_FROM, BEST_TO, AB_FROM, BA_FROM, AB_TO, BA_TO = (np.int64(kind) for kind in range(KINDS))
WORDS = 64
BINS = 64 * WORDS
_NEXT, _BEFORE, _BIN = range(3)
_ONE = np.uint64(1)


@jit
def put(x, kind, run, level):
    """Let a run wait for a level."""
    place = (level - float_at(x.scale, 2 * kind)) * float_at(x.scale, 2 * kind + 1)
    bin_ = np.int64(min(max(place, 0.0), BINS - 1.0))
    i, line = run.number, kind * x.n_runs
    put_float(x.levels, line + i, level)
    before, after = np.int64(-1), small_at(x.heads, kind * BINS + bin_)
    while after >= 0 and float_at(x.levels, line + after) < level:
        before, after = after, small_at(x.links, 3 * (line + after) + _NEXT)
    put_small(x.links, 3 * (line + i) + _NEXT, after)
    put_small(x.links, 3 * (line + i) + _BEFORE, before)
    put_small(x.links, 3 * (line + i) + _BIN, bin_)
    run.queues |= 1 << kind
    if after >= 0:
        put_small(x.links, 3 * (line + after) + _BEFORE, i)
    if before >= 0:
        put_small(x.links, 3 * (line + before) + _NEXT, i)
        return
    put_small(x.heads, kind * BINS + bin_, i)
    words = kind * (WORDS + 1)
    word = bin_ >> 6
    put_word(x.bits, words + word, word_at(x.bits, words + word) | (_ONE << np.uint64(bin_ & 63)))
    put_word(x.bits, words + WORDS, word_at(x.bits, words + WORDS) | (_ONE << np.uint64(word)))
    if level < float_at(x.watch, kind):
        put_float(x.watch, kind, level)


@jit
def first(x, kind):
    """The run with the lowest level, -1 when nobody waits."""
    words = kind * (WORDS + 1)
    summary = word_at(x.bits, words + WORDS)
    if summary == 0:
        return np.int64(-1)
    word = trailing_zeros(summary)
    return small_at(x.heads, kind * BINS + 64 * word + trailing_zeros(word_at(x.bits, words + word)))


@jit
def take(x, kind, run):
    """Let a run wait no more."""
    i, line = run.number, kind * x.n_runs
    after, before = small_at(x.links, 3 * (line + i) + _NEXT), small_at(x.links, 3 * (line + i) + _BEFORE)
    run.queues &= ~(1 << kind)
    if after >= 0:
        put_small(x.links, 3 * (line + after) + _BEFORE, before)
    if before >= 0:
        put_small(x.links, 3 * (line + before) + _NEXT, after)
        return
    bin_ = small_at(x.links, 3 * (line + i) + _BIN)
    put_small(x.heads, kind * BINS + bin_, after)
    if after < 0:
        words, word = kind * (WORDS + 1), bin_ >> 6
        left = word_at(x.bits, words + word) & ~(_ONE << np.uint64(bin_ & 63))
        put_word(x.bits, words + word, left)
        if left == 0:
            put_word(x.bits, words + WORDS, word_at(x.bits, words + WORDS) & ~(_ONE << np.uint64(word)))
    if float_at(x.levels, line + i) == float_at(x.watch, kind):
        lowest = first(x, kind)
        put_float(x.watch, kind, float_at(x.levels, line + lowest) if lowest >= 0 else np.inf)
