"""A plan that came with its task: the rows of the iterations that are to be evaluated, and of no others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgpack
import numpy as np

from arbd.arrays import Ints
from arbd.daemon.slots.protocol import ChunkTask
from arbd.search.plan import Plan, PlannedRows, join
from arbd.search.pruning import Thresholds
from arbd.spool.spans import Span

# From which iteration on intermediate values are compared with what.
Stretches = Sequence[tuple[int, Thresholds]]


class ShippedPlan:
    """See `arbd.search.plan.Plan`. `iterations` grow; `rows` of others than those raises KeyError."""

    def __init__(self, iterations: Ints, planned: PlannedRows, thresholds: Stretches = ()) -> None:
        assert len(iterations) == len(planned), (len(iterations), len(planned))
        self._iterations = iterations
        self._planned = planned
        self._thresholds = thresholds

    @classmethod
    def nothing(cls) -> ShippedPlan:
        """Until a task came."""
        return cls(np.zeros(0, dtype=np.int64), PlannedRows({}, np.zeros(0, dtype=np.int64)))

    @classmethod
    def of(cls, plan: Plan, spans: Iterable[Span], *, prunes: bool = False) -> ShippedPlan:
        """What another plan says of the iterations of these spans, none of which overlap."""
        ordered = sorted(spans, key=lambda span: span.first)
        numbers = [np.arange(span.first, span.first + span.count, dtype=np.int64) for span in ordered]
        rows = join([plan.rows(span.first, span.count) for span in ordered])
        stretches: list[tuple[int, Thresholds]] = []
        for iteration in np.concatenate(numbers).tolist() if prunes else ():
            found = plan.thresholds(iteration)
            if not stretches or stretches[-1][1] is not found:
                stretches.append((iteration, found))
        return cls(np.concatenate(numbers), rows, stretches)

    @classmethod
    def decode(cls, data: bytes) -> ShippedPlan:
        """What `encode` made."""
        iterations, columns, origin, budget, thresholds = msgpack.unpackb(data)
        planned = PlannedRows(
            {name: np.frombuffer(column, form) for name, (form, column) in columns.items()},
            np.frombuffer(origin, "<i8"),
            None if budget is None else np.frombuffer(budget, "<f8"),
        )
        stretches = [(first, Thresholds.of_plain(*plain)) for first, plain in thresholds]
        return cls(np.frombuffer(iterations, "<i8"), planned, stretches)

    def encode(self) -> bytes:
        """For another process, perhaps of another host."""
        planned = self._planned
        columns = {name: (column.dtype.str, column.tobytes()) for name, column in planned.columns.items()}
        budget = None if planned.budget is None else planned.budget.astype("<f8").tobytes()
        thresholds = [(first, found.to_plain()) for first, found in self._thresholds]
        origin = planned.origin.astype("<i8").tobytes()
        parts = (self._iterations.astype("<i8").tobytes(), columns, origin, budget, thresholds)
        return bytes(msgpack.packb(parts))

    def thresholds(self, iteration: int) -> Thresholds:
        """See `arbd.search.plan.Plan`."""
        place = bisect_right(self._thresholds, iteration, key=lambda stretch: stretch[0])
        return self._thresholds[place - 1][1] if place else Thresholds.none()

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
