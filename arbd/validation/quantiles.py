"""Quantiles of numbers of which some may be infinite."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def quantile(values: npt.NDArray[np.float64], share: float) -> float:
    """The quantile of values (n,), at least one of them, none NaN; between two that are finite it is interpolated.

    There is nothing between a number and infinity: where a value is infinite the quantile is one of the values.
    """
    return float(quantiles(np.asarray(values, dtype=np.float64)[None], share)[0])


def quantiles(values: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """`quantile` of each row of values (n, k), in the same bits; NaN of a row with a NaN."""
    ordered = np.sort(values, axis=1)
    last = values.shape[1] - 1
    place = share * last
    at = math.floor(place)
    found = _between(ordered[:, at], ordered[:, min(at + 1, last)], place - at)
    # NumPy's "inverted_cdf".
    one_of_them = ordered[:, max(0, math.ceil((last + 1) * share - 1))]
    found = np.where(np.isinf(values).any(axis=1), one_of_them, found)
    return np.where(np.isnan(values).any(axis=1), np.nan, found)


def _between(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], weight: float) -> npt.NDArray[np.float64]:
    """From low (weight 0) to high; as NumPy does, but where their distance is more than a float holds."""
    if weight == 0:
        return low
    with np.errstate(invalid="ignore", over="ignore"):
        distance = high - low
        found = low + distance * weight if weight < 0.5 else high - distance * (1 - weight)
        return np.where(np.isfinite(distance), found, low * (1 - weight) + high * weight)
