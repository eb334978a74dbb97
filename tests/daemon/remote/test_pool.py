"""The pool of remote slots, with an executor of which the test decides what it does: nothing is lost, doubled or early."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from arbd.cli.executor_lines import executor_lines
from arbd.daemon.executors.protocol import ExecutorAwayError, ExecutorView, Loss
from arbd.daemon.executors.settings import ExecutorSettings
from arbd.daemon.host.logs import Log
from arbd.daemon.remote import patient
from arbd.daemon.remote import pool as pools
from arbd.daemon.remote.pool import RemotePool
from arbd.daemon.remote.session import HostRules
from arbd.daemon.remote.slot import RemoteEvent, RemoteSlot
from arbd.daemon.remote.wire import Answer, Outcome, decode_chunk, decode_job
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, LoadFailure, SubSpan, TaskReturned
from arbd.results.segments import SegmentReader
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import Worker
from arbd.spool.spans import Claim, Span
from arbd.spool.system import SystemClock
from tests.conftest import wait_until
from tests.spool.sessions import make_session, rows_of

N = 100


@dataclass
class Sent:
    """One call of an executor, which the test answers."""

    job: bytes
    chunk: bytes
    future: Future[bytes]

    def answer(self, **changed: Any) -> None:
        spans = [sub_span.span for sub_span in decode_chunk(self.chunk).sub_spans]
        rows = tuple(rows_of(span.first, span.count).encode() for span in spans)
        given = {"rows": rows, "parts": decode_job(self.job).parts, **changed}
        self.future.set_result(Answer(given.pop("outcome", Outcome.EVALUATED), "there", **given).encode())


@dataclass
class ScriptedExecutor:
    """An executor whose answers are the test's."""

    sent: queue.Queue[Sent] = field(default_factory=queue.Queue)
    view: ExecutorView = field(default_factory=lambda: ExecutorView(4))
    away: str = ""
    refused: list[str] = field(default_factory=list)
    forgotten: int = 0
    is_closed: bool = False

    def look(self) -> ExecutorView:
        return self.view

    def submit(
        self, function: Callable[..., bytes], job: bytes, chunk: bytes, attached: Mapping[str, bytes]
    ) -> Future[bytes]:
        if self.away:
            raise ExecutorAwayError(self.away)
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        self.sent.put(Sent(job, chunk, future))
        return future

    def loss(self, error: BaseException) -> Loss:
        return Loss.AWAY if isinstance(error, ConnectionError) else Loss.WORKER

    def refuse(self, future: Future[bytes], reason: str) -> None:
        self.refused.append(reason)

    def forget(self, future: Future[bytes]) -> None:
        self.forgotten += 1

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Bench:
    executor: ScriptedExecutor
    pool: RemotePool
    paths: SessionPaths
    events: queue.Queue[RemoteEvent]
    ready: list[int]
    fatal: queue.Queue[Exception]
    numbers: int = 0

    def submit(self, first: int, count: int) -> tuple[RemoteSlot, ChunkTask]:
        self.numbers += 1
        claim = Claim(self.numbers, Span(first, count), "w", 1)
        task = ChunkTask(self.numbers, self.paths.folder, (SubSpan(claim, claim.span),))
        slot = RemoteSlot(self.numbers, self.pool)
        slot.submit(task)
        return slot, task

    def sent(self) -> Sent:
        return self.executor.sent.get(timeout=30)

    def result(self) -> ChunkReport | LoadFailure | TaskReturned:
        return self.events.get(timeout=30).result

    def written(self) -> list[int]:
        return sorted(i for found in SegmentReader(Files(), self.paths).poll() for i in found.rows.iteration.tolist())


