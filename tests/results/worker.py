"""A worker in this process, with the real queue, plans, segments and compaction; its objective is a sum."""

from __future__ import annotations

import itertools

import numpy as np

from arbd.daemon.core.generation_scheduler import GenerationScheduler
from arbd.job.stored import read_spec
from arbd.results.columns import RowBatch
from arbd.results.compaction import compact
from arbd.results.generations import PublishedPlan
from arbd.results.segments import SegmentWriter
from arbd.results.suggester import Suggester
from arbd.search.plan import RUN, NonAdaptivePlan, Plan
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.spans import Finish
from arbd.spool.system import SystemClock

_INCARNATIONS = itertools.count(100)


def work(paths: SessionPaths, chunk: int = 7, worker_id: str = "w") -> LedgerState:
    """Work on a session until it is done."""
    files, incarnation = Files(), next(_INCARNATIONS)
    spec = read_spec(files, paths)
    queue, worker = SessionQueue(files, paths), Worker(worker_id, incarnation, 1)
    scheduler = GenerationScheduler(files, paths, spec) if spec.generation_size else None
    plan: Plan = PublishedPlan(files, SystemClock(), paths, spec.layout) if scheduler else NonAdaptivePlan(spec)
    suggester = Suggester(files, paths) if scheduler else None
    writer = SegmentWriter(files, paths, worker_id, incarnation, "0.1")
    finishes: list[Finish] = []
    while not queue.refresh().over:
        if queue.state.exhausted:
            compact(files, paths)
            continue
        limit = queue.state.n
        if scheduler is not None and suggester is not None:
            scheduler.look()
            if (number := scheduler.wanted(queue.state, 0.0)) is not None:
                assert suggester.suggest(number).published
                scheduler.look()
            limit = scheduler.limit
        claims = queue.claim(worker, finishes, lambda state: (chunk, chunk), 1, "", limit)
        finishes = []
        for claim in claims:
            planned = plan.rows(claim.span.first, claim.span.count)
            iteration = np.arange(claim.span.first, claim.span.first + claim.span.count)
            value = np.where(
                planned.origin == RUN, sum(column.astype(float) for column in planned.columns.values()), np.nan
            )
            budget = {} if planned.budget is None else {"budget": planned.budget}
            writer.write(
                RowBatch(
                    iteration=iteration,
                    status=np.zeros(len(iteration), dtype=np.uint8),
                    ended_ns=np.full(len(iteration), 1_700_000_000_000_000_000, dtype=np.int64),
                    duration_s=np.full(len(iteration), 0.5),
                    attempt=np.ones(len(iteration), dtype=np.int32),
                    epoch=np.full(len(iteration), claim.span.epoch, dtype=np.int32),
                    params=planned.columns,
                    metrics={"value": value, **budget},
                    blocks=np.repeat(iteration, 4).reshape(-1, 2, 2).astype(float),
                    origin=planned.origin,
                )
            )
            writer.sync()
            finishes.append(Finish(claim.claim_id, (claim.span.count, 0, 0, 0)))
    writer.close()
    return queue.state
