"""Small sessions for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.job.spec import JobSpec, ObjectiveSpec, ResultOptions
from arbd.results.columns import RowBatch
from arbd.results.segments import SegmentWriter
from arbd.search.problem import MetricGoal
from arbd.search.space import ChoiceDimension, FloatDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.sessions import create_session
from arbd.spool.spans import Finish, Span

SPACE = SearchSpace((FloatDimension("x", 0.0, 1.0), ChoiceDimension("kind", ("up", "down"))))


def spec_of(n: int, **changed: Any) -> JobSpec:
    given: dict[str, Any] = {
        "objective": ObjectiveSpec("python", ("samples:quick",)),
        "method": "random",
        "space": SPACE,
        "n": n,
        "seed": 1,
        "metrics": (MetricGoal("value", "maximize"),),
        "results": ResultOptions(csv=True),
    }
    return JobSpec(**(given | changed))


def make_session(layout: SpoolLayout, n: int, name: str = "s", **changed: Any) -> SessionPaths:
    return create_session(Files(), layout, name, b"tuning: {}\n", spec_of(n, **changed))


def rows_of(
    first: int, count: int, *, status: int = 0, epoch: int = 0, value: float = 0.0, blocks: bool = False
) -> RowBatch:
    iteration = np.arange(first, first + count, dtype=np.int64)
    return RowBatch(
        iteration=iteration,
        status=np.full(count, status, dtype=np.uint8),
        ended_ns=np.full(count, 1_700_000_000_000_000_000, dtype=np.int64),
        duration_s=np.full(count, 0.5),
        attempt=np.ones(count, dtype=np.int32),
        epoch=np.full(count, epoch, dtype=np.int32),
        params={"x": iteration / 1000.0, "kind": iteration % 2},
        metrics={} if status else {"value": iteration + value},
        blocks=np.full((count, 2, 2), float(first)) if blocks else None,
        errors={int(i): "broken" for i in iteration} if status else {},
        reports={first: [(1, 0.5)]},
    )


def write_rows(paths: SessionPaths, worker: str, *batches: RowBatch, incarnation: int = 1, slot: str = "0.1") -> None:
    writer = SegmentWriter(Files(), paths, worker, incarnation, slot)
    for batch in batches:
        writer.write(batch)
    writer.sync()
    writer.close()


def exhaust(paths: SessionPaths, n: int, counts: tuple[int, int, int, int] | None = None) -> SessionQueue:
    """Claim and finish everything in the ledger."""
    queue, worker = SessionQueue(Files(), paths), Worker("a", 1, 1)
    claims = queue.claim(worker, [], lambda state: (n, n), 1)
    assert [c.span for c in claims] == [Span(1, n)]
    queue.claim(worker, [Finish(claims[0].claim_id, counts or (n, 0, 0, 0))], lambda state: (1, 0), 2)
    return queue
