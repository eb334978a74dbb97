"""Returns of many trials, as the statistics take them: step by step, or as sums over blocks of steps.

Sum and sum of squares of each block are enough for every mean and Sharpe ratio over any choice of blocks, so nobody
has to keep a return of every step of every trial.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError, UsageError
from arbd.values import dataclass

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class BlockSums:
    """`s` and `q`, shape (n_trials, n_blocks): sums of returns and of their squares; `counts` (n_blocks,): steps."""

    s: FloatArray
    q: FloatArray
    counts: IntArray

    @property
    def n_trials(self) -> int:
        """How many trials."""
        return len(self.s)

    @property
    def n_blocks(self) -> int:
        """How many blocks."""
        return len(self.counts)

    @property
    def n_steps(self) -> int:
        """How many steps in all blocks."""
        return int(self.counts.sum())

    def of_trials(self, index: npt.NDArray[np.intp]) -> BlockSums:
        """Only these trials."""
        return BlockSums(self.s[index], self.q[index], self.counts)

    def grouped(self, groups: int) -> BlockSums:
        """The same returns in `groups` groups of neighbouring blocks, as equal in blocks as they can be."""
        if groups > self.n_blocks:
            raise NotComputableError(f"{self.n_blocks} blocks cannot be put in {groups} groups")
        if groups == self.n_blocks:
            return self
        starts = np.arange(groups) * self.n_blocks // groups
        return BlockSums(
            np.add.reduceat(self.s, starts, axis=1),
            np.add.reduceat(self.q, starts, axis=1),
            np.add.reduceat(self.counts, starts),
        )

    def sharpe(self) -> FloatArray:
        """Mean / standard deviation (ddof 1) of each trial's steps, (n_trials,), not annualised; NaN without spread."""
        n = self.n_steps
        if n < 2:
            raise NotComputableError(f"a Sharpe ratio takes at least 2 steps; there are {n}")
        return sharpe_of_sums(self.s.sum(axis=1), self.q.sum(axis=1), np.float64(n))


def sharpe_of_sums(s: FloatArray, q: FloatArray, n: FloatArray | np.float64) -> FloatArray:
    """Sharpe ratio per step from sums, sums of squares and numbers of steps; NaN where the returns have no spread."""
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = q - s * s / n
        # What rounding leaves of equal returns is no spread.
        return np.asarray(np.where(spread > 1e-12 * q, s / n / np.sqrt(spread / (n - 1)), np.nan))


def block_sums(
    returns: npt.ArrayLike | None, s: npt.ArrayLike | None, q: npt.ArrayLike | None, counts: npt.ArrayLike | None
) -> BlockSums:
    """Either `returns` of shape (n_steps, n_trials), each step a block; or `s`, `q` and `counts`, checked."""
    if (returns is None) == (s is None):
        raise UsageError("give either returns of shape (n_steps, n_trials), or block sums s, q and counts")
    if returns is not None:
        table = checked_returns(returns).T
        return BlockSums(np.ascontiguousarray(table), np.square(table), np.ones(table.shape[1], dtype=np.int64))
    if q is None or counts is None:
        raise UsageError("block sums are s and q of shape (n_trials, n_blocks), and counts of shape (n_blocks,)")
    given = BlockSums(
        np.asarray(s, dtype=np.float64), np.asarray(q, dtype=np.float64), np.asarray(counts, dtype=np.int64)
    )
    shape = given.s.shape
    if given.s.ndim != 2 or given.q.shape != shape or given.counts.shape != shape[1:]:
        raise UsageError(
            f"s of shape {shape}, q of {given.q.shape}, counts of {given.counts.shape}; "
            "expected (n_trials, n_blocks) twice and (n_blocks,)"
        )
    if (given.counts < 0).any() or (given.q < 0).any():
        raise UsageError("a count of steps or a sum of squares is negative")
    _refuse_not_finite(given.s + given.q)
    return given


def checked_returns(returns: npt.ArrayLike) -> FloatArray:
    """Returns of shape (n_steps, n_trials), all finite."""
    table = np.asarray(returns, dtype=np.float64)
    if table.ndim != 2:
        raise UsageError(f"returns of shape {table.shape}; expected (n_steps, n_trials)")
    _refuse_not_finite(table.T)
    return table


def _refuse_not_finite(of_trials: FloatArray) -> None:
    good = np.isfinite(of_trials)
    if not good.all():
        bad = np.flatnonzero(~np.all(good, axis=1))
        raise NotComputableError(
            f"returns of {len(bad)} of {len(good)} trials are not finite (the first: trial {bad[0]}); leave them out"
        )
