"""The market-data model: what two venues quoted over time, as columns.

Owns the `Quotes` value and the rules by which rows are good or bad. Keeps: whoever holds a `Quotes`
need not check it again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Quotes:
    """Top of book of venues A and B, one row per change, all columns of the same length n.

    `ts_ns` is UTC nanoseconds, non-decreasing. Prices are in each venue's own quote currency; sizes are in
    base units, `inf` where the source does not tell; `fx` is units of A's quote currency per unit of B's.
    """

    ts_ns: IntArray
    bid_a: FloatArray
    ask_a: FloatArray
    bid_b: FloatArray
    ask_b: FloatArray
    bid_size_a: FloatArray
    ask_size_a: FloatArray
    bid_size_b: FloatArray
    ask_size_b: FloatArray
    fx: FloatArray

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])
