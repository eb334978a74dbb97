"""Quantiles of numbers of which some may be infinite."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt


def quantile(values: npt.NDArray[np.float64], share: float) -> float:
    """The quantile of values (n,), at least one of them, none NaN; between two that are finite it is interpolated.

    There is nothing between a number and infinity: where a value is infinite the quantile is one of the values.
    """
    method: Literal["linear", "inverted_cdf"] = "linear" if np.isfinite(values).all() else "inverted_cdf"
    return float(np.quantile(values, share, method=method))


def quantiles(values: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """`quantile` of each row of values (n, k), in the same bits; NaN of a row with a NaN."""
    found = np.full(len(values), np.nan)
    finite = np.isfinite(values).all(axis=1)
    if finite.any():
        found[finite] = np.quantile(values[finite], share, axis=1)
    for row in np.flatnonzero(~finite & ~np.isnan(values).any(axis=1)).tolist():
        found[row] = quantile(values[row], share)
    return found