@pytest.fixture
def bench(layout: SpoolLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(pools, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(pools, "LOOK_S", 0.02)
    monkeypatch.setattr(pools, "AWAY_PATIENCE_S", 0.1)
    (tmp_path / "samples.py").write_text("def quick(params):\n    return {'value': 1.0}\n")
    paths = make_session(layout, N)
    executor, events, ready = ScriptedExecutor(), queue.Queue[RemoteEvent](), list[int]()
    fatal = queue.Queue[Exception]()
    settings = ExecutorSettings("factory", factory="scripted:make", slots=3)
    rules = HostRules(("python:*",), None, (tmp_path,))
    worker, log = Worker("w", 1, 3), Log("error", "text")
    pool = RemotePool(
        executor, settings, layout.files(), SystemClock(), worker, rules, log, events.put, ready.append, fatal.put
    )  # fmt: skip
    pool.start()
    yield Bench(executor, pool, paths, events, ready, fatal)
    assert pool.end(30)
    assert executor.is_closed


def test_a_report_is_made_once_the_rows_are_in_a_segment(bench: Bench) -> None:
    bench.submit(1, 5)
    bench.sent().answer()
    report = bench.result()
    assert isinstance(report, ChunkReport)
    assert report.counts == {1: (5, 0, 0, 0)}
    assert bench.written() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("error", [BrokenExecutor("gone"), ConnectionError("cut"), SystemExit(1), None])
def test_a_chunk_that_is_lost_is_asked_for_again_however_it_was_lost(bench: Bench, error: BaseException | None) -> None:
    bench.submit(1, 2)
    first = bench.sent()
    if error is None:
        first.future.set_exception(BrokenExecutor("cancelled by itself"))
    else:
        first.future.set_exception(error)
    bench.sent().answer()
    assert isinstance(bench.result(), ChunkReport)
    assert bench.written() == [1, 2]


def test_an_answer_to_what_was_given_up_is_dropped(bench: Bench) -> None:
    slot, _ = bench.submit(1, 2)
    sent = bench.sent()
    slot.kill("the session was cancelled or removed")
    assert bench.result() == TaskReturned("the session was cancelled or removed")
    wait_until(lambda: bench.executor.forgotten == 1, what="the word that nobody waits for it")
    sent.answer()
    bench.submit(3, 1)
    bench.sent().answer()
    assert isinstance(bench.result(), ChunkReport)
    assert bench.written() == [3]


def test_what_runs_is_not_given_back_by_preemption_and_what_waits_is(bench: Bench) -> None:
    slot, _ = bench.submit(1, 2)
    sent = bench.sent()
    slot.preempt()
    sent.answer()
    assert isinstance(bench.result(), ChunkReport)
    bench.executor.away = "the scheduler"
    waiting, _ = bench.submit(3, 1)
    waiting.preempt()
    assert bench.result() == TaskReturned("")


def test_a_task_that_the_executor_does_not_take_goes_back_for_others_to_claim(bench: Bench) -> None:
    bench.executor.away = "the scheduler at tls://head:8786"
    bench.submit(1, 2)
    assert bench.result() == TaskReturned("the scheduler at tls://head:8786")


def test_workers_that_end_again_and_again_on_a_chunk_are_no_endless_loop(bench: Bench) -> None:
    bench.submit(1, 2)
    for _ in range(pools.MAX_LOSSES + 1):
        bench.sent().future.set_exception(BrokenExecutor("gone"))
    result = bench.result()
    assert isinstance(result, LoadFailure)
    assert f"{pools.MAX_LOSSES + 1} times" in result.reason


def test_an_executor_that_goes_away_again_and_again_costs_a_chunk_nothing(bench: Bench) -> None:
    bench.submit(1, 2)
    for _ in range(2 * pools.MAX_LOSSES):
        bench.sent().future.set_exception(ConnectionError("cut"))
    bench.sent().answer()
    assert isinstance(bench.result(), ChunkReport)


def test_a_future_that_never_ends_is_told_and_its_chunk_can_be_given_back(bench: Bench) -> None:
    slot, task = bench.submit(1, 2)
    sent = bench.sent()
    wait_until(lambda: bench.pool.about()["oldest_s"] > 0.1, what="the age of what is out")
    assert bench.pool.about()["busy"] == 1
    assert executor_lines("w", {**bench.pool.about(), "oldest_s": 1_000.0})[0].endswith(
        "no answer to a chunk since 17 min"
    )
    assert "no answer" not in executor_lines("w", bench.pool.about())[0]
    bench.pool.abandon(task, "somebody cancelled it")
    assert bench.result() == TaskReturned("somebody cancelled it")
    sent.answer()
    assert bench.written() == []


def test_tasks_behind_a_call_that_does_not_return_go_back_and_the_one_that_is_being_taken_counts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "SLOW_S", 0.05)
    monkeypatch.setattr(patient, "STUCK_S", 0.2)
    is_open, real = threading.Event(), bench.executor.submit

    def submit(*given: Any) -> Any:
        assert is_open.wait(60)
        return real(*given)

    bench.executor.submit = submit  # type: ignore[method-assign]
    tasks = [bench.submit(first, 2)[1] for first in (1, 3, 5)]
    returned = [bench.events.get(timeout=30) for _ in range(2)]
    assert {event.task.number for event in returned} == {task.number for task in tasks[1:]}
    for event in returned:
        assert isinstance(event.result, TaskReturned)
        assert "`submit` does not return" in event.result.reason
    assert "waits for the executor, whose `submit` does not return" in " ".join(executor_lines("w", bench.pool.about()))
    assert bench.pool.ready == 0
    is_open.set()
    bench.sent().answer()
    assert isinstance(bench.result(), ChunkReport)
    assert bench.written() == [1, 2]
    wait_until(lambda: bench.pool.ready == 3, what="the next look")


def test_a_task_that_an_executor_never_says_whether_it_takes_goes_back_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "SLOW_S", 0.02)
    monkeypatch.setattr(patient, "STUCK_S", 0.1)
    monkeypatch.setattr(patient, "LOST_S", 0.3)
    is_open, real = threading.Event(), bench.executor.submit

    def submit(*given: Any) -> Any:
        assert is_open.wait(60)
        return real(*given)

    bench.executor.submit = submit  # type: ignore[method-assign]
    bench.submit(1, 2)
    assert isinstance(bench.result(), TaskReturned)
    is_open.set()
    wait_until(lambda: bench.executor.forgotten == 1, what="the word that nobody waits for it")
    bench.sent().answer()
    bench.submit(3, 1)
    bench.sent().answer()
    assert isinstance(bench.result(), ChunkReport)
    assert bench.written() == [3]


