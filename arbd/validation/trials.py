"""How many independent trials a search was worth: sets beside one another trade alike, and count as little more than one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError, UsageError
from arbd.validation.blocks import checked_returns

MIN_STEPS = 4


def effective_trials(returns: npt.ArrayLike | None = None, *, s: npt.ArrayLike | None = None) -> float:
    """Number of independent trials with as much variety as these: 1 (all alike) to the number that traded.

    Takes `returns` (n_steps, n_trials), or their sums over blocks of steps, `s` (n_trials, n_blocks). It is the
    participation ratio of the trials' correlation matrix, n^2 / sum of squared correlations (after Bretherton et al.,
    J. Climate 12, 1999), with every squared correlation freed from what chance adds to it where steps are few. Clusters
    count by their size, so a few odd trials beside many alike add little. Trials without any spread are left out.
    NotComputableError with fewer than 4 steps or blocks, or where no trial has spread.
    """
    if (returns is None) == (s is None):
        raise UsageError(
            "give either returns of shape (n_steps, n_trials), or block sums s of shape (n_trials, n_blocks)"
        )
    table = np.asarray(s, dtype=np.float64).T if returns is None else np.asarray(returns, dtype=np.float64)
    table = checked_returns(table)
    n, given = table.shape
    if n < MIN_STEPS:
        raise NotComputableError(f"correlations of trials take at least {MIN_STEPS} steps or blocks; there are {n}")
    centred = table - table.mean(axis=0)
    length = np.sqrt((centred * centred).sum(axis=0))
    spread = length > 1e-12 * np.abs(table).max(axis=0)
    traded = int(np.count_nonzero(spread))
    if traded == 0:
        raise NotComputableError(f"the returns of all {given} trials are without any spread")
    unit = centred[:, spread] / length[spread]
    # The squares of all pairs, from the smaller of the two Gram matrices.
    gram = unit @ unit.T if n < traded else unit.T @ unit
    others = float((gram * gram).sum()) - traded
    # Of independent trials, the square of a correlation over n steps is 1 / (n - 1) on average.
    freed = (others * (n - 1) - traded * (traded - 1)) / (n - 2)
    return float(np.clip(traded**2 / max(traded + freed, 1.0), 1.0, traded))
