"""One session as a slot evaluates it: parameters from the sampler, the objective, rows into the segment.

Keeps I5: what an iteration gets is a function of the job and its number. Keeps I2 on the slot's side: a
report is made only after the rows it covers are synced.
"""

from __future__ import annotations

import contextlib
import errno
import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arbd.daemon.slots.progress import ProgressPage
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, FailureRecord, SlotSetup, SubSpan
from arbd.daemon.slots.row_buffer import RowBuffer, infeasible_errors
from arbd.errors import CodeChangedError, ObjectiveError
from arbd.job.code import expected_parts, with_parts
from arbd.job.policy import ObjectivePolicy
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.objective.protocol import Evaluator, Outcome, Trial
from arbd.objective.running_code import RunningCode
from arbd.results.columns import Array, RowBatch
from arbd.results.generations import PublishedPlan
from arbd.results.segments import SegmentWriter
from arbd.results.session_code import SessionCode, engine_files
from arbd.search.plan import RUN, FixedPlan, Plan, PlannedRows
from arbd.search.seeds import iteration_seeds
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import COMPLETED, FAILED, Span
from arbd.spool.system import Clock

FLUSH_S = 0.2
BATCH_TARGET_S = 0.25
FIRST_BATCH = 16
MAX_BATCH = 16_384
SCALAR_ROWS = 4_096
MAX_ERROR_CHARS = 4_000
FIRST_DISK_PAUSE_S = 0.1
LONGEST_DISK_PAUSE_S = 5.0


class OpenSession:
    """A session opened for evaluation. Opening raises ArbdError when this host cannot evaluate it."""

    def __init__(
        self,
        files: Files,
        clock: Clock,
        folder: Path,
        label: str,
        setup: SlotSetup,
        load: Callable[[JobSpec, str], Evaluator],
        code: RunningCode | None = None,
    ) -> None:
        self.clock = clock
        self.paths = SessionPaths(folder)
        self.spec = read_spec(files, self.paths)
        refusal = ObjectivePolicy(setup.allow, setup.data_dirs).check_job(self.spec)
        if refusal is not None:
            raise ObjectiveError(refusal)
        spec = self.spec
        self.code: CodeInUse | None = None
        if code is None:
            self.evaluator = load(spec, self.paths.session_id)
        else:
            self.code = CodeInUse(code, SessionCode(files, self.paths, expected_parts(spec)), spec)
            self.code.prepare(partial(engine_files, files, SpoolLayout(folder.parent.parent)))
            self.evaluator = load(with_parts(spec, self.code.expected), self.paths.session_id)
            self.code.loaded()
        self.plan: Plan = (
            PublishedPlan(files, clock, self.paths, spec.generation_size) if spec.generation_size else FixedPlan(spec)
        )
        self.writer = SegmentWriter(files, self.paths, setup.worker_id, setup.incarnation, label)
        self.batch_size = FIRST_BATCH

    def is_current(self) -> bool:
        """True while the session is to be evaluated as it was when it was opened; StaleProcessError when not in here."""
        return self.code is None or self.code.is_current()

    def close(self) -> None:
        """Close the segment, which is not opened again."""
        self.writer.close()

    def evaluate(self, task: ChunkTask, progress: ProgressPage) -> ChunkReport:
        """Evaluate the sub-spans of a task in order; everything reported is durable."""
        return _TaskRun(self, task, progress).run()


class CodeInUse:
    """The code of this process in the service of one session."""

    def __init__(self, running: RunningCode, record: SessionCode, spec: JobSpec) -> None:
        self._running = running
        self._record = record
        self._spec = spec
        self._era = record.era
        self._pinned = -1
        self.digest = ""

    @property
    def expected(self) -> Mapping[str, str]:
        """The parts that the session is known to depend on."""
        return self._record.current.parts

    def prepare(self, engine_files: Callable[[str], Mapping[str, str]]) -> None:
        """Before the objective is loaded; see `RunningCode.prepare`."""
        self._running.prepare(self._spec, self.expected, engine_files)

    def loaded(self) -> None:
        """The objective is loaded, with whatever it imported."""
        self._running.require_engine()
        self.require()

    def is_current(self) -> bool:
        """Before a task: the session's code was not given up meanwhile. StaleProcessError when this process refused some."""
        self._record.look()
        if self._record.era == self._era:
            self._running.serve(self.expected)
        return self._record.era == self._era

    def require(self) -> None:
        """After each iteration: pin what was loaded since the last call.

        CodeChangedError when that is not the session's code, or something was refused: the iteration does not count then.
        """
        modules = self._running.modules
        if modules.refusal:
            raise CodeChangedError(modules.refusal)
        if len(modules.loaded) != self._pinned:
            self.digest = self._record.pin(self._running.parts_for(self._spec), self._running.folders)
            self._pinned = len(modules.loaded)
            self._running.serve(self.expected)


