"""Iterations in batches: what an objective with `evaluate_batch` is asked, and the rows that its answers make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from arbd.arrays import Array
from arbd.daemon.slots.row_buffer import not_run_errors
from arbd.job.spec import JobSpec
from arbd.objective.batch_columns import checked, checked_blocks
from arbd.objective.protocol import Evaluator, Settings
from arbd.results.column_bytes import widened_blocks
from arbd.results.columns import RowBatch
from arbd.search.plan import RUN, PlannedRows
from arbd.spool.ledger import COMPLETED
from arbd.spool.spans import Span

# A batch is neither ended early nor seen to go on; a pass over a long market is cheaper the more sets it is for.
BATCH_TARGET_S = 1.0
FIRST_BATCH = 16
MAX_BATCH = 16_384


def evaluated(
    evaluator: Evaluator, spec: JobSpec, planned: PlannedRows, settings: Settings, iterations: Array
) -> tuple[dict[str, Array], npt.NDArray[np.float64] | None]:
    """A batch, those of each setting and share of the data together; `iterations` are the numbers of the rows."""
    budgets = np.ones(len(planned)) if planned.budget is None else planned.budget
    share = {} if planned.budget is None else {"budget": planned.budget}
    groups = [
        (setting, budget, index[budgets[index] == budget])
        for setting, index in settings.groups(iterations)
        for budget in np.unique(budgets[index]).tolist()
    ]
    if len(groups) == 1:
        setting, budget, _ = groups[0]
        metrics, parts = evaluator.evaluate_batch(spec.space.decode(planned.columns), budget, setting)
        return {**metrics, **share}, None if parts is None else checked_blocks(parts, len(planned))
    metrics = {}
    blocks: npt.NDArray[np.float64] | None = None
    for setting, budget, index in groups:
        found, parts = evaluator.evaluate_batch(spec.space.decode(planned.select(index).columns), budget, setting)
        for name, column in found.items():
            metrics.setdefault(name, np.full(len(planned), np.nan))[index] = checked(column, len(index), name)
        if parts is not None:
            parts = checked_blocks(parts, len(index))
            n_blocks = max(parts.shape[1], 0 if blocks is None else blocks.shape[1])
            blocks = widened_blocks(blocks, len(planned), n_blocks)
            blocks[index] = widened_blocks(parts, len(index), n_blocks)
    return {**metrics, **share}, blocks


def unrun_rows(part: Span, planned: PlannedRows, ended_ns: int) -> RowBatch:
    """The rows of iterations that need not, or may not, be run."""
    index = np.flatnonzero(planned.origin != RUN)
    unrun = planned.select(index)
    rows = batch_rows(part, index, unrun, {}, None, 0.0, ended_ns)
    return replace(rows, origin=unrun.origin, errors=not_run_errors(rows.iteration, unrun.origin))


def batch_rows(
    part: Span,
    index: Array,
    planned: PlannedRows,
    metrics: dict[str, Array],
    blocks: Array | None,
    duration_s: float,
    ended_ns: int,
) -> RowBatch:
    """The rows of iterations that completed in a batch: those at `index` in `part`."""
    n = len(index)
    return RowBatch(
        iteration=(part.first + index).astype(np.int64),
        status=np.full(n, COMPLETED, dtype=np.uint8),
        ended_ns=np.full(n, ended_ns, dtype=np.int64),
        duration_s=np.full(n, duration_s),
        attempt=np.ones(n, dtype=np.int32),
        epoch=np.full(n, part.epoch, dtype=np.int32),
        params=planned.columns,
        metrics=metrics,
        blocks=blocks,
    )


def next_batch_size(size: int, count: int, took_s: float) -> int:
    """Aim at `BATCH_TARGET_S`, growing at most eightfold at a time: the first batches tell little."""
    aim = int(count * BATCH_TARGET_S / max(took_s, 1e-9))
    return max(1, min(MAX_BATCH, size * 8, aim))
