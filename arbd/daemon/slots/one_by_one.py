"""Iterations one by one: parameters from the plan, the objective, a look at the process, a row.

Iterations that take only microseconds are looked at together, in windows of `WINDOW_S`. When something is found after a
window of several, its outcomes are dropped and its iterations evaluated again with a look after each. So every outcome
is that of an iteration that found its process as it should be (I5).
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from arbd.daemon.slots.cell import CLEAN, Finding, is_exhaustion
from arbd.daemon.slots.open_session import OpenSession
from arbd.daemon.slots.progress import ProgressPage
from arbd.daemon.slots.protocol import ChunkTask
from arbd.daemon.slots.row_buffer import RowBuffer
from arbd.daemon.slots.surroundings import NOT_TOLD
from arbd.errors import CodeChangedError, ObjectiveError
from arbd.job.validation import WHOLE
from arbd.objective import error_place
from arbd.objective.modules import ObjectiveModules
from arbd.objective.protocol import Outcome, Params, Trial
from arbd.results.columns import RowBatch
from arbd.search.plan import RUN
from arbd.search.seeds import iteration_seeds
from arbd.search.space import Value
from arbd.spool.ledger import COMPLETED, FAILED
from arbd.spool.spans import Span

WINDOW_S = 0.02
# After something was found, so many iterations are looked at one by one before windows are tried again.
CAREFUL_ITERATIONS = 1_000
MAX_NAMES = 50


@dataclass(slots=True)
class Tally:
    """What a task's report says beside its rows. `unseen` are the metrics to optimise that no iteration returned yet."""

    unseen: set[str]
    busy_s: float = 0.0
    first_error: str = ""
    names: tuple[str, ...] = ()
    notes: dict[str, None] = field(default_factory=dict)

    def returned(self, names: Collection[str]) -> None:
        """An iteration, or a batch, completed with these metrics."""
        if self.unseen:
            self.unseen.difference_update(names)
            self.names = self.names or tuple(names)[:MAX_NAMES]

    def failed(self, error: str) -> None:
        """An iteration failed."""
        self.first_error = self.first_error or error

    def note(self, finding: Finding) -> None:
        """Keep what people should know of an objective's manners."""
        for change in finding.changed:
            if change in NOT_TOLD:
                continue
            self.notes[f"the objective changes {change}, which is put back after the iteration"] = None


@dataclass(slots=True)
class _Window:
    """Iterations that are looked at together: `rows` in the buffer, of which `evaluated` ran; what the last one raised."""

    was_fresh: bool
    stain: str
    singly: bool
    seeded: bool
    rows: int = 0
    evaluated: int = 0
    busy_ns: int = 0
    raised: BaseException | None = None


