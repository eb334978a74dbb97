"""Probability of backtest overfitting, by combinatorially symmetric cross-validation.

Bailey, Borwein, López de Prado, Zhu, "The Probability of Backtest Overfitting", J. Computational Finance 20(4), 2017
(SSRN 2326253). Cut time into S groups; for every way to take half of them as training, choose the best trial there
and see where it ranks on the other half. It holds for trials that were placed without looking at results (grid, random,
Sobol ...): in an adaptive search most trials are near the winner because it won.

For 16 groups there are 12,870 ways, each with a metric of every trial. Both halves of the groups keep the sums of all
their subsets, so that one addition gives the sum of a way; a way and its complement are done together, each being the
other's test. Sums are added in one order on every machine, so that equal trials stay equal to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError, UsageError
from arbd.validation.blocks import BlockSums, FloatArray, IntArray, block_sums, sharpe_of_sums
from arbd.values import dataclass

MAX_GROUPS = 20
# Numbers that one operation works on: what a core's cache holds of five arrays.
CELLS = 1 << 15
# How many sums of subsets are held at a time, each of all trials.
TABLE_ROWS = 16
METRICS = ("sharpe", "mean")
# In-sample metrics that differ by less, as a share of the largest, are equal.
EQUAL = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Overfitting:
    """What cross-validation says of choosing the best trial.

    `pbo` is the share of splits in which the best in training is not above the median in test; `p_loss` the share in
    which its test metric is below 0. `logits` (combinations,) has ln(w / (1 - w)) with w the winner's rank in test /
    (trials + 1), equal trials sharing the mean rank; splits are in lexicographic order of their training groups.
    `in_sample` and `out_of_sample` are the winner's metric in training and in test (per step; NaN where returns have no
    spread). `slope` is that of out of sample on in sample, None where those in sample are all equal or undefined.
    """

    pbo: float
    p_loss: float
    slope: float | None
    logits: FloatArray
    combinations: int
    groups: int
    n_trials: int
    in_sample: FloatArray
    out_of_sample: FloatArray


def probability_of_backtest_overfitting(
    returns: npt.ArrayLike | None = None,
    groups: int = 16,
    metric: str = "sharpe",
    *,
    s: npt.ArrayLike | None = None,
    q: npt.ArrayLike | None = None,
    counts: npt.ArrayLike | None = None,
) -> Overfitting:
    """PBO from `returns` (n_steps, n_trials), or from block sums `s`, `q` (n_trials, n_blocks) and `counts` (n_blocks,).

    `groups` (even, at most 20) is into how many groups of neighbouring steps or blocks time is cut; `metric` is
    "sharpe" or "mean". A trial without any return in a half has the metric 0 there. NotComputableError with fewer than
    2 trials, or fewer blocks than groups.
    """
    _check(groups, metric)
    data = block_sums(returns, s, q, counts).grouped(groups)
    if data.n_trials < 2:
        raise NotComputableError(f"a winner is chosen among at least 2 trials; there are {data.n_trials}")
    if data.counts.min() < 1:
        raise NotComputableError(f"{data.n_steps} steps are too few for {groups} groups of time: some would be empty")
    return _summary(_splits(data, metric), data, metric)


def overfitting_error(
    returns: npt.ArrayLike | None = None,
    groups: int = 16,
    metric: str = "sharpe",
    *,
    s: npt.ArrayLike | None = None,
    q: npt.ArrayLike | None = None,
    counts: npt.ArrayLike | None = None,
) -> float:
    """Standard error of the PBO of the same arguments: a jackknife that leaves out two neighbouring groups at a time.

    The splits of one set of data have nearly all their data in common, so their number says nothing of the error. Where
    groups of time are independent it is up to twice too large; it is seldom too small.
    """
    _check(groups, metric)
    if groups < 6:
        raise NotComputableError(f"the error of a PBO takes at least 6 groups; there are {groups}")
    data = block_sums(returns, s, q, counts).grouped(groups)
    parts = []
    for left_out in range(groups // 2):
        kept = np.delete(np.arange(groups), [2 * left_out, 2 * left_out + 1])
        part = BlockSums(data.s[:, kept], data.q[:, kept], data.counts[kept])
        parts.append(probability_of_backtest_overfitting(s=part.s, q=part.q, counts=part.counts, groups=groups - 2,
                                                         metric=metric).pbo)  # fmt: skip
    n = len(parts)
    return float(np.sqrt((n - 1) * np.var(parts)))


def _check(groups: int, metric: str) -> None:
    if groups < 2 or groups % 2 or groups > MAX_GROUPS:
        raise UsageError(f"{groups} groups; expected an even number from 2 to {MAX_GROUPS}")
    if metric not in METRICS:
        raise UsageError(f"metric {metric!r}; expected one of {', '.join(METRICS)}")


@dataclass(frozen=True, slots=True, eq=False)
class _Splits:
    """All splits in lexicographic order: `training` (n, groups) which groups are in it, the winner, its rank in test."""

    training: npt.NDArray[np.bool_]
    winner: IntArray
    rank: FloatArray


def _splits(data: BlockSums, metric: str) -> _Splits:
    groups, half = data.n_blocks, data.n_blocks // 2
    tables = [np.ascontiguousarray(data.s.T)]
    if metric == "sharpe":
        # Of a trial without any return, 0 / 0 is to be 0.
        tables.append(np.maximum(data.q.T, np.finfo(np.float64).tiny, order="C"))
    masks: list[int] = []
    found: list[tuple[int, float]] = []
    work = _Comparison(data.n_trials)
    for lows, highs in _batches(groups):
        not_highs = [_without(high, range(half, groups)) for high in highs]
        masks_of_highs = [(_mask(a, groups), _mask(b, groups)) for a, b in zip(highs, not_highs, strict=True)]
        parts = [(_sums(table, highs), _sums(table, not_highs)) for table in tables]
        for low in lows:
            not_low = _without(low, range(half))
            fixed = [(_sums(table, [low]), _sums(table, [not_low])) for table in tables]
            own, other = _mask(low, groups), _mask(not_low, groups)
            for high, not_high in masks_of_highs:
                masks += [own | high, other | not_high]
            for start in range(0, len(highs), work.rows):
                rows = slice(start, start + work.rows)
                one, two = (
                    [(own[side], part[side][rows]) for own, part in zip(fixed, parts, strict=True)] for side in (0, 1)
                )
                found += work.both_ways(one, two)
    assert len(found) == len(masks) == comb(groups, half)
    order = np.argsort(-np.array(masks))
    bits = 1 << np.arange(groups - 1, -1, -1)
    return _Splits(
        (np.array(masks)[order, None] & bits) > 0,
        np.array([winner for winner, _ in found])[order],
        np.array([rank for _, rank in found])[order],
    )


def _batches(groups: int) -> Iterator[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]]:
    """Choices in the first half of the groups, and in the second, each of the one to be joined with each of the other.

    Every choice of the first half has group 0, so that each split is met once, together with its complement.
    """
    half = groups // 2
    for size in range(1, half + 1):
        lows = [chosen for chosen in combinations(range(half), size) if chosen[0] == 0]
        highs = list(combinations(range(half, groups), half - size))
        for first in range(0, len(highs), TABLE_ROWS):
            yield lows, highs[first : first + TABLE_ROWS]


class _Comparison:
    """Finds winners and their ranks of many splits, in arrays that are made once."""

    def __init__(self, n_trials: int) -> None:
        self._n = n_trials
        self.rows = max(1, CELLS // n_trials)
        self._arrays = [np.empty((self.rows, n_trials)) for _ in range(4)]
        self._flags = np.empty((self.rows, n_trials), dtype=np.bool_)

    def both_ways(
        self, one: list[tuple[FloatArray, FloatArray]], two: list[tuple[FloatArray, FloatArray]]
    ) -> list[tuple[int, float]]:
        """Winner and its rank in test, for training on `one` and for training on `two`, split after split."""
        first, second, left, right = self._arrays
        a, b = self._ranked(one, first, left, right), self._ranked(two, second, left, right)
        ways = [self._winners(train, test) for train, test in ((a, b), (b, a))]
        return [each for pair in zip(*ways, strict=True) for each in pair]

    def _winners(self, train: FloatArray, test: FloatArray) -> list[tuple[int, float]]:
        """The best of each row of `train`, and its rank from 1 in that of `test`; equal values share their mean rank."""
        best = train.argmax(axis=1)
        value = np.take_along_axis(test, best[:, None], axis=1)
        below = _counted(np.less(test, value, out=self._flags[: len(test)]))
        up_to = _counted(np.less_equal(test, value, out=self._flags[: len(test)]))
        return [(at, low + (high - low + 1) / 2) for at, low, high in zip(best.tolist(), below, up_to, strict=True)]

    def _ranked(
        self, parts: list[tuple[FloatArray, FloatArray]], out: FloatArray, left: FloatArray, right: FloatArray
    ) -> FloatArray:
        """The metric, or for a Sharpe ratio what orders trials as it does: S |S| / Q of sums S and sums of squares Q."""
        rows = len(parts[0][1])
        out, left, right = out[:rows], left[:rows], right[:rows]
        np.add(*parts[0], out=out)
        if len(parts) > 1:
            np.add(*parts[1], out=left)
            np.abs(out, out=right)
            out *= right
            out /= left
        return out


def _summary(splits: _Splits, data: BlockSums, metric: str) -> Overfitting:
    share = splits.rank / (data.n_trials + 1)
    sides = []
    for chosen in (splits.training, ~splits.training):
        s, q = ((table[splits.winner] * chosen).sum(axis=1) for table in (data.s, data.q))
        n = (data.counts * chosen).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            sides.append((s, s / n if metric == "mean" else sharpe_of_sums(s, q, n)))
    (_, in_sample), (test_sum, out_of_sample) = sides
    return Overfitting(
        pbo=float((splits.rank <= (data.n_trials + 1) / 2).mean()),
        p_loss=float((test_sum < 0).mean()),
        slope=_slope(in_sample, out_of_sample),
        logits=np.log(share / (1 - share)),
        combinations=len(share),
        groups=data.n_blocks,
        n_trials=data.n_trials,
        in_sample=in_sample,
        out_of_sample=out_of_sample,
    )


def _slope(x: FloatArray, y: FloatArray) -> float | None:
    both = np.isfinite(x) & np.isfinite(y)
    if not both.any():
        return None
    away = x[both] - x[both].mean()
    # What rounding leaves of equal numbers is no difference.
    spread = float(np.abs(away).max())
    if spread <= EQUAL * np.abs(x[both]).max():
        return None
    # Squares of numbers that are next to nothing are nothing.
    away /= spread
    return float((away * (y[both] / spread)).sum() / (away * away).sum())


def _without(chosen: tuple[int, ...], groups: range) -> tuple[int, ...]:
    return tuple(group for group in groups if group not in chosen)


def _counted(flags: npt.NDArray[np.bool_]) -> list[int]:
    """How many of each row are true; row by row, as counting along an axis is many times slower."""
    return [int(np.count_nonzero(row)) for row in flags]


def _mask(chosen: tuple[int, ...], groups: int) -> int:
    return sum(1 << (groups - 1 - group) for group in chosen)


def _sums(table: FloatArray, choices: list[tuple[int, ...]]) -> FloatArray:
    """Sums of the chosen rows of (groups, n_trials), (len(choices), n_trials), in the order of the groups."""
    sums = np.zeros((len(choices), table.shape[1]))
    for at, chosen in enumerate(choices):
        for group in chosen:
            sums[at] += table[group]
    return sums