class _TaskRun:
    """One task on its way through an open session."""

    def __init__(self, session: OpenSession, task: ChunkTask, progress: ProgressPage) -> None:
        self._session = session
        self._task = task
        self._progress = progress
        self._batched = session.evaluator.batch and not task.scalar
        self._counts = {sub_span.claim.claim_id: np.zeros(4, dtype=np.int64) for sub_span in task.sub_spans}
        self._left: dict[int, list[Span]] = {}
        self._first_error = ""
        self._code_changed = ""
        self._busy_s = 0.0

    def run(self) -> ChunkReport:
        """All sub-spans, then the report."""
        for claim_id, failure in self._task.failures:
            self._write(claim_id, self._failure_row(failure))
        with _memory_limit(self._session.spec.execution.memory_mb):
            for sub_span in self._task.sub_spans:
                if self._should_stop():
                    self._give_back(sub_span.claim.claim_id, sub_span.span)
                elif self._batched:
                    self._run_batched(sub_span)
                else:
                    self._run_scalar(sub_span)
        self._progress.idle()
        self._record(self._session.writer.sync)
        return ChunkReport(
            counts={claim_id: (int(c[0]), int(c[1]), int(c[2]), int(c[3])) for claim_id, c in self._counts.items()},
            left={claim_id: tuple(spans) for claim_id, spans in self._left.items()},
            busy_s=self._busy_s,
            first_error=self._first_error,
            code_changed=self._code_changed,
        )

    def _should_stop(self) -> bool:
        return bool(self._code_changed) or self._progress.should_stop(self._task.number)

    def _require_code(self) -> None:
        if self._session.code is not None:
            self._session.code.require()

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
        session, clock, todo = self._session, self._session.clock, sub_span.span
        rest: Span | None = todo
        while rest is not None:
            if self._should_stop():
                self._give_back(sub_span.claim.claim_id, rest)
                return
            part, rest = rest.split(session.batch_size)
            planned = session.plan.rows(part.first, part.count)
            to_run = np.flatnonzero(planned.origin == RUN)
            unrun = _unrun_rows(part, planned, clock.wall_ns())
            if not len(to_run):
                self._write(sub_span.claim.claim_id, unrun)
                continue
            running = planned.select(to_run)
            started = clock.monotonic_ns()
            self._progress.evaluating(part.first, part.count, started)
            try:
                metrics, blocks = _evaluated(session.evaluator, session.spec, running)
                metrics = {name: _checked(column, len(to_run), name) for name, column in metrics.items()}
                self._require_code()
            except CodeChangedError as error:
                self._code_changed = str(error)
                rest = todo.part(part.first, todo.first + todo.count - part.first)
                continue
            except Exception as error:
                self._first_error = self._first_error or _describe(error)
                # This does all of the part, hence nothing of it is written before: each iteration counts once.
                self._run_scalar(SubSpan(sub_span.claim, part))
                continue
            took_s = (clock.monotonic_ns() - started) / 1e9
            self._busy_s += took_s
            keep = session.spec.results.blocks
            self._write(sub_span.claim.claim_id, unrun)
            self._write(
                sub_span.claim.claim_id,
                _batch_rows(
                    part, to_run, running, metrics, blocks if keep else None, took_s / len(to_run), clock.wall_ns()
                ),
            )
            session.batch_size = _next_batch_size(session.batch_size, len(to_run), took_s)

    def _run_scalar(self, sub_span: SubSpan) -> None:
        rest: Span | None = sub_span.span
        while rest is not None:
            part, rest = rest.split(SCALAR_ROWS)
            done = self._run_scalar_part(sub_span.claim.claim_id, part)
            if done < part.count:
                self._give_back(sub_span.claim.claim_id, part.part(part.first + done, part.count - done))
                if rest is not None:
                    self._give_back(sub_span.claim.claim_id, rest)
                return

    def _run_scalar_part(self, claim_id: int, part: Span) -> int:
        """Evaluate until the end or until asked to stop; the number of iterations done."""
        session, progress, number = self._session, self._progress, self._task.number
        clock, spec, session_id = session.clock, session.spec, session.paths.session_id
        planned = session.plan.rows(part.first, part.count)
        origins, seeds = planned.origin.tolist(), iteration_seeds(spec.seed, part.first, part.count)
        buffer = RowBuffer(part.first, part.epoch, planned, keep_blocks=spec.results.blocks)
        flush_at = clock.monotonic_ns() + int(FLUSH_S * 1e9)
        done = 0
        for position, params in enumerate(spec.space.rows(planned.columns)):
            iteration = part.first + position
            if progress.should_stop(number):
                break
            if origins[position] != RUN:
                buffer.add(COMPLETED, 1, clock.wall_ns(), 0.0, None, "")
                done += 1
                continue
            budget = 1.0 if planned.budget is None else float(planned.budget[position])
            started = clock.monotonic_ns()
            progress.evaluating(iteration, 1, started)
            trial = Trial(iteration, seeds[position], session_id, spec.data, budget=budget)
            try:
                outcome, error, attempt = self._attempt(params, trial, self._task.attempts.get(iteration, 1))
                self._require_code()
            except CodeChangedError as changed:
                self._code_changed = str(changed)
                break
            now = clock.monotonic_ns()
            took_s = (now - started) / 1e9
            self._busy_s += took_s
            status = COMPLETED if outcome is not None else FAILED
            buffer.add(status, attempt, clock.wall_ns(), took_s, outcome, error)
            done += 1
            if now >= flush_at:
                self._write(claim_id, buffer.take())
                flush_at = now + int(FLUSH_S * 1e9)
        self._write(claim_id, buffer.take())
        return done

    def _attempt(
        self, params: dict[str, float | int | str], trial: Trial, attempt: int
    ) -> tuple[Outcome | None, str, int]:
        """Evaluate, and again after an exception while attempts are left."""
        session = self._session
        while True:
            try:
                return session.evaluator.evaluate(params, trial), "", attempt
            except CodeChangedError:
                raise
            except ObjectiveError as error:
                # A broken contract (not a mapping, not a number) would break again.
                return None, self._note(error), attempt
            except Exception as error:
                if attempt > session.spec.execution.retries:
                    return None, self._note(error), attempt
                attempt += 1
                trial = replace(trial, reports=[])

    def _note(self, error: Exception) -> str:
        text = _describe(error)
        self._first_error = self._first_error or text
        return text

    def _failure_row(self, failure: FailureRecord) -> RowBatch:
        planned = self._session.plan.rows(failure.iteration, 1)
        buffer = RowBuffer(failure.iteration, failure.epoch, planned, keep_blocks=False)
        buffer.add(
            failure.status, failure.attempt, self._session.clock.wall_ns(), failure.duration_s, None, failure.error
        )
        return buffer.take()


