"""A plan that came with its task: the rows of the iterations that are to be evaluated, and of no others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgpack
import numpy as np

from arbd.daemon.slots.protocol import ChunkTask
from arbd.search.plan import Ints, Plan, PlannedRows, join
from arbd.spool.spans import Span


class ShippedPlan:
    """See `arbd.search.plan.Plan`. `iterations` grow; `rows` of others than those raises KeyError."""

    def __init__(self, iterations: Ints, planned: PlannedRows) -> None:
        assert len(iterations) == len(planned), (len(iterations), len(planned))
        self._iterations = iterations
        self._planned = planned

    @classmethod
    def nothing(cls) -> ShippedPlan:
        """Until a task came."""
        return cls(np.zeros(0, dtype=np.int64), PlannedRows({}, np.zeros(0, dtype=np.int64)))

    @classmethod
    def of(cls, plan: Plan, spans: Iterable[Span]) -> ShippedPlan:
        """What another plan says of the iterations of these spans, none of which overlap."""
        ordered = sorted(spans, key=lambda span: span.first)
        numbers = [np.arange(span.first, span.first + span.count, dtype=np.int64) for span in ordered]
        return cls(np.concatenate(numbers), join([plan.rows(span.first, span.count) for span in ordered]))

    @classmethod
    def decode(cls, data: bytes) -> ShippedPlan:
        """What `encode` made."""
        iterations, columns, origin, budget = msgpack.unpackb(data)
        planned = PlannedRows(
            {name: np.frombuffer(column, form) for name, (form, column) in columns.items()},
            np.frombuffer(origin, "<i8"),
            None if budget is None else np.frombuffer(budget, "<f8"),
        )
        return cls(np.frombuffer(iterations, "<i8"), planned)

    def encode(self) -> bytes:
        """For another process, perhaps of another host."""
        planned = self._planned
        columns = {name: (column.dtype.str, column.tobytes()) for name, column in planned.columns.items()}
        budget = None if planned.budget is None else planned.budget.astype("<f8").tobytes()
        parts = (self._iterations.astype("<i8").tobytes(), columns, planned.origin.astype("<i8").tobytes(), budget)
        return bytes(msgpack.packb(parts))

    def rows(self, first: int, count: int) -> PlannedRows:
        """See `arbd.search.plan.Plan`."""
        start = int(np.searchsorted(self._iterations, first))
        last = start + count - 1
        if last >= len(self._iterations) or self._iterations[start] != first:
            raise KeyError(f"iterations {first} to {first + count - 1} did not come with the task")
        # They grow, so that between those two there are just those in between.
        if self._iterations[last] != first + count - 1:
            raise KeyError(f"iterations {first} to {first + count - 1} did not all come with the task")
        # Copies: an objective may write into what it is given, and be asked again.
        return self._planned.select(np.arange(start, start + count))


def spans_of_task(task: ChunkTask) -> Sequence[Span]:
    """All iterations that a task evaluates or records."""
    failed = [Span(failure.iteration, 1, failure.epoch) for _, failure in task.failures]
    return [*(sub_span.span for sub_span in task.sub_spans), *failed]
