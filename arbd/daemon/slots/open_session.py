"""A session opened for evaluation in a slot's process: its job, its plan, its objective, its segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from arbd.daemon.slots import batches
from arbd.daemon.slots.cell import Cell
from arbd.daemon.slots.protocol import ChunkTask, SlotSetup
from arbd.daemon.slots.shipped_plan import ShippedPlan
from arbd.errors import CodeChangedError, ObjectiveError
from arbd.job.code import expected_parts, with_parts
from arbd.job.policy import ObjectivePolicy
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.objective.interpreter import ForeignCode, InterpreterEvaluator
from arbd.objective.protocol import Evaluator, Pruners, Settings, innermost
from arbd.objective.running_code import RunningCode
from arbd.results.generations import PublishedPlan
from arbd.results.segments import SegmentWriter
from arbd.results.session_code import SessionCode, engine_files
from arbd.search.plan import NonAdaptivePlan, Plan
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.system import Clock


class OpenSession:
    """A session opened for evaluation. Opening raises ArbdError when this host cannot evaluate it.

    `careful` is how many iterations are still to be looked at one by one; `draws` says that the objective uses the
    global random generators, which are seeded for each iteration then. `plain` is as of `Evaluator`, until it turns out that
    what the function returns does not stay as it was. Tasks of a `shipped` session bring their plan.
    """

    def __init__(
        self,
        files: Files,
        clock: Clock,
        folder: Path,
        label: str,
        setup: SlotSetup,
        load: Callable[[JobSpec, str], Evaluator],
        cell: Cell,
        code: RunningCode | None = None,
        *,
        shipped: bool = False,
    ) -> None:
        self.clock = clock
        self.paths = SessionPaths(folder)
        self.spec = read_spec(files, self.paths)
        refusal = ObjectivePolicy(setup.allow, setup.data_dirs).check_job(self.spec)
        if refusal is not None:
            raise ObjectiveError(refusal)
        self.cell = cell
        spec = self.spec
        self.code: CodeInUse | None = None
        if code is None:
            self.evaluator = load(spec, self.paths.session_id)
        else:
            self.code = CodeInUse(code, SessionCode(files, self.paths, expected_parts(spec)), spec)
            self.code.prepare(partial(engine_files, files, SpoolLayout(folder.parent.parent)))
            self.evaluator = load(with_parts(spec, self.code.expected), self.paths.session_id)
            self.code.loaded(self.evaluator)
        self.settings = Settings(spec)
        self.pruners = Pruners(spec)
        self.baseline = cell.baseline()
        self.plan: Plan
        if shipped:
            self.plan = ShippedPlan.nothing()
        elif spec.generation_size:
            self.plan = PublishedPlan(files, clock, self.paths, spec.layout)
        else:
            self.plan = NonAdaptivePlan(spec)
        self._writer_of = partial(SegmentWriter, files, self.paths, setup.worker_id, setup.incarnation)
        self._label = label
        self.writer = self._writer_of(label)
        self.batch_size = batches.FIRST_BATCH
        self.batched = self.evaluator.batch
        self.careful = 0
        # Between the evaluations of one iteration they are seeded anew.
        self.draws = spec.aggregation.is_several
        self.plain = self.evaluator.plain

    def begin_shipped(self, task: ChunkTask) -> None:
        """Evaluate a task by the plan that came with it, into a segment that holds its rows alone."""
        self.plan = ShippedPlan.decode(task.planned)
        self.writer.close()
        self.writer = self._writer_of(f"{self._label}.{task.number}")

    def is_current(self) -> bool:
        """True while the session is to be evaluated as it was when it was opened; StaleProcessError when not in here."""
        return self.code is None or self.code.is_current()

    def require_code(self) -> None:
        """After iterations: see `CodeInUse.require`."""
        if self.code is not None:
            self.code.require()

    def close(self) -> None:
        """Close the segment, which is not opened again, and end what the objective keeps."""
        self.evaluator.close()
        self.writer.close()


class CodeInUse:
    """The code of this process in the service of one session."""

    def __init__(self, running: RunningCode, record: SessionCode, spec: JobSpec) -> None:
        self._running = running
        self._record = record
        self._spec = spec
        self._era = record.era
        self._pinned = -1
        self._foreign: ForeignCode | None = None
        self.digest = ""

    @property
    def expected(self) -> Mapping[str, str]:
        """The parts that the session is known to depend on."""
        return self._record.current.parts

    def prepare(self, engine_files: Callable[[str], Mapping[str, str]]) -> None:
        """Before the objective is loaded; see `RunningCode.prepare`."""
        self._running.prepare(self._spec, self.expected, engine_files)

    def loaded(self, evaluator: Evaluator) -> None:
        """The objective is loaded, with whatever it imported."""
        inner = innermost(evaluator)
        self._foreign = inner.code if isinstance(inner, InterpreterEvaluator) else None
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
        modules = self._running.modules if self._foreign is None else self._foreign
        if modules.refusal:
            raise CodeChangedError(modules.refusal)
        if len(modules.loaded) != self._pinned:
            foreign = {} if self._foreign is None else self._foreign.parts()
            self.digest = self._record.pin(self._running.parts_for(self._spec) | foreign, self._running.folders)
            self._pinned = len(modules.loaded)
            if self._foreign is None:
                self._running.serve(self.expected)
