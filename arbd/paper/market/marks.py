"""What a market is known by, whatever file it stands in: its prices at moments that do not depend on the file.

A file that is written again in another format, under another name, without its first row, or as a part of a longer one has
other bytes, and says the same of the same moments. The moments are multiples of a power of two of nanoseconds, so that
those of a long recording are among those of any part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from arbd.paper.market.quotes import PRICES, Quotes

# Of one market at most, and of all markets of a job together, as far as each has two.
MAX_MARKS, MAX_OF_ALL, MIN_MARKS = 64, 512, 2
# Writing prices with fewer digits is no other market.
DIGITS = 6


def marks_of(quotes: Quotes, of: int = 1) -> list[str]:
    """`MOMENT_NS:DIGEST` of the prices in force at up to `MAX_MARKS` moments, fewer where the job has many markets, `of`."""
    if not len(quotes):
        return []
    most = max(MIN_MARKS, min(MAX_MARKS, MAX_OF_ALL // of))
    first, last = int(quotes.ts_ns[0]), int(quotes.ts_ns[-1])
    step = 1
    while last // step - -(-first // step) + 1 > most:
        step *= 2
    moments = [step * at for at in range(-(-first // step), last // step + 1)]
    rows = np.searchsorted(quotes.ts_ns, moments, side="right") - 1
    prices = zip(*(getattr(quotes, name)[rows].tolist() for name in PRICES), strict=True)
    return [f"{moment}:{_digest(each)}" for moment, each in zip(moments, prices, strict=True)]


def _digest(prices: Iterable[float]) -> str:
    return hashlib.sha256(" ".join(f"{price:.{DIGITS}g}" for price in prices).encode()).hexdigest()[:12]
