"""The compiled loops over quotes, as they are called; what they do stands in `prepare_kernel`."""

from __future__ import annotations

import numpy as np

from arbd.paper.arguments import Scalar, Table
from arbd.paper.machine_code import Loop
from arbd.paper.market.quotes import FloatArray

# Of quotes in a block and in a window, and of windows in a region.
BLOCK_BITS, WINDOW_BITS, REGION_BITS = 6, 12, 6
N_EXTREMES = 5
MAX_AB, MIN_AB, MAX_BA, MIN_BA, MIN_BEST = range(N_EXTREMES)
# How many values vector code reads at once.
LANES = 8

_SOURCE = "arbd.paper.market.prepare_kernel"
_FLOATS, _TIMES = Table(), Table("int64")
_COLUMNS, _LINE = Table(count=9), Table(writes=True)
_MADE = Table(dimensions=2, writes=True)

first_quote = Loop(_SOURCE, "first_quote", _COLUMNS, _LINE, tells=True)
fill_chunk = Loop(
    _SOURCE, "fill_chunk", _COLUMNS, _LINE, _MADE, Table(writes=True), Table(writes=True), Table("uint8", writes=True), tells=True
)  # fmt: skip
extremes = Loop(_SOURCE, "extremes", _FLOATS, _FLOATS, Scalar.WHOLE, _MADE)
coarser = Loop(_SOURCE, "coarser", Table(dimensions=2), Scalar.WHOLE, _MADE)
time_table = Loop(_SOURCE, "time_table", _TIMES, Scalar.WHOLE, Table("int32", writes=True))
moving = Loop(_SOURCE, "moving", _TIMES, _FLOATS, Scalar.NUMBER, Table(writes=True), Table(writes=True))
decaying_sum = Loop("arbd.paper.market.recursion", "decaying_sum", _FLOATS, _FLOATS, Table(writes=True))
OF_INDEX = (extremes, coarser, time_table)
LOOPS = (first_quote, fill_chunk, *OF_INDEX, moving, decaying_sum)


def room_for_extremes(n: int, bits: int) -> FloatArray:
    """Where extremes of every 2**bits of `n` values are written, and LANES more, so that vector code may read a little further."""
    size = 1 << bits
    return np.empty((N_EXTREMES, (n + size - 1) // size + LANES))
