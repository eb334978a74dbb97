"""Long series made short enough to draw: the lowest and highest value of each of equal stretches of time."""

from __future__ import annotations

import numpy as np

from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """Per stretch that holds any value: its number, and the lowest and highest value in it."""

    stretch: IntArray
    low: FloatArray
    high: FloatArray


def envelope(ts_ns: IntArray, values: FloatArray, stretches: int, start_ns: int, end_ns: int) -> Envelope:
    """The envelope of a series over `stretches` equal parts of [start_ns, end_ns]; no value outside is lost to it."""
    edges = start_ns + (end_ns - start_ns) * np.arange(1, stretches) // stretches
    firsts = np.concatenate([[0], np.searchsorted(ts_ns, edges, side="left"), [len(ts_ns)]])
    stretch = np.flatnonzero(np.diff(firsts) > 0)
    if len(stretch) == 0:
        return Envelope(stretch, values[:0], values[:0])
    starts = firsts[stretch]
    return Envelope(stretch, np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts))
