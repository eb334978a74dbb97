"""Times in Binance's public files: milliseconds, and microseconds in spot files since 2025. Digits tell which."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.quotes import IntArray

# 2001-09-09 to 5138 in ms, 2001-09-09 to 5138 in us: no time of a market is in both ranges.
_MS, _US, _END = 10**12, 10**15, 10**17
_LAST_NS = np.iinfo(np.int64).max


def unit_ns(times: IntArray, name: str, path: Path, rows_before: int = 0) -> IntArray:
    """How many nanoseconds the unit of each time is; DataError for a time that is neither in ms nor in us."""
    micro = times >= _US
    bad = (times < _MS) | ((times >= 10**14) & ~micro) | (times >= _END) | (times > _LAST_NS // 1_000)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            path, f"{name} is {int(times[row])}, a time neither in ms nor in us since 1970", rows_before + row + 1
        )
    return np.where(micro, np.int64(1_000), np.int64(1_000_000))
