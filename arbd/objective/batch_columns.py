"""What an objective that evaluates many sets at once must answer: one number of each metric for each set, blocks of one shape."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arbd.arrays import Array
from arbd.errors import ObjectiveError


def checked(column: Array, count: int, name: str) -> Array:
    """A metric of a batch as floats; ObjectiveError when it has not one value for each set."""
    values = np.asarray(column, dtype=np.float64)
    if values.shape != (count,):
        raise ObjectiveError(f"evaluate_batch returned {values.shape} values of {name!r} for {count} parameter sets")
    return values


def checked_blocks(blocks: object, n: int) -> npt.NDArray[np.float64]:
    """Return blocks of `n` rows; ObjectiveError where they are no numbers of shape (n, n_blocks, 2)."""
    try:
        values = np.asarray(blocks, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ObjectiveError(
            "evaluate_batch returned blocks that are not numbers, or not as many for each set"
        ) from error
    if values.ndim != 3 or values.shape[0] != n or values.shape[2] != 2:
        raise ObjectiveError(f"evaluate_batch returned blocks of shape {values.shape}; expected ({n}, n_blocks, 2)")
    return values
