"""Single winning rows of a session, read where `Winners` says that they stand, and what duplicates take of originals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arbd.arrays import Array
from arbd.results.column_bytes import common_number, widened_blocks
from arbd.results.columns import RowBatch, RowRules, concatenate
from arbd.results.precedence import Winners
from arbd.results.segments import read_batch, worker_of
from arbd.search.plan import PRUNED
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths


def read_winning(
    files: Files, paths: SessionPaths, rules: RowRules | None, winners: Winners, iterations: Array
) -> tuple[RowBatch, Array, tuple[str, ...]]:
    """The winning rows of iterations that have one, in the order given: rows, worker of each, names of the workers."""
    workers: dict[str, int] = {}
    parts: list[RowBatch] = []
    places = [np.empty(0, dtype=np.int64)]
    worker = np.empty(len(iterations), dtype=np.int32)
    for segment, offset, positions in winners.places(iterations):
        batch = read_batch(files, paths, segment, offset, rules)
        parts.append(batch.select(np.searchsorted(batch.iteration, iterations[positions])))
        places.append(positions)
        worker[positions] = workers.setdefault(worker_of(segment), len(workers))
    return concatenate(parts).select(np.argsort(np.concatenate(places))), worker, tuple(workers)


def with_originals(
    files: Files, paths: SessionPaths, rules: RowRules | None, winners: Winners, rows: RowBatch
) -> RowBatch:
    """`rows`, the duplicates among them with the results of their originals, which have rows."""
    duplicates = np.flatnonzero(rows.origins > 0)
    if not len(duplicates):
        return rows
    originals, inverse = np.unique(rows.origins[duplicates], return_inverse=True)
    return with_results(rows, duplicates, read_winning(files, paths, rules, winners, originals)[0].select(inverse))


def with_results(rows: RowBatch, repeats: Array, sources: RowBatch) -> RowBatch:
    """`rows` with status, metrics, blocks and errors of `sources` at the positions `repeats`.

    What repeats a pruned one is pruned.
    """

    def put(into: Array | None, column: Array | None) -> Array | None:
        if column is None:
            return into
        filled = np.full(len(rows), np.nan) if into is None else into.copy()
        filled[repeats] = column
        return filled

    names = dict.fromkeys((*rows.metrics, *sources.metrics))
    metrics = {name: put(rows.metrics.get(name), sources.metrics.get(name)) for name in names}
    status = rows.status.copy()
    status[repeats] = sources.status
    code = rows.code if sources.code is None else rows.codes.copy()
    if code is not None and sources.code is not None:
        code[repeats] = sources.code
    origin = rows.origins.copy()
    origin[repeats[sources.origins == PRUNED]] = PRUNED
    numbers = rows.iteration[repeats].tolist()
    found = zip(numbers, sources.iteration.tolist(), strict=True)
    errors = {number: sources.errors[source] for number, source in found if source in sources.errors}
    return replace(
        rows,
        status=status,
        origin=origin,
        metrics={name: column for name, column in metrics.items() if column is not None},
        blocks=_with_blocks(rows, repeats, sources.blocks),
        code=code,
        errors={**rows.errors, **errors},
    )


def _with_blocks(rows: RowBatch, repeats: Array, blocks: Array | None) -> Array | None:
    """The blocks of `rows`, those at `repeats` with `blocks` instead."""
    if blocks is None:
        return rows.blocks
    n_blocks = common_number([part for part in (rows.blocks, blocks) if part is not None], len(rows))
    form = blocks.dtype if rows.blocks is None else rows.blocks.dtype
    filled = np.array(widened_blocks(rows.blocks, len(rows), n_blocks), dtype=np.result_type(form, blocks.dtype))
    filled[repeats] = widened_blocks(blocks, len(blocks), n_blocks)
    return filled
