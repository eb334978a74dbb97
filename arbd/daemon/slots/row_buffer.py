"""Rows of a sub-span on their way to the segment: gathered one by one, written in columns."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np

from arbd.arrays import Array
from arbd.objective.protocol import Outcome
from arbd.results.columns import RowBatch, concatenate
from arbd.search.plan import NOT_RUN_ERRORS, PRUNED, RUN, PlannedRows
from arbd.spool.ledger import COMPLETED


def not_run_errors(iterations: Array, origin: Array) -> dict[int, str]:
    """What is told of iterations that may not, or need not, be run, and are none that repeat others."""
    found = origin < RUN
    numbers = zip(iterations[found].tolist(), origin[found].tolist(), strict=True)
    return {iteration: NOT_RUN_ERRORS[why] for iteration, why in numbers}


class RowBuffer:
    """Collects consecutive iterations from `first` on, which stand in `planned` from position 0.

    Rows come one by one, or many at once as columns; `_pieces` are those that are columns already, before the others.
    """

    def __init__(self, first: int, epoch: int, planned: PlannedRows, *, keep_blocks: bool) -> None:
        self._first = first
        self._epoch = epoch
        self._planned = planned
        self._keep_blocks = keep_blocks
        self._taken = 0
        self._pieces: list[RowBatch] = []
        self._in_pieces = 0
        self._begin_rows()

    def _begin_rows(self) -> None:
        self._status: list[int] = []
        self._attempt: list[int] = []
        self._ended_ns: list[int] = []
        self._duration_s: list[float] = []
        self._outcomes: list[Outcome | None] = []
        self._errors: dict[int, str] = {}
        self._in_rows = 0

    def __len__(self) -> int:
        return self._in_pieces + self._in_rows

    def add(
        self, status: int, attempt: int, ended_ns: int, duration_s: float, outcome: Outcome | None, error: str
    ) -> None:
        """The row of the next iteration; `outcome` for completed ones, `error` for the others.

        Nothing in here calls a built-in: an objective may have put something else in its place.
        """
        if outcome is not None and outcome.pruned:
            error = outcome.pruned
        if error:
            self._errors[self._first + self._taken + self._in_pieces + self._in_rows] = error
        self._in_rows += 1
        self._status.append(status)
        self._attempt.append(attempt)
        self._ended_ns.append(ended_ns)
        self._duration_s.append(duration_s)
        self._outcomes.append(outcome)

    def add_completed(self, ended_ns: Array, duration_s: Array, metrics: Mapping[str, Array]) -> None:
        """The rows of the next iterations, which were run and completed at their first attempt, without return blocks."""
        self._put_rows_away()
        n, start = len(ended_ns), self._taken + self._in_pieces
        planned = self._planned.select(slice(start, start + n))
        assert not planned.origin.any(), "iterations completed that were not to be run"
        piece = RowBatch(
            iteration=np.arange(self._first + start, self._first + start + n, dtype=np.int64),
            status=np.full(n, COMPLETED, dtype=np.uint8),
            ended_ns=ended_ns,
            duration_s=duration_s,
            attempt=np.ones(n, dtype=np.int32),
            epoch=np.full(n, self._epoch, dtype=np.int32),
            params=planned.columns,
            metrics=metrics if planned.budget is None else {**metrics, "budget": planned.budget},
        )
        self._put(piece)

    def _put(self, piece: RowBatch) -> None:
        self._pieces.append(piece)
        self._in_pieces += len(piece)

    def drop(self, count: int) -> None:
        """Forget the last rows, which were not taken yet."""
        assert count <= len(self), "rows are dropped that were taken"
        if count > len(self._status):
            self._put_rows_away()
        while self._pieces and count and not self._status:
            last = self._pieces.pop()
            self._in_pieces -= len(last)
            if len(last) > count:
                self._put(last.select(slice(0, len(last) - count)))
            count -= min(count, len(last))
        kept = len(self._status) - count
        for column in (self._status, self._attempt, self._ended_ns, self._duration_s, self._outcomes):
            del column[kept:]
        self._in_rows = kept
        first = self._first + self._taken + len(self)
        for iteration in [iteration for iteration in self._errors if iteration >= first]:
            del self._errors[iteration]

    def last_outcomes(self, count: int) -> Sequence[Outcome | None]:
        """What the last rows hold that came one by one, None for those that did not complete."""
        return self._outcomes[max(0, len(self._outcomes) - count) :]

    def take(self) -> RowBatch:
        """All rows since the last take, as columns."""
        if self._status or not self._pieces:
            self._put_rows_away(even_none=True)
        pieces = self._pieces
        batch = pieces[0] if len(pieces) == 1 else concatenate(pieces)
        self._taken += len(batch)
        self._pieces, self._in_pieces = [], 0
        return batch

    def _put_rows_away(self, *, even_none: bool = False) -> None:
        """Those that came one by one, into a piece."""
        n = len(self._status)
        if not n and not even_none:
            return
        start = self._taken + self._in_pieces
        outcomes = self._outcomes
        planned = self._planned.select(slice(start, start + n))
        iteration = np.arange(self._first + start, self._first + start + n, dtype=np.int64)
        metrics = _metric_columns(outcomes)
        origin = planned.origin
        pruned = [position for position, outcome in enumerate(outcomes) if outcome is not None and outcome.pruned]
        if pruned:
            origin = origin.copy()
            origin[pruned] = PRUNED
        if planned.budget is not None:
            metrics["budget"] = planned.budget
        piece = RowBatch(
            iteration=iteration,
            status=np.array(self._status, dtype=np.uint8),
            ended_ns=np.array(self._ended_ns, dtype=np.int64),
            duration_s=np.array(self._duration_s, dtype=np.float64),
            attempt=np.array(self._attempt, dtype=np.int32),
            epoch=np.full(n, self._epoch, dtype=np.int32),
            params=planned.columns,
            metrics=metrics,
            blocks=_block_column(outcomes) if self._keep_blocks else None,
            errors={**self._errors, **not_run_errors(iteration, planned.origin)},
            reports={
                self._first + start + position: list(outcome.reports)
                for position, outcome in enumerate(outcomes)
                if outcome is not None and outcome.reports
            },
            origin=origin if (origin != RUN).any() else None,
        )
        self._begin_rows()
        self._put(piece)


def _metric_columns(outcomes: Sequence[Outcome | None]) -> dict[str, Array]:
    found: list[Mapping[str, float]] = [{} if outcome is None else outcome.metrics for outcome in outcomes]
    # Most objectives return the same names every time, hence as many, all of which are there.
    if found and len(set(map(len, found))) == 1:
        with contextlib.suppress(KeyError):
            return {name: np.array([metrics[name] for metrics in found], dtype=np.float64) for name in found[0]}
    nan = float("nan")
    names = dict.fromkeys(name for metrics in found for name in metrics)
    return {name: np.array([metrics.get(name, nan) for metrics in found], dtype=np.float64) for name in names}


def _block_column(outcomes: Sequence[Outcome | None]) -> Array | None:
    given = [(at, one.blocks) for at, one in enumerate(outcomes) if one is not None and one.blocks is not None]
    if not given:
        return None
    column = np.full((len(outcomes), max(len(blocks) for _, blocks in given), 2), np.nan)
    for at, blocks in given:
        column[at, : len(blocks)] = blocks
    return column