def test_a_worker_with_other_versions_is_refused_and_another_is_asked(bench: Bench) -> None:
    bench.submit(1, 2)
    bench.sent().answer(outcome=Outcome.UNFIT, rows=(), reason="NumPy is 1.0 there")
    bench.sent().answer()
    assert isinstance(bench.result(), ChunkReport)
    assert bench.executor.refused == ["there: NumPy is 1.0 there"]


@pytest.mark.parametrize("answer", [b"", b"no answer", b"\x81\xa7outcome\xa5other", "text", None, 5, [], {}, object()])
def test_what_is_no_answer_is_said_and_nothing_is_written(bench: Bench, answer: Any) -> None:
    bench.submit(1, 2)
    bench.sent().future.set_result(answer)
    result = bench.result()
    assert isinstance(result, LoadFailure)
    assert "cannot be taken" in result.reason
    assert bench.written() == []


def test_a_job_that_cannot_be_evaluated_there_names_the_host(bench: Bench) -> None:
    bench.submit(1, 2)
    bench.sent().answer(outcome=Outcome.UNLOADABLE, rows=(), reason="no such module")
    assert bench.result() == LoadFailure("there: no such module")


def test_results_are_kept_while_the_disk_fails_and_reported_when_it_works(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = [True]
    from arbd.results.segments import SegmentWriter

    def sync(writer: SegmentWriter, real: Any = SegmentWriter.sync) -> None:
        if fails[0]:
            raise OSError(28, "No space left on device")
        real(writer)

    monkeypatch.setattr(SegmentWriter, "sync", sync)
    bench.submit(1, 4)
    bench.sent().answer()
    wait_until(lambda: bench.pool.disk_trouble, what="the trouble")
    assert "No space left" in bench.pool.disk_trouble
    assert bench.events.empty()
    fails[0] = False
    assert isinstance(bench.result(), ChunkReport)
    assert bench.written() == [1, 2, 3, 4]


def test_the_coordinator_hears_of_no_more_slots_than_there_are_or_may_be(bench: Bench) -> None:
    for ready in (1, 0, 9):
        before = len(bench.ready)
        bench.executor.view = ExecutorView(ready, "" if ready else "workers")
        wait_until(lambda before=before: len(bench.ready) > before, what="the look")
        assert sum(bench.ready) == min(ready, 3) == bench.pool.ready


def test_an_error_that_nobody_expected_ends_the_worker_instead_of_leaving_it_without_slots(bench: Bench) -> None:
    def look() -> ExecutorView:
        raise TypeError("what no executor should raise")

    bench.executor.look = look  # type: ignore[method-assign]
    assert isinstance(bench.fatal.get(timeout=30), TypeError)
