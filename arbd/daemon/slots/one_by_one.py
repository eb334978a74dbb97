"""Iterations one by one: parameters from the plan, the objective, a look at the process, a row.

Iterations that take only microseconds are looked at together, in windows of `WINDOW_S`. When something is found after a
window of several, its outcomes are dropped and its iterations evaluated again with a look after each. So every outcome
is that of an iteration that found its process as it should be (I5).

What arbd makes of outcomes it makes after that look, because an objective may replace the built-ins that it calls.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

from arbd.daemon.slots.cell import CLEAN, Finding
from arbd.daemon.slots.memory_limit import memory_limit
from arbd.daemon.slots.open_session import OpenSession
from arbd.daemon.slots.plain_loop import PlainRun, run_plainly
from arbd.daemon.slots.progress import ProgressPage
from arbd.daemon.slots.protocol import ChunkTask
from arbd.daemon.slots.row_buffer import RowBuffer
from arbd.daemon.slots.tally import Tally, describe
from arbd.errors import CodeChangedError, ObjectiveError
from arbd.job.validation import WHOLE
from arbd.objective.error_place import is_exhaustion
from arbd.objective.plain import may_have_changed
from arbd.objective.protocol import Outcome, Params, Plain, Trial
from arbd.results.columns import RowBatch
from arbd.search.plan import RUN
from arbd.search.seeds import iteration_seed, iteration_seeds
from arbd.search.space import Value
from arbd.spool.ledger import COMPLETED, FAILED
from arbd.spool.spans import Span
from arbd.values import dataclass

WINDOW_S = 0.02
# After something was found, so many iterations are looked at one by one before windows are tried again.
CAREFUL_ITERATIONS = 1_000


@dataclass(slots=True)
class _Window:
    """Iterations that are looked at together: `rows` in the buffer, of which `evaluated` ran; what the last one raised.

    `names` are the metrics of those that came to the buffer as columns. `unsure` when a later one may have changed what an
    earlier one returned. What is not in the buffer before the look: a `run` of calls, its clock `wall_ns` later than the
    wall's, and the `last` row, without what is told of it. `at` is the position that was begun last.
    """

    was_fresh: bool
    stain: str
    singly: bool
    seeded: bool
    rows: int = 0
    evaluated: int = 0
    busy_ns: int = 0
    raised: BaseException | None = None
    names: tuple[str, ...] = ()
    unsure: bool = False
    run: PlainRun | None = None
    wall_ns: int = 0
    last: tuple[int, int, int, float, Outcome | None] | None = None
    at: int = 0


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
        self._settled_rows = 0
        spec = session.spec
        # Whether nothing but its parameters makes an iteration of this part another than the next.
        self._is_uniform = (
            not session.settings.vary
            and spec.prune is None
            and spec.execution.iterations_per_process is None
            and not task.attempts
            and not self._planned.origin.any()
        )
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
            cell.watch_randomness(iteration_seed(session.spec.seed, self._part.first + self.done))
        plain = None if window.singly or window.seeded or not self._is_uniform else session.plain
        stumbled: BaseException | None = None
        try:
            with memory_limit(session.spec.execution.memory_mb):
                if plain is not None:
                    self._evaluate_plainly(window, plain)
                else:
                    self._evaluate(window)
        except MemoryError as error:
            self._ran_out(window, error)
            return
        except BaseException as error:  # of this program's own code
            stumbled = error
        if window.evaluated == 0 and stumbled is None:
            self._progress.idle()
            window.rows = len(self.buffer) - self._settled_rows
            self._accept(window)
            return
        finding = self._settle()
        if stumbled is not None:
            if finding is CLEAN:
                raise stumbled
            # Over what the objective put in the place of what is called here.
            self._stumbled(window, stumbled)
        self._look_at(window, finding, plain)

    def _stumbled(self, window: _Window, error: BaseException) -> None:
        """The iteration that was begun last is to blame where it is alone; else it is found one by one."""
        if not window.singly:
            window.evaluated = CAREFUL_ITERATIONS
            return
        self.buffer.drop(len(self.buffer) - self._settled_rows - (window.at - self.done))
        window.evaluated, window.raised = 1, error
        window.last = (FAILED, 1, self._session.clock.wall_ns(), 0.0, None)

    def _look_at(self, window: _Window, finding: Finding, plain: Plain | None) -> None:
        """Keep the outcomes of a window after the look at its process, or see to it that they come again."""
        session, cell = self._session, self._session.cell
        if finding is CLEAN or window.evaluated == 1:
            try:
                with memory_limit(session.spec.execution.memory_mb):
                    self._add(window, plain)
            except MemoryError as error:
                self._ran_out(window, error)
                return
        window.rows = len(self.buffer) - self._settled_rows
        drew = not window.seeded and cell.randomness_used()
        session.draws |= drew
        session.careful = CAREFUL_ITERATIONS if finding.changed else max(0, session.careful - window.evaluated)
        self._tally.note(finding)
        if window.unsure:
            session.plain = None
        if window.evaluated > 1 and (drew or window.unsure or finding is not CLEAN):
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
        self._settle()
        self.buffer.drop(len(self.buffer) - self._settled_rows)
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
            if window.names:
                self._tally.returned(window.names)
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

    @functools.cached_property
    def _origins_and_seeds(self) -> tuple[list[int], list[int]]:
        """Of each iteration of the part; most parts have no use for them."""
        seeds = iteration_seeds(self._session.spec.seed, self._part.first, self._part.count)
        return self._planned.origin.tolist(), seeds

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
        first = self._part.first
        params, (origins, seeds) = self._params, self._origins_and_seeds
        wall_ns, began = clock.wall_ns(), clock.monotonic_ns()
        deadline = 0 if window.singly else began + int(WINDOW_S * 1e9)
        busy_ns = evaluated = 0
        for position in range(self.done, self._part.count):
            if progress.should_stop(number):
                self.stopped = True
                break
            window.at = position
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
                window.last = (FAILED, attempt, clock.wall_ns(), (now - started) / 1e9, None)
                break
            # The clock on the wall, which nobody asks again: for people the few milliseconds of a window pass alike.
            add(COMPLETED, attempt, wall_ns + now - began, (now - started) / 1e9, outcome, "")
            if now >= deadline or evaluated == room:
                break
        window.evaluated, window.busy_ns = evaluated, busy_ns

    def _evaluate_plainly(self, window: _Window, call: Plain) -> None:
        """As `_evaluate`, of iterations that are calls of a function with parameters alone."""
        session, clock, first = self._session, self._session.clock, self._part.first + self.done
        if self._progress.should_stop(self._task.number):
            self.stopped = True
            return
        if self._params is None:
            self._params = session.spec.space.rows(self._planned.columns)
        wall_ns = clock.wall_ns()
        rows = itertools.islice(self._params, self.done, None)
        run = run_plainly(call, rows, first, self._progress, session.cell, clock, int(WINDOW_S * 1e9))
        # The clock on the wall as of `_evaluate`.
        window.run, window.wall_ns, window.evaluated = run, wall_ns - run.began_ns, run.count
        if run.raised is not None:
            self._fail_plainly(window, run.count, run.raised)

    def _add(self, window: _Window, plain: Plain | None) -> None:
        """The rows of a window that are not in the buffer yet."""
        if window.run is not None and window.run.count:
            assert plain is not None
            self._keep(window, window.run, plain)
        if window.last is not None:
            status, attempt, ended_ns, duration_s, outcome = window.last
            told = describe(window.raised) if outcome is None and window.raised is not None else ""
            self.buffer.add(status, attempt, ended_ns, duration_s, outcome, told)

    def _keep(self, window: _Window, run: PlainRun, call: Plain) -> None:
        """Rows of what came back, as far as it can be used; those behind it are evaluated again."""
        ended_ns, took_ns = run.times
        window.busy_ns += int(took_ns.sum())
        ended_ns, took_s = ended_ns + window.wall_ns, took_ns / 1e9
        columns = call.columns(run.returned)
        if columns is not None:
            self.buffer.add_completed(ended_ns, took_s, columns)
            window.names = tuple(columns)
            return
        window.unsure = may_have_changed(run.returned)
        for position, returned in enumerate(run.returned):
            try:
                outcome = call.outcome(returned)
            except ObjectiveError as error:
                # A broken contract would break again.
                window.evaluated, window.raised = position + 1, error
                window.last = (FAILED, 1, self._session.clock.wall_ns(), float(took_s[position]), None)
                return
            self.buffer.add(COMPLETED, 1, int(ended_ns[position]), float(took_s[position]), outcome, "")

    def _fail_plainly(self, window: _Window, n: int, raised: BaseException) -> None:
        """The one after `n` iterations raised: evaluate it again while attempts are left."""
        session, clock = self._session, self._session.clock
        started = clock.monotonic_ns()
        alone = window.was_fresh and not n
        position = self.done + n
        assert self._params is not None
        trial = Trial.of(session.spec, session.paths.session_id, self._part.first + position)
        outcome, attempt = self._again(window, self._params[position], trial, 1, raised, alone=alone)
        if session.cell.is_foreign:
            session.cell.leave(window.raised)
        now = clock.monotonic_ns()
        window.busy_ns += now - started
        window.evaluated = n + 1
        status = FAILED if outcome is None else COMPLETED
        window.last = (status, attempt, clock.wall_ns(), (now - started) / 1e9, outcome)

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