class OneByOne:
    """The iterations of one part of a claim. `done` of them are in the `buffer`, in order.

    `retire` says why no more can be evaluated in this process, `again` that the next one has to be evaluated in one
    that evaluated nothing before, and `careful` how many are to be looked at one by one there.
    """

    def __init__(self, session: OpenSession, task: ChunkTask, progress: ProgressPage, part: Span, tally: Tally) -> None:
        self.done = 0
        self.retire = ""
        self.again = False
        self.careful = 0
        self._tally = tally
        self.stopped = False
        self.code_changed = ""
        self._session = session
        self._task = task
        self._progress = progress
        self._part = part
        self._planned = session.plan.rows(part.first, part.count)
        self._params: Sequence[dict[str, Value]] | None = None
        self._origins = self._planned.origin.tolist()
        self._seeds = iteration_seeds(session.spec.seed, part.first, part.count)
        self._settled_rows = 0
        self.buffer = RowBuffer(part.first, part.epoch, self._planned, keep_blocks=session.spec.results.blocks)

    @property
    def is_over(self) -> bool:
        """True when nothing more can be done here."""
        return self.stopped or bool(self.retire or self.code_changed) or self.done >= self._part.count

    def window(self) -> None:
        """Evaluate iterations until it is time to look at the process, and look."""
        session, cell = self._session, self._session.cell
        singly = session.careful > 0
        window = _Window(cell.evaluated == 0, cell.stain, singly, seeded=singly or session.draws)
        self._progress.window(self._part.first + self.done, stained=bool(cell.stain))
        if not window.seeded:
            cell.watch_randomness(self._seeds[self.done])
        try:
            with memory_limit(session.spec.execution.memory_mb):
                self._evaluate(window)
        except MemoryError as error:
            self._ran_out(window, error)
            return
        if window.evaluated == 0:
            self._progress.idle()
            self._accept(window)
            return
        finding = self._settle()
        drew = not window.seeded and cell.randomness_used()
        session.draws |= drew
        session.careful = CAREFUL_ITERATIONS if finding.changed else max(0, session.careful - window.evaluated)
        self._tally.note(finding)
        if window.evaluated > 1 and (drew or finding is not CLEAN):
            # Which of them it was, and which of the others it touched, is seen one by one; an objective may have
            # changed the parameters that it was given.
            self.buffer.drop(window.rows)
            self._params = None
            if finding is not CLEAN:
                session.careful = max(session.careful, window.evaluated)
                self.retire, self.again, self.careful = finding.retire, bool(finding.retire), window.evaluated
            return
        try:
            if isinstance(window.raised, CodeChangedError):
                raise window.raised
            session.require_code()
        except CodeChangedError as error:
            # None of them counts: which were evaluated by other code than the session's is not known.
            self.buffer.drop(window.rows)
            self.code_changed = str(error)
            return
        self._judge(window, finding)

    def _settle(self) -> Finding:
        """Look at the process; a process that ends of what is found was ended by its iterations."""
        self._progress.settling()
        finding = self._session.cell.settle(self._session.baseline)
        # From here on nothing is their fault.
        self._progress.idle()
        return finding

    def _ran_out(self, window: _Window, error: MemoryError) -> None:
        """There was no memory for what stands between two calls of the objective."""
        self.buffer.drop(len(self.buffer) - self._settled_rows)
        self._settle()
        self.retire, self.again = "the process ran out of memory", not window.was_fresh
        if window.was_fresh:
            # It had the process for itself.
            attempt = self._task.attempts.get(self._part.first + self.done, 1)
            self.buffer.add(FAILED, attempt, self._session.clock.wall_ns(), 0.0, None, describe(error))
            window.rows, window.evaluated, window.raised = 1, 1, error
            self._accept(window)

    def _judge(self, window: _Window, finding: Finding) -> None:
        """Keep the outcomes of a window, but for a last failure that may be an earlier iteration's fault."""
        self.retire, raised = finding.retire, window.raised
        exhausted = is_exhaustion(raised)
        # Of its own stain an iteration is not excused.
        stain = window.stain or (self._session.cell.stain if window.evaluated > 1 else "")
        if raised is not None and (exhausted or stain) and not (window.was_fresh and window.evaluated == 1):
            self.buffer.drop(1)
            window.rows, window.evaluated, window.raised = window.rows - 1, window.evaluated - 1, None
            self.retire = stain or f"the process ran out of something: {describe(raised)}"
            self.again = True
        elif raised is not None and exhausted and not self.retire:
            self.retire = f"the process ran out of something: {describe(raised)}"
        self._accept(window)
        limit = self._session.spec.execution.iterations_per_process
        if limit is not None and self._session.cell.evaluated >= limit and not self.retire:
            self.retire = f"iterations_per_process is reached ({self._session.cell.evaluated})"

    def _accept(self, window: _Window) -> None:
        self._tally.busy_s += window.busy_ns / 1e9
        if window.raised is not None:
            self._tally.failed(describe(window.raised))
        if self._tally.unseen:
            for outcome in self.buffer.last_outcomes(window.rows):
                if outcome is not None and outcome.pruned:
                    # It says nothing of the names that the objective returns.
                    self._tally.unseen.clear()
                elif outcome is not None:
                    self._tally.returned(outcome.metrics)
        self.done += window.rows
        self._settled_rows = len(self.buffer)
        self._session.cell.evaluated += window.evaluated

    def take(self) -> RowBatch:
        """The rows that were looked at, and were not taken yet."""
        self._settled_rows = 0
        return self.buffer.take()

    def _evaluate(self, window: _Window) -> None:
        """Add rows of iterations from `done` on to the buffer. This loop is what a fast objective costs."""
        session, clock, progress, number = self._session, self._session.clock, self._progress, self._task.number
        spec, session_id, attempts, cell = session.spec, session.paths.session_id, self._task.attempts, session.cell
        evaluate, add, budgets, data = session.evaluator.evaluate, self.buffer.add, self._planned.budget, spec.data
        setting_of = session.settings.of if session.settings.vary else None
        pruner_of = None if spec.prune is None else session.pruners.of
        limit = spec.execution.iterations_per_process
        room = -1 if limit is None else max(1, limit - cell.evaluated)
        if self._params is None:
            self._params = spec.space.rows(self._planned.columns)
        params, origins, seeds, first = self._params, self._origins, self._seeds, self._part.first
        wall_ns, began = clock.wall_ns(), clock.monotonic_ns()
        deadline = 0 if window.singly else began + int(WINDOW_S * 1e9)
        busy_ns = evaluated = 0
        for position in range(self.done, self._part.count):
            if progress.should_stop(number):
                self.stopped = True
                break
            if origins[position] != RUN:
                add(COMPLETED, 1, clock.wall_ns(), 0.0, None, "")
                continue
            iteration, seed = first + position, seeds[position]
            if window.seeded:
                cell.seed(seed)
            budget = 1.0 if budgets is None else float(budgets[position])
            setting = WHOLE if setting_of is None else setting_of(iteration)
            pruner = None if pruner_of is None else pruner_of(iteration, session.plan)
            # By position, which takes half the time.
            trial = Trial(iteration, seed, session_id, data, budget, setting, pruner)
            attempt = attempts.get(iteration, 1) if attempts else 1
            started = clock.monotonic_ns()
            progress.evaluating(iteration, 1, started)
            try:
                outcome: Outcome | None = evaluate(params[position], trial)
            except BaseException as error:  # also the ways out of a program: they are out of the iteration alone
                alone = window.was_fresh and not evaluated
                outcome, attempt = self._again(window, params[position], trial, attempt, error, alone=alone)
            if cell.is_foreign:
                cell.leave(window.raised)
            now = clock.monotonic_ns()
            busy_ns += now - started
            evaluated += 1
            if outcome is None:
                assert window.raised is not None
                add(FAILED, attempt, clock.wall_ns(), (now - started) / 1e9, None, describe(window.raised))
                break
            # The clock on the wall, which nobody asks again: for people the few milliseconds of a window pass alike.
            add(COMPLETED, attempt, wall_ns + now - began, (now - started) / 1e9, outcome, "")
            if now >= deadline or evaluated == room:
                break
        window.rows, window.evaluated, window.busy_ns = len(self.buffer) - self._settled_rows, evaluated, busy_ns

    def _again(
        self, window: _Window, params: Params, trial: Trial, attempt: int, raised: BaseException, *, alone: bool
    ) -> tuple[Outcome | None, int]:
        """After an exception: evaluate again while attempts are left; the outcome, and how many there were.

        After an exception that speaks of exhaustion only where it is `alone`, the first that its process evaluates.
        """
        session = self._session
        while True:
            session.cell.raised(raised)
            # A broken contract (not a mapping, not a number) would break again.
            final = isinstance(raised, ObjectiveError) or attempt > session.spec.execution.retries
            if final or (is_exhaustion(raised) and not alone):
                window.raised = raised
                return None, attempt
            attempt += 1
            try:
                return session.evaluator.evaluate(params, trial.again()), attempt
            except BaseException as error:  # as before
                raised = error


def describe(error: BaseException) -> str:
    """An exception in words, with the place in the objective's code that it came from."""
    folders = ObjectiveModules.of_this_process().folders
    return error_place.describe(error, folders, named=not isinstance(error, ObjectiveError))


@contextlib.contextmanager
def memory_limit(memory_mb: int | None) -> Iterator[None]:
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
        # Where the objective lowered the hard limit, it cannot be put back; that is found after the window.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, before)
