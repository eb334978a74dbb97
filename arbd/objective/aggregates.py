"""The metrics of iterations from those of their evaluations, as columns: means, standard errors, robust metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError
from arbd.job.aggregation import BLOCKS, MARKETS, STANDARD_ERROR, Aggregation, RobustRule
from arbd.search.problem import MetricGoal
from arbd.validation.blocks import BlockSums
from arbd.validation.quantiles import quantiles
from arbd.values import dataclass

FloatArray = npt.NDArray[np.float64]
Metrics = dict[str, FloatArray]
# How far a metric may be from the sum of its return blocks, as a share of their absolute values.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """One evaluation of each of m sets: metrics (m,) of all markets, then of each; blocks (m or fewer, n_blocks, 2)."""

    pools: Sequence[Metrics]
    blocks: FloatArray | None = None


def assembled(
    aggregation: Aggregation,
    goals: Sequence[MetricGoal],
    runs: Sequence[Runs],
    owners: npt.NDArray[np.int64],
    n: int,
    scale: FloatArray | None = None,
) -> tuple[Metrics, FloatArray | None]:
    """Metrics (n,) and blocks of n iterations from one `Runs` for each repeat.

    The first n sets are those of the iterations; `owners` says of which iteration each set is. Blocks times `scale` (n,)
    are in the unit of the metric; None where they have to be already. ObjectiveError says what is wrong with what was
    returned.
    """
    pools = [_means([run.pools[pool] for run in runs]) for pool in range(len(runs[0].pools))]
    blocks = _mean_blocks([run.blocks for run in runs], n)
    metrics = {name: column[:n] for name, column in pools[0].items()}
    added: Metrics = {}
    for raw, goal in zip(aggregation.raw(goals), goals, strict=True):
        if raw.name not in metrics:
            continue
        if aggregation.repeats > 1:
            added[raw.name + STANDARD_ERROR] = _standard_error(
                [run.pools[0][raw.name][:n] for run in runs], metrics[raw.name]
            )
        rule = aggregation.robust
        if rule is None:
            continue
        if rule.over == BLOCKS:
            values = _of_blocks(rule, raw.name, metrics[raw.name], blocks, scale)
            added[goal.name] = robust_of(values, goal, rule.q)
        elif rule.over == MARKETS:
            missing = np.full(n, np.nan)
            added[goal.name] = robust_of(np.column_stack([p.get(raw.name, missing) for p in pools[1:]]), goal, rule.q)
        else:
            added[goal.name] = _of_neighbours(pools[0][raw.name], owners, n, goal, rule.q)
    if twice := metrics.keys() & added.keys():
        raise ObjectiveError(
            f"the objective returned a metric named {min(twice)!r}, a name that arbd gives itself here"
        )
    return metrics | added, blocks


def robust_of(values: FloatArray, goal: MetricGoal, q: float) -> FloatArray:
    """The quantile of each row of values (n, k), counted from the worst one by the goal; NaN of a row with a NaN."""
    return -goal.sign * quantiles(-goal.sign * values, q)


def _means(repeats: Sequence[Metrics]) -> Metrics:
    """The mean of each metric; NaN where a repeat does not have it."""
    if len(repeats) == 1:
        return {name: np.asarray(column, dtype=np.float64) for name, column in repeats[0].items()}
    some = next(iter(repeats[0].values()))
    missing = np.full(len(some), np.nan)
    names = dict.fromkeys(name for found in repeats for name in found)
    return {
        name: _mean([np.asarray(found.get(name, missing), dtype=np.float64) for found in repeats]) for name in names
    }


def _mean(columns: Sequence[FloatArray]) -> FloatArray:
    """Added one after the other, so that a row by itself has the bits that it has among others."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = columns[0]
        for column in columns[1:]:
            total = total + column
        return total / len(columns)


def _standard_error(columns: Sequence[FloatArray], mean: FloatArray) -> FloatArray:
    """Of the mean, from the deviation of the repeats."""
    with np.errstate(invalid="ignore", over="ignore"):
        squares = _mean([np.square(column - mean) for column in columns])
        error: FloatArray = np.sqrt(squares / (len(columns) - 1))
        return error


def _mean_blocks(repeats: Sequence[object], n: int) -> FloatArray | None:
    """Sums and sums of squares of returns, each the mean over repeats: as of all their returns together."""
    found = [np.asarray(blocks, dtype=np.float64)[:n] for blocks in repeats if blocks is not None]
    if not found:
        return None
    shapes = {blocks.shape for blocks in found}
    if len(found) < len(repeats) or len(shapes) > 1:
        told = " and ".join(sorted(str(shape[1:]) for shape in shapes)) if len(shapes) > 1 else "none at times"
        raise ObjectiveError(f"the repeats of an iteration returned blocks of different shapes: {told}")
    if found[0].ndim != 3 or found[0].shape[2] != 2:
        raise ObjectiveError(f"the objective returned blocks of shape {found[0].shape[1:]}; expected (n_blocks, 2)")
    return _mean(found)


def _of_blocks(
    rule: RobustRule, name: str, metric: FloatArray, blocks: FloatArray | None, scale: FloatArray | None
) -> FloatArray:
    """The values of a metric in each group of return blocks, (n, groups)."""
    if blocks is None or not blocks.shape[1]:
        raise ObjectiveError(
            "the objective returned no return blocks, which `robust: {over: blocks}` needs: return arbd.tuning.Outcome(metrics, "
            "blocks), with the sum and the sum of squares of the returns of each stretch of the time"
        )
    sums = blocks[:, :, 0]
    if scale is not None:
        sums = sums * scale[:, None]
    else:
        _require_sums(name, metric, sums)
    counts = np.ones(sums.shape[1], dtype=np.int64)
    values = BlockSums(sums, blocks[:, :, 1], counts).grouped(min(rule.groups, sums.shape[1])).s
    return np.where(np.isnan(metric)[:, None], np.nan, values)


def _require_sums(name: str, metric: FloatArray, sums: FloatArray) -> None:
    """ObjectiveError unless the metric is the sum of its blocks: of any other one they are no parts."""
    with np.errstate(invalid="ignore", over="ignore"):
        total, room = sums.sum(axis=1), ROUNDING * np.abs(sums).sum(axis=1)
        differs = np.isfinite(metric) & ~(np.abs(metric - total) <= np.maximum(room, 1e-12))
    for row in np.flatnonzero(differs)[:1].tolist():
        raise ObjectiveError(
            f"{name} is {metric[row]:g}, and its return blocks sum up to {total[row]:g}: `robust: {{over: blocks}}` takes a "
            f"metric that is the sum of its blocks, in one unit"
        )


def _of_neighbours(values: FloatArray, owners: npt.NDArray[np.int64], n: int, goal: MetricGoal, q: float) -> FloatArray:
    """Of each iteration, over its own set and the neighbours of that; those with as many are looked at together."""
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=n)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    found = np.empty(n)
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count)
        at = starts[rows][:, None] + np.arange(count)
        found[rows] = robust_of(values[order[at]], goal, q)
    return found