def _checked(column: Array, count: int, name: str) -> Array:
    values = np.asarray(column, dtype=np.float64)
    if values.shape != (count,):
        raise ObjectiveError(f"evaluate_batch returned {values.shape} values of {name!r} for {count} parameter sets")
    return values


def _evaluated(
    evaluator: Evaluator, spec: JobSpec, planned: PlannedRows
) -> tuple[dict[str, Array], npt.NDArray[np.float64] | None]:
    """A batch, those of each share of the data together."""
    if planned.budget is None:
        return evaluator.evaluate_batch(spec.space.decode(planned.columns))
    metrics: dict[str, Array] = {}
    blocks: npt.NDArray[np.float64] | None = None
    for budget in np.unique(planned.budget).tolist():
        index = np.flatnonzero(planned.budget == budget)
        found, parts = evaluator.evaluate_batch(spec.space.decode(planned.select(index).columns), budget)
        for name, column in found.items():
            metrics.setdefault(name, np.full(len(planned), np.nan))[index] = _checked(column, len(index), name)
        if parts is not None:
            if blocks is None:
                blocks = np.full((len(planned), *parts.shape[1:]), np.nan)
            blocks[index] = parts
    return {**metrics, "budget": planned.budget}, blocks


def _unrun_rows(part: Span, planned: PlannedRows, ended_ns: int) -> RowBatch:
    """The rows of iterations that need not, or may not, be run."""
    index = np.flatnonzero(planned.origin != RUN)
    unrun = planned.select(index)
    rows = _batch_rows(part, index, unrun, {}, None, 0.0, ended_ns)
    return replace(rows, origin=unrun.origin, errors=infeasible_errors(rows.iteration, unrun.origin))


def _batch_rows(
    part: Span,
    index: Array,
    planned: PlannedRows,
    metrics: dict[str, Array],
    blocks: Array | None,
    duration_s: float,
    ended_ns: int,
) -> RowBatch:
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


def _next_batch_size(size: int, count: int, took_s: float) -> int:
    """Aim at `BATCH_TARGET_S`, growing at most eightfold at a time: the first batches tell little."""
    aim = int(count * BATCH_TARGET_S / max(took_s, 1e-9))
    return max(1, min(MAX_BATCH, size * 8, aim))


def _describe(error: Exception) -> str:
    text = str(error) if isinstance(error, ObjectiveError) else f"{type(error).__name__}: {error}"
    # A lone half of a character cannot be written; whatever else the text holds is shown safely by who shows it.
    return text[:MAX_ERROR_CHARS].encode(errors="backslashreplace").decode()


@contextlib.contextmanager
def _memory_limit(memory_mb: int | None) -> Iterator[None]:
    """Bound this process's private memory while the objective runs; going over it raises MemoryError there."""
    if memory_mb is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit if before[1] < 0 else min(limit, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
