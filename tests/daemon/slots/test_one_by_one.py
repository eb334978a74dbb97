"""Iterations one by one: which outcomes stand, which are evaluated again, and what a fresh process has to go on with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arbd.daemon.slots.cell import CLEAN, Finding
from arbd.daemon.slots.evaluation import evaluate
from arbd.daemon.slots.open_session import OpenSession
from arbd.daemon.slots.progress import ProgressPage
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, SlotSetup, SubSpan
from arbd.job.spec import Execution
from arbd.job.stored import read_spec
from arbd.objective.plain import PlainCall
from arbd.objective.protocol import Outcome, Trial
from arbd.results.segments import SegmentReader
from arbd.search.plan import NonAdaptivePlan
from arbd.search.seeds import iteration_seed
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import COMPLETED, FAILED
from arbd.spool.spans import Claim, Span
from arbd.spool.system import SystemClock
from tests.cells import KeepsNothing, OpenCell
from tests.spool.sessions import make_session

N = 300


class Scripted(OpenCell):
    """A cell that finds what the objective says it left, and sees whether it drew random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[Finding] = []
        self.drew = False
        self.seeds: list[int] = []

    def settle(self, baseline: object) -> Finding:
        found, self.left = self.left, []
        return found[0] if found else CLEAN

    def seed(self, seed: int) -> None:
        self.seeds.append(seed)

    def watch_randomness(self, seed: int) -> None:
        self.drew = False
        self.seeds.append(seed)

    def randomness_used(self) -> bool:
        return self.drew


class Objective(KeepsNothing):
    """Calls `act` with the iteration, then completes."""

    batch = False

    def __init__(self, act: Callable[[int], None]) -> None:
        self.act = act
        self.calls: Counter[int] = Counter()

    def evaluate(self, params: dict[str, Any], trial: Trial) -> Outcome:
        return Outcome(self.called(trial.iteration))

    def called(self, iteration: int) -> dict[str, float]:
        """What the function of the objective does."""
        self.calls[iteration] += 1
        self.act(iteration)
        return {"value": float(iteration)}


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[ProgressPage]:
    page = ProgressPage(tmp_path / "progress", create=True)
    yield page
    page.close()


class Slots:
    """Evaluates a task, and what is left of it in one fresh process after the other.

    `plainly`: objectives are functions of their parameters alone.
    """

    def __init__(self, paths: SessionPaths, tmp_path: Path, progress: ProgressPage, *, plainly: bool = False) -> None:
        self.paths, self.progress = paths, progress
        points = NonAdaptivePlan(read_spec(Files(), paths)).rows(1, N).columns["x"].tolist()
        self.iterations = {x: iteration for iteration, x in enumerate(points, 1)} if plainly else {}
        self.setup = SlotSetup("0", "w", 1, 1, tmp_path / "p", tmp_path / "o", tmp_path / "c", (), ("python:*",))
        self.processes = 0

    def run(self, objective: Objective, cell: Scripted, task: ChunkTask | None = None) -> ChunkReport:
        """In one process."""
        self.processes += 1
        if self.iterations:
            objective.plain = PlainCall(lambda params: objective.called(self.iterations[params["x"]]), {}, "value")
        load: Any = lambda spec, name: objective  # noqa: E731
        session = OpenSession(Files(), SystemClock(), self.paths.folder, f"0.{self.processes}", self.setup, load, cell)
        report = evaluate(session, task or self.whole(), self.progress)
        session.close()
        return report

    def whole(self) -> ChunkTask:
        """All iterations."""
        return ChunkTask(1, self.paths.folder, (SubSpan(Claim(1, Span(1, N), "w", 1), Span(1, N)),))

    def run_all(self, act: Callable[[int, Scripted], None]) -> dict[int, tuple[int, str]]:
        """Until nothing is left; status and error by iteration, of which each has one row."""
        task: ChunkTask | None = None
        while True:
            cell = Scripted()
            report = self.run(Objective(lambda iteration, cell=cell: act(iteration, cell)), cell, task)  # type: ignore[misc]
            if report.rest is None:
                return self.rows()
            assert report.retire
            task = report.rest

    def rows(self) -> dict[int, tuple[int, str]]:
        found: dict[int, tuple[int, str]] = {}
        for batch in SegmentReader(Files(), self.paths).poll():
            for iteration, status in zip(batch.rows.iteration.tolist(), batch.rows.status.tolist(), strict=True):
                assert iteration not in found
                found[iteration] = (status, batch.rows.errors.get(iteration, ""))
        return found


