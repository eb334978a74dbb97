"""exp and log with the same bits on every machine.

Those of NumPy and of the C library differ in the last bit between processors, by the instructions that these have.
Keeps I5: here is nothing but additions, multiplications and powers of two, which IEEE 754 defines to the bit, and
decimal arithmetic.
"""

from __future__ import annotations

import decimal
from functools import lru_cache

from arbd.arrays import np, npt

# log(2) in two parts: a multiple of the first, up to 2**11, is exact (Cody and Waite 1980).
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_TWOS_PER_E = float.fromhex("0x1.71547652b82fep+0")
_TERMS = 14


@lru_cache(maxsize=1024)
def log(value: float) -> float:
    """The natural logarithm of a positive number, rounded right.

    The bounds of a space are asked for again in every generation, and fifty digits take a tenth of a millisecond.
    """
    with decimal.localcontext(prec=50):
        return float(decimal.Decimal(value).ln())


def exp(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The exponential function of `values`, which lie between -700 and 700, right to about one unit in the last place."""
    twos = np.rint(values * _TWOS_PER_E)
    rest = (values - twos * _LN2_HIGH) - twos * _LN2_LOW
    total = np.ones_like(rest)
    for term in range(_TERMS, 0, -1):
        total = total * rest / term + 1.0
    return np.ldexp(total, twos.astype(np.int64))
