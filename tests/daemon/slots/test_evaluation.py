"""What a slot writes of a task, and what is made of the task when the slot dies of it: each iteration counts once."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbd.daemon.slots.cell import Finding
from arbd.daemon.slots.crash_recovery import recover
from arbd.daemon.slots.evaluation import evaluate
from arbd.daemon.slots.open_session import OpenSession
from arbd.daemon.slots.pool import ExitReport, Limits
from arbd.daemon.slots.progress import EVALUATING, IDLE, Progress, ProgressPage
from arbd.daemon.slots.protocol import ChunkTask, FailureRecord, SlotSetup, SubSpan
from arbd.job.validation import WHOLE, Setting
from arbd.objective.protocol import Outcome
from arbd.results.segments import SegmentReader
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import CRASHED
from arbd.spool.spans import Claim, Span
from arbd.spool.system import SystemClock
from tests.cells import KeepsNothing, OpenCell
from tests.spool.sessions import make_session, rows_of, write_rows

N = 400
NUMBERS = itertools.count()


class RaisingBatch(KeepsNothing):
    """An objective that works one by one, and never in a batch."""

    batch = True

    def __init__(self) -> None:
        self.evaluated = 0

    def evaluate(self, params: dict[str, Any], trial: object) -> Outcome:
        self.evaluated += 1
        return Outcome({"value": params["x"]})

    def evaluate_batch(self, columns: object, budget: float = 1.0, setting: Setting = WHOLE) -> Any:
        raise ValueError("not in a batch")


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[ProgressPage]:
    page = ProgressPage(tmp_path / "progress", create=True)
    yield page
    page.close()


def setup_of(tmp_path: Path) -> SlotSetup:
    return SlotSetup("0", "w", 1, 1, tmp_path / "p", tmp_path / "o", tmp_path / "c", (), ("python:*",))


def written(paths: SessionPaths) -> list[int]:
    return [i for found in SegmentReader(Files(), paths).poll() for i in found.rows.iteration.tolist()]


def test_iterations_that_are_not_run_are_written_once_when_the_batch_around_them_raises(
    layout: SpoolLayout, tmp_path: Path, progress: ProgressPage
) -> None:
    paths = make_session(layout, N, constraints=("x < 0.5",))
    evaluator = RaisingBatch()
    load: Any = lambda spec, name: evaluator  # noqa: E731
    session = OpenSession(Files(), SystemClock(), paths.folder, "0.1", setup_of(tmp_path), load, OpenCell())
    task = ChunkTask(1, paths.folder, (SubSpan(Claim(1, Span(1, N), "w", 1), Span(1, N)),))
    report = evaluate(session, task, progress)
    session.close()
    assert report.first_error.startswith("ValueError: not in a batch (tests/daemon/slots/test_evaluation.py:")
    assert 0 < evaluator.evaluated < N
    assert report.counts == {1: (N, 0, 0, 0)}
    assert sorted(written(paths)) == list(range(1, N + 1))


def test_a_verdict_that_is_recorded_is_not_owed_again_after_a_batch_that_killed_its_process(
    layout: SpoolLayout, tmp_path: Path
) -> None:
    paths = make_session(layout, 20)
    setup = setup_of(tmp_path)
    write_rows(paths, "w", rows_of(1, 1, status=CRASHED), slot="0.1")
    failures = tuple((1, FailureRecord(i, 0, CRASHED, 1, 0.1, "boom")) for i in (1, 2))
    claim = Claim(1, Span(1, 20), "w", 1)
    task = ChunkTask(7, paths.folder, (SubSpan(claim, Span(3, 18)),), failures=failures)
    died = ExitReport(Progress(1, 7, EVALUATING, 3, 16, 0), "", f"killed by {signal.SIGKILL.name}", "", setup)
    saved = recover(Files(), task, died, Limits(None, 0), 8)
    assert saved.rest is not None
    assert saved.rest.scalar
    assert saved.rest.failures == failures[1:]
    assert sum(np.sum(counts) for counts in saved.counts.values()) == 1


class Ended(BaseException):
    """The process ended here."""


class EndsWhenLookedAt(OpenCell):
    """A process in which an iteration left what ends it: it is seen after the iteration, once it was loaded."""

    loaded = False

    def settle(self, baseline: object) -> Finding:
        if self.loaded:
            raise Ended
        return super().settle(baseline)


class Batches(RaisingBatch):
    """An objective that works either way."""

    def evaluate_batch(self, columns: dict[str, Any], budget: float = 1.0, setting: Setting = WHOLE) -> Any:
        self.evaluated += len(columns["x"])
        return {"value": columns["x"]}, None


@pytest.mark.parametrize("batch", [False, True], ids=["one by one", "in a batch"])
def test_a_process_that_ends_of_what_is_found_after_an_iteration_was_ended_by_that_iteration(
    layout: SpoolLayout, tmp_path: Path, progress: ProgressPage, batch: bool
) -> None:
    paths = make_session(layout, N)
    evaluator, cell, setup = Batches(), EndsWhenLookedAt(), setup_of(tmp_path)
    evaluator.batch = batch
    load: Any = lambda spec, name: evaluator  # noqa: E731
    session = OpenSession(Files(), SystemClock(), paths.folder, "0.1", setup, load, cell)
    task = ChunkTask(1, paths.folder, (SubSpan(Claim(1, Span(1, N), "w", 1), Span(1, N)),))
    progress.loading(1, 0)
    cell.loaded = True
    with pytest.raises(Ended):
        evaluate(session, task, progress)
    session.close()
    look = progress.look()
    assert look.of_iterations
    assert (look.window or look.first, look.first + look.count - 1) == (1, evaluator.evaluated)
    saved = recover(Files(), task, ExitReport(look, "", "exited with status 117", "", setup), Limits(None, 0), 2)
    assert saved.rest is not None
    # It is found out which of them it was; nothing goes round in circles.
    assert saved.rest.exits == 0
    assert saved.rest.careful == evaluator.evaluated or saved.rest.scalar


@given(batches=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 4)), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_what_a_dead_process_wrote_twice_counts_once(
    layout: SpoolLayout, tmp_path: Path, batches: list[tuple[int, int]]
) -> None:
    name = f"s{next(NUMBERS)}"
    paths = make_session(layout, 12, name)
    setup = setup_of(tmp_path)
    write_rows(paths, "w", *(rows_of(first, count) for first, count in batches), slot="0.1")
    task = ChunkTask(7, paths.folder, (SubSpan(Claim(1, Span(1, 12), "w", 1), Span(1, 12)),))
    died = ExitReport(Progress(1, 7, IDLE, 0, 0, 0), "", "killed by SIGKILL", "", setup)
    saved = recover(Files(), task, died, Limits(None, 0), 8)
    done = {i for first, count in batches for i in range(first, first + count)}
    assert saved.counts == {1: (len(done), 0, 0, 0)}
    assert saved.rest is not None
    assert {i for sub in saved.rest.sub_spans for i in range(sub.span.first, sub.span.first + sub.span.count)} == (
        set(range(1, 13)) - done
    )
