"""The metrics of iterations from those of their evaluations, as columns: means, standard errors, robust metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError
from arbd.job.aggregation import BLOCKS, MARKETS, STANDARD_ERROR, Aggregation, RobustRule
from arbd.objective.protocol import MAX_METRICS
from arbd.paper.metrics import block_counts
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


@dataclass(frozen=True, slots=True, eq=False)
class GridReturns:
    """What the blocks of the engine are: of each of n sets the capital that they are shares of, and its whole grid steps."""

    capital: FloatArray
    steps: npt.NDArray[np.int64]


def assembled(
    aggregation: Aggregation,
    goals: Sequence[MetricGoal],
    runs: Sequence[Runs],
    owners: npt.NDArray[np.int64],
    n: int,
    grid: GridReturns | None = None,
) -> tuple[Metrics, FloatArray | None]:
    """Metrics (n,) and blocks of n iterations from one `Runs` for each repeat.

    The first n sets are those of the iterations; `owners` says of which iteration each set is. `grid` is of the engine's
    blocks; those of others are in the unit of the metric. ObjectiveError says what is wrong with what was returned.
    """
    pools = [_means([run.pools[pool] for run in runs]) for pool in range(len(runs[0].pools))]
    blocks = _mean_blocks([run.blocks for run in runs], n)
    metrics = {name: column[:n] for name, column in pools[0].items()}
    added: Metrics = {}
    missing = np.full(n, np.nan)
    for raw, goal in zip(aggregation.raw(goals), goals, strict=True):
        if raw.name not in metrics:
            continue
        if aggregation.repeats > 1:
            added[raw.name + STANDARD_ERROR] = _standard_error(
                [run.pools[0].get(raw.name, missing)[:n] for run in runs], metrics[raw.name]
            )
        rule = aggregation.robust
        if rule is None:
            continue
        if rule.over == BLOCKS:
            added[goal.name] = _of_blocks(rule, (raw, goal), metrics[raw.name], blocks, grid)
        elif rule.over == MARKETS:
            apart = [pool.get(raw.name, missing) for pool in pools[1:]] or [missing]
            added[goal.name] = robust_of(np.column_stack(apart), goal, rule.q)
        else:
            added[goal.name] = _of_neighbours(pools[0][raw.name], owners, n, goal, rule.q)
    if twice := metrics.keys() & added.keys():
        raise ObjectiveError(
            f"the objective returned a metric named {min(twice)!r}, a name that arbd gives itself here"
        )
    if len(metrics) + len(added) > MAX_METRICS:
        raise ObjectiveError(
            f"the objective returned {len(metrics):,} metrics, and arbd adds {len(added):,}; the maximum is {MAX_METRICS:,}"
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
    rule: RobustRule,
    goals: tuple[MetricGoal, MetricGoal],
    metric: FloatArray,
    blocks: FloatArray | None,
    grid: GridReturns | None,
) -> FloatArray:
    """The robust metric (n,) over groups of return blocks; `goals` are the raw one and its own.

    Of the engine's blocks only those with a grid step are a stretch of the time; a set that has none of them has NaN.
    """
    if blocks is None or not blocks.shape[1]:
        raise ObjectiveError(
            "the objective returned no return blocks, which `robust: {over: blocks}` needs: return arbd.tuning.Outcome(metrics, "
            "blocks), with the sum and the sum of squares of the returns of each stretch of the time"
        )
    raw, goal = goals
    sums = blocks[:, :, 0]
    found = np.full(len(sums), np.nan)
    if grid is None:
        _require_sums(raw.name, metric, sums)
        found = _of_groups(rule, goal, sums)
    else:
        sums = sums * grid.capital[:, None]
        for steps in np.unique(grid.steps).tolist():
            rows, held = np.flatnonzero(grid.steps == steps), block_counts(steps, sums.shape[1]) > 0
            if held.any():
                found[rows] = _of_groups(rule, goal, np.ascontiguousarray(sums[rows][:, held]))
    return np.where(np.isnan(metric), np.nan, found)


def _of_groups(rule: RobustRule, goal: MetricGoal, sums: FloatArray) -> FloatArray:
    """Over neighbouring blocks (n, n_blocks), joined to as many groups as the rule says, or as there are blocks."""
    counts = np.ones(sums.shape[1], dtype=np.int64)
    return robust_of(BlockSums(sums, sums, counts).grouped(min(rule.groups, sums.shape[1])).s, goal, rule.q)


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
