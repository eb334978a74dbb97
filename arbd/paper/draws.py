"""What is drawn at random in execution: from the seed, the market, the row and the venue alone.

So one set of parameters never changes what another meets, and a row of the market is met with the same luck whatever
was done before it. Both engines call these functions; the same bits come out of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from arbd.paper.compiled import jit

# What a draw is for; A's streams, then B's are one further.
REFUSAL, LATENCY, LATENCY_ANGLE = 0, 2, 4
_M1, _M2, _STEP = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)
_S27, _S30, _S31, _S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)


@jit
def _mix(word: Any) -> Any:
    # The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    word = (word ^ (word >> _S30)) * _M1
    word = (word ^ (word >> _S27)) * _M2
    return word ^ (word >> _S31)


@jit
def uniform(seed: Any, salt: Any, row: Any, stream: Any) -> float:
    """A number from 0 to below 1."""
    word = _mix(np.uint64(seed) + _STEP)
    word = _mix((word ^ np.uint64(salt)) + _STEP)
    word = _mix((word ^ np.uint64(row)) + _STEP)
    word = _mix((word ^ np.uint64(stream)) + _STEP)
    return float(np.float64(word >> _S11) * 2.0**-53)


@jit
def latency_factor(seed: Any, salt: Any, row: Any, venue: Any, jitter: Any) -> float:
    """Log-normal with median 1, and `jitter` as the deviation of its logarithm (Box and Muller 1958)."""
    length = math.sqrt(-2.0 * math.log(1.0 - uniform(seed, salt, row, LATENCY + venue)))
    return math.exp(jitter * length * math.cos(2.0 * math.pi * uniform(seed, salt, row, LATENCY_ANGLE + venue)))
