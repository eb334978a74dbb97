"""What a winner earned on time that nobody who chose it had seen, and how that adds to what the search shows.

The test is the one of `superior.py` with a single trial: nothing was chosen on these returns, so nothing has to be allowed
for. Two p-values of windows that do not overlap are independent where there is no edge, and are combined as in Fisher,
"Statistical Methods for Research Workers", 1932.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError, UsageError
from arbd.validation.blocks import FloatArray
from arbd.validation.superior import superior_predictive_ability
from arbd.values import dataclass

REPS = 2_000


@dataclass(frozen=True, slots=True)
class OutOfSample:
    """Stitched returns of the winners of all folds: `total`, `t` = mean / standard error, `sharpe` a block, one-sided `p`.

    `folds_won` of `folds` earned something. `p`, of `reps` resamples, is None where there is too little to compare, for
    the reason `no_p`.
    """

    total: float
    t: float | None
    sharpe: float | None
    p: float | None
    folds: int
    folds_won: int
    blocks: int
    no_p: str = ""
    reps: int = REPS


def out_of_sample(folds: Sequence[npt.ArrayLike], block: float = 1.0, seed: int = 1, reps: int = REPS) -> OutOfSample:
    """Of the returns of each fold's winner in blocks of time, one array (n_blocks,) per fold, in the order of time.

    `block` is the mean length, in blocks, of what the bootstrap keeps together. UsageError without any fold.
    """
    parts = [np.asarray(fold, dtype=np.float64) for fold in folds]
    if not parts or any(part.ndim != 1 for part in parts):
        raise UsageError("out of sample needs at least one fold's returns of shape (n_blocks,)")
    returns = np.concatenate(parts)
    n, total = len(returns), float(returns.sum())
    won = sum(1 for part in parts if part.sum() > 0)
    sharpe = block_sharpe(returns)
    t = None if sharpe is None else sharpe * math.sqrt(n)
    p, why = None, ""
    try:
        p = superior_predictive_ability(returns[:, None], min(max(1.0, block), n / 8), reps, seed).p_consistent
    except NotComputableError as error:
        why = str(error)
    return OutOfSample(total, t, sharpe, p, len(parts), won, n, why, reps)


def block_sharpe(returns: FloatArray) -> float | None:
    """Mean over deviation of returns in blocks; None where they have no spread."""
    if len(returns) < 2:
        return None
    deviation = float(returns.std(ddof=1))
    if not deviation > 1e-12 * float(np.abs(returns).max(initial=0.0)):
        return None
    return float(returns.mean()) / deviation


def combined_p(first: float, second: float) -> float:
    """Fisher's p of two independent p-values: how often their product is as small by luck."""
    if not (0 < first <= 1 and 0 < second <= 1):
        raise UsageError(f"p-values of {first:g} and {second:g}; expected ones above 0 and at most 1")
    product = first * second
    return product * (1 - math.log(product))


def null_p(score: float, nulls: npt.ArrayLike) -> float:
    """How often luck does as well: (1 + null searches whose winner scores at least as high) / (1 + all of them).

    NaN is a search without a winner, which scores lowest. NotComputableError without null searches.
    """
    values = np.asarray(nulls, dtype=np.float64)
    if not len(values):
        raise NotComputableError("no search on a market without an edge is complete")
    known = np.where(np.isnan(values), -np.inf, values)
    own = -math.inf if math.isnan(score) else score
    return float((1 + np.count_nonzero(known >= own)) / (1 + len(known)))


def rank_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Spearman's: do those that were better in sample do better out of sample? NotComputableError with fewer than 3."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    if int(known.sum()) < 3:
        raise NotComputableError(f"a rank correlation takes 3 pairs of numbers; there are {int(known.sum())}")
    ranks = [_ranks(values[known]) for values in (a, b)]
    if min(float(each.std()) for each in ranks) == 0.0:
        raise NotComputableError("all are equal, in sample or out of sample: there are no ranks to compare")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks, equals in the middle of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[inverse], dtype=np.float64)
