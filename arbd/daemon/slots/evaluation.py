"""One session as a slot evaluates it: parameters from the sampler, the objective, rows into the segment.

Keeps I5: what an iteration gets is a function of the job and its number. Keeps I2 on the slot's side: a
report is made only after the rows it covers are synced.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from arbd.daemon.slots import batches
from arbd.daemon.slots.memory_limit import memory_limit
from arbd.daemon.slots.one_by_one import OneByOne
from arbd.daemon.slots.open_session import OpenSession
from arbd.daemon.slots.progress import ProgressPage
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, FailureRecord, SubSpan
from arbd.daemon.slots.row_buffer import RowBuffer
from arbd.daemon.slots.tally import Tally, describe
from arbd.errors import CodeChangedError
from arbd.objective.batch_columns import checked
from arbd.results.columns import RowBatch
from arbd.search.plan import RUN
from arbd.search.seeds import iteration_seed
from arbd.spool.spans import Span

FLUSH_S = 0.2
SCALAR_ROWS = 16_384
FIRST_DISK_PAUSE_S = 0.1
LONGEST_DISK_PAUSE_S = 5.0
SHARED_RANDOMNESS = (
    "evaluate_batch draws from the global random generators, so that results would depend on the batch: "
    "iterations are evaluated one by one (use the parameters alone, or generators of its own)"
)


def evaluate(session: OpenSession, task: ChunkTask, progress: ProgressPage) -> ChunkReport:
    """Evaluate the sub-spans of a task in order; everything reported is durable."""
    session.careful = max(session.careful, task.careful)
    session.cell.enter(session.baseline)
    return _TaskRun(session, task, progress).run()


class _TaskRun:
    """One task on its way through an open session."""

    def __init__(self, session: OpenSession, task: ChunkTask, progress: ProgressPage) -> None:
        self._session = session
        self._task = task
        self._progress = progress
        self._counts = {sub_span.claim.claim_id: np.zeros(4, dtype=np.int64) for sub_span in task.sub_spans}
        self._left: dict[int, list[Span]] = {}
        self._tally = Tally({goal.name for goal in session.spec.metrics})
        self._retire = ""
        self._code_changed = ""
        self._again = False
        self._careful = 0
        self._scalar = task.scalar
        self._rest: list[SubSpan] = []

    def run(self) -> ChunkReport:
        """All sub-spans, then the report."""
        for claim_id, failure in self._task.failures:
            self._write(claim_id, self._failure_row(failure))
        for sub_span in self._task.sub_spans:
            self._run(sub_span)
        self._progress.idle()
        self._record(self._session.writer.sync)
        tally, completed = self._tally, any(counts[0] for counts in self._counts.values())
        return ChunkReport(
            counts={claim_id: (int(c[0]), int(c[1]), int(c[2]), int(c[3])) for claim_id, c in self._counts.items()},
            left={claim_id: tuple(spans) for claim_id, spans in self._left.items()},
            busy_s=tally.busy_s,
            first_error=tally.first_error,
            code_changed=self._code_changed,
            retire=self._retire,
            rest=self._rest_of_task(),
            notes=tuple(tally.notes),
            missing=tuple(sorted(tally.unseen)) if completed and tally.names else (),
            metrics=tally.names,
        )

    def _rest_of_task(self) -> ChunkTask | None:
        if not self._rest:
            return None
        return replace(
            self._task,
            sub_spans=tuple(self._rest),
            failures=(),
            scalar=self._scalar,
            careful=self._careful,
            fresh=self._again,
        )

    def _run(self, sub_span: SubSpan) -> None:
        """Evaluate a part of a claim; what is not evaluated goes back, or to the next process."""
        if self._should_stop():
            self._give_back(sub_span.claim.claim_id, sub_span.span)
        elif self._retire:
            self._rest.append(sub_span)
        elif self._session.batched and not (self._scalar or self._task.careful):
            self._run_batched(sub_span)
        else:
            self._run_scalar(sub_span)

    def _should_stop(self) -> bool:
        return bool(self._code_changed) or self._progress.should_stop(self._task.number)

    def _give_back(self, claim_id: int, span: Span) -> None:
        self._left.setdefault(claim_id, []).append(span)

    def _write(self, claim_id: int, rows: RowBatch) -> None:
        if len(rows):
            if self._session.code is not None:
                rows = rows.made_with(self._session.code.digest)
            # No iteration is to blame for what happens from here on.
            self._progress.idle()
            self._record(partial(self._session.writer.write, rows))
            self._counts.setdefault(claim_id, np.zeros(4, dtype=np.int64))
            self._counts[claim_id] += rows.counts()

    def _record(self, step: Callable[[], None]) -> None:
        """Write or sync; while the disk fails, keep the results and try again, until the task is wanted back."""
        pause_s = FIRST_DISK_PAUSE_S
        while True:
            try:
                step()
            except OSError as error:
                if self._progress.should_stop(self._task.number):
                    raise
                self._progress.waiting(error.errno or errno.EIO)
                self._session.clock.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_DISK_PAUSE_S)
                step = self._session.writer.sync
            else:
                return

    def _run_batched(self, sub_span: SubSpan) -> None:
        rest: Span | None = sub_span.span
        while rest is not None:
            if self._should_stop() or self._retire or not self._session.batched:
                self._run(SubSpan(sub_span.claim, rest))
                return
            part, rest = rest.split(self._batch_size())
            if not self._run_batch(sub_span.claim.claim_id, part):
                # In another process it would not go better.
                self._scalar = self._scalar or bool(self._retire)
                # This does all of the part, hence nothing of it is written before: each iteration counts once.
                self._run_scalar(SubSpan(sub_span.claim, part))

    def _batch_size(self) -> int:
        size, limit = self._session.batch_size, self._session.spec.execution.iterations_per_process
        return size if limit is None else max(1, min(size, limit - self._session.cell.evaluated))

    def _run_batch(self, claim_id: int, part: Span) -> bool:
        """Evaluate at once; False when the objective cannot, and its iterations have to be evaluated one by one."""
        session, clock, cell = self._session, self._session.clock, self._session.cell
        planned = session.plan.rows(part.first, part.count)
        to_run = np.flatnonzero(planned.origin == RUN)
        unrun = batches.unrun_rows(part, planned, clock.wall_ns())
        if not len(to_run):
            self._write(claim_id, unrun)
            return True
        running = planned.select(to_run)
        cell.watch_randomness(iteration_seed(session.spec.seed, part.first))
        started = clock.monotonic_ns()
        self._progress.evaluating(part.first, part.count, started)
        try:
            with memory_limit(session.spec.execution.memory_mb):
                metrics, blocks = batches.evaluated(
                    session.evaluator, session.spec, running, session.settings, part.first + to_run
                )
                metrics = {name: checked(column, len(to_run), name) for name, column in metrics.items()}
            session.require_code()
        except CodeChangedError as error:
            # None of it counts.
            self._code_changed = str(error)
            self._settle(0)
            return False
        except BaseException as error:  # also the ways out of a program: they are out of the batch alone
            cell.raised(error)
            self._tally.failed(describe(error))
            self._settle(0)
            return False
        if cell.is_foreign:
            cell.leave(None)
        took_s = (clock.monotonic_ns() - started) / 1e9
        if cell.randomness_used():
            session.batched = False
            self._tally.notes[SHARED_RANDOMNESS] = None
            self._settle(0)
            return False
        self._settle(len(to_run))
        self._tally.busy_s += took_s
        self._tally.returned(metrics)
        keep = blocks if session.spec.results.blocks else None
        self._write(claim_id, unrun)
        rows = batches.batch_rows(part, to_run, running, metrics, keep, took_s / len(to_run), clock.wall_ns())
        self._write(claim_id, rows)
        session.batch_size = batches.next_batch_size(session.batch_size, len(to_run), took_s)
        return True

    def _settle(self, evaluated: int) -> None:
        """Look at the process after a batch."""
        session = self._session
        self._progress.settling()
        finding = session.cell.settle(session.baseline)
        self._progress.idle()
        session.cell.evaluated += evaluated
        self._tally.note(finding)
        limit = session.spec.execution.iterations_per_process
        if finding.retire:
            self._retire = finding.retire
        elif limit is not None and session.cell.evaluated >= limit:
            self._retire = f"iterations_per_process is reached ({session.cell.evaluated})"

    def _run_scalar(self, sub_span: SubSpan) -> None:
        rest: Span | None = sub_span.span
        while rest is not None:
            if self._should_stop() or self._retire:
                self._run(SubSpan(sub_span.claim, rest))
                return
            part, rest = rest.split(SCALAR_ROWS)
            undone = self._run_scalar_part(sub_span.claim.claim_id, part)
            if undone is not None:
                self._run(SubSpan(sub_span.claim, undone))

    def _run_scalar_part(self, claim_id: int, part: Span) -> Span | None:
        """Evaluate one by one, until the end or until asked to stop; what is not evaluated."""
        clock = self._session.clock
        run = OneByOne(self._session, self._task, self._progress, part, self._tally)
        flush_at = clock.monotonic_ns() + int(FLUSH_S * 1e9)
        while not run.is_over:
            run.window()
            if clock.monotonic_ns() >= flush_at:
                self._write(claim_id, run.take())
                flush_at = clock.monotonic_ns() + int(FLUSH_S * 1e9)
        self._write(claim_id, run.take())
        self._retire, self._again, self._careful = run.retire, run.again, run.careful
        self._code_changed = run.code_changed
        return part.part(part.first + run.done, part.count - run.done) if run.done < part.count else None

    def _failure_row(self, failure: FailureRecord) -> RowBatch:
        planned = self._session.plan.rows(failure.iteration, 1)
        buffer = RowBuffer(failure.iteration, failure.epoch, planned, keep_blocks=False)
        buffer.add(
            failure.status, failure.attempt, self._session.clock.wall_ns(), failure.duration_s, None, failure.error
        )
        return buffer.take()