@pytest.fixture(params=[False, True], ids=["called with a trial", "called plainly"])
def slots(layout: SpoolLayout, tmp_path: Path, progress: ProgressPage, request: pytest.FixtureRequest) -> Slots:
    paths = make_session(layout, N, execution=Execution(retries=0))
    return Slots(paths, tmp_path, progress, plainly=request.param)


ALL_COMPLETED = dict.fromkeys(range(1, N + 1), (COMPLETED, ""))


def test_iterations_around_one_that_left_something_are_evaluated_again_one_by_one(slots: Slots) -> None:
    cell = Scripted()
    objective = Objective(lambda i: cell.left.append(Finding(("the umask",))) if i == 7 else None)
    report = slots.run(objective, cell)
    assert slots.rows() == ALL_COMPLETED
    assert set(objective.calls.values()) <= {1, 2}
    assert objective.calls[7] == 2
    assert (report.rest, report.retire) == (None, "")
    assert report.notes == ("the objective changes the umask, which is put back after the iteration",)


def test_what_cannot_be_put_back_ends_the_process_after_its_iteration(slots: Slots) -> None:
    def act(iteration: int, cell: Scripted) -> None:
        if iteration in (5, 90):
            cell.left.append(Finding(retire="threads were left running (1)"))

    assert slots.run_all(act) == ALL_COMPLETED
    assert slots.processes > 2


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files"), RuntimeError("can't start new thread")])  # fmt: skip
def test_exhaustion_is_believed_in_a_fresh_process_alone(slots: Slots, error: Exception) -> None:
    seen: list[int] = []

    def act(iteration: int, cell: Scripted) -> None:
        if iteration == 9:
            seen.append(cell.evaluated)
            if len(seen) == 1:
                raise error

    assert slots.run_all(act) == ALL_COMPLETED
    assert seen[-1] == 0

    def always(iteration: int, cell: Scripted) -> None:
        if iteration == 9:
            raise error

    cell = Scripted()
    first = slots.run(Objective(lambda i: always(i, cell)), cell, ChunkTask(2, slots.paths.folder, (SubSpan(Claim(1, Span(9, 1, 1), "w", 1), Span(9, 1, 1)),)))  # fmt: skip
    assert first.counts == {1: (0, 1, 0, 0)}
    assert first.retire.startswith("the process ran out of something")


def test_a_failure_in_a_stained_process_is_tried_in_a_fresh_one(slots: Slots) -> None:
    def act(iteration: int, cell: Scripted) -> None:
        if iteration == 3:
            cell.stain = "a background thread of an earlier iteration (t) runs on"
        if iteration == 40 and cell.stain:
            raise ValueError("only beside the thread")

    assert slots.run_all(act) == ALL_COMPLETED
    assert slots.processes == 2


@pytest.mark.parametrize("error", [SystemExit("no quotes"), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), type("Halt", (BaseException,), {})("halt")])  # fmt: skip
def test_every_way_out_is_the_error_of_its_iteration(slots: Slots, error: BaseException) -> None:
    def act(iteration: int, cell: Scripted) -> None:
        if iteration == 11:
            raise error

    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    found = slots.run_all(act)
    status, told = found[11]
    # With its place behind it.
    assert (status, told.rpartition(" (")[0]) == (FAILED, said)
    assert found | {11: (COMPLETED, "")} == ALL_COMPLETED


def test_each_iteration_of_an_objective_that_draws_finds_the_generators_seeded_by_its_own_seed(slots: Slots) -> None:
    cell = Scripted()
    found: dict[int, int] = {}

    def act(iteration: int) -> None:
        cell.drew = True
        found[iteration] = cell.seeds[-1]

    slots.run(Objective(act), cell)
    assert slots.rows() == ALL_COMPLETED
    assert found == {iteration: iteration_seed(1, iteration) for iteration in range(1, N + 1)}


def test_a_process_is_replaced_after_as_many_iterations_as_the_job_says(
    layout: SpoolLayout, tmp_path: Path, progress: ProgressPage
) -> None:
    paths = make_session(layout, N, "few", execution=Execution(iterations_per_process=70))
    slots = Slots(paths, tmp_path, progress)
    assert slots.run_all(lambda iteration, cell: None) == ALL_COMPLETED
    assert slots.processes == 5
