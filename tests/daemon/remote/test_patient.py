"""Executors whose calls do not return, for a while or for ever, or return more than once: nothing else waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import Any

import pytest

from arbd.daemon.executors.protocol import ExecutorAwayError, ExecutorView, Loss
from arbd.daemon.remote import patient
from arbd.daemon.remote.patient import PatientExecutor, SentChunk
from tests.conftest import wait_until
from tests.daemon.remote.test_pool import ScriptedExecutor

METHODS = ("look", "submit", "loss", "refuse", "forget")


class Gate:
    """A method of an executor that waits at its next calls, until it is open."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.is_open, self.is_reached = threading.Event(), threading.Event()

    def __call__(self, *given: Any) -> Any:
        self.is_reached.set()
        assert self.is_open.wait(60)
        return self._method(*given)


def submit(executor: PatientExecutor) -> SentChunk:
    return executor.submit(lambda *given: b"", b"job", b"chunk", {})


@pytest.fixture
def scripted() -> ScriptedExecutor:
    return ScriptedExecutor()


@pytest.fixture
def executor(scripted: ScriptedExecutor, monkeypatch: pytest.MonkeyPatch) -> Iterator[PatientExecutor]:
    monkeypatch.setattr(patient, "SLOW_S", 0.02)
    monkeypatch.setattr(patient, "STUCK_S", 0.1)
    made = PatientExecutor(scripted, 0.01)
    yield made
    made.close()
    assert scripted.is_closed


@pytest.mark.parametrize("method", METHODS)
def test_whichever_call_does_not_return_is_told_and_what_was_not_taken_can_be_given_back(
    method: str, scripted: ScriptedExecutor, executor: PatientExecutor
) -> None:
    wait_until(lambda: executor.look() == ExecutorView(4), what="a look")
    first = submit(executor)
    sent = scripted.sent.get(timeout=30)
    wait_until(lambda: first.source is not None, what="what was taken")
    gate = Gate(getattr(scripted, method))
    setattr(scripted, method, gate)
    match method:
        case "submit":
            submit(executor)
        case "loss":
            other = submit(executor)
            scripted.sent.get(timeout=30).future.set_exception(ConnectionError("cut"))
            assert not other.done()
        case "refuse":
            executor.refuse(first, "other NumPy")
        case "forget":
            executor.forget(first)
        case _:
            assert method == "look"
    assert gate.is_reached.wait(30)
    wait_until(lambda: executor.is_stuck, what="the patience to end")
    assert executor.look() == ExecutorView(0, f"the executor, whose `{method}` does not return")
    behind = submit(executor)
    assert behind.cancel()
    # What is evaluated meanwhile is there at once.
    sent.future.set_result(b"answer")
    assert first.result(30) == b"answer"
    gate.is_open.set()
    wait_until(lambda: executor.look() == ExecutorView(4), what="the end of the call")
    assert behind.source is None


def test_what_is_taken_late_counts_unless_nobody_waits_for_it_any_more(
    scripted: ScriptedExecutor, executor: PatientExecutor
) -> None:
    gate = Gate(scripted.submit)
    scripted.submit = gate  # type: ignore[method-assign]
    wanted, given_up = submit(executor), submit(executor)
    assert gate.is_reached.wait(30)
    executor.forget(given_up)
    gate.is_open.set()
    scripted.sent.get(timeout=30).future.set_result(b"late")
    assert wanted.result(30) == b"late"
    assert scripted.sent.empty()


def test_one_that_is_given_up_while_it_is_taken_is_forgotten_there(
    scripted: ScriptedExecutor, executor: PatientExecutor
) -> None:
    gate = Gate(scripted.submit)
    scripted.submit = gate  # type: ignore[method-assign]
    given_up = submit(executor)
    assert gate.is_reached.wait(30)
    assert given_up.cancel()
    gate.is_open.set()
    wait_until(lambda: scripted.forgotten == 1, what="the word that nobody waits for it")


def outcomes(future: Future[bytes]) -> list[Callable[[], Any]]:
    return [
        lambda: future.set_result(b"answer"),
        lambda: future.set_exception(ConnectionError("cut")),
        lambda: future.set_exception(CancelledError()),
        lambda: future.set_exception(SystemExit(1)),
    ]


class Careless(Future[bytes]):
    """Calls back each time that it is given anything."""

    def set_result(self, result: bytes) -> None:
        self._again(lambda: super(Careless, self).set_result(result))

    def set_exception(self, exception: BaseException | None) -> None:
        self._again(lambda: super(Careless, self).set_exception(exception))

    def _again(self, act: Callable[[], None]) -> None:
        try:
            act()
        except InvalidStateError:
            self._invoke_callbacks()  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("second", range(4))
def test_of_two_answers_the_first_counts_and_nobody_hears_of_the_other(
    first: int, second: int, scripted: ScriptedExecutor, executor: PatientExecutor
) -> None:
    future = Careless()
    scripted.submit = lambda *given: future  # type: ignore[method-assign]
    heard: list[SentChunk] = []
    sent = submit(executor)
    sent.add_done_callback(lambda done: heard.append(sent))
    wait_until(lambda: sent.source is not None, what="what was taken")
    outcomes(future)[first]()
    outcomes(future)[second]()
    error = sent.exception(30)
    if first == 0:
        assert sent.result() == b"answer"
    else:
        assert sent.loss is (Loss.AWAY if isinstance(error, ConnectionError) else Loss.WORKER)
    # Another one is taken and answered after whatever there was to hear.
    submit(executor)
    wait_until(lambda: executor.look() == ExecutorView(4), what="a look")
    assert heard == [sent]


def test_why_a_chunk_is_not_taken_is_handed_on_as_it_is(scripted: ScriptedExecutor, executor: PatientExecutor) -> None:
    scripted.away = "no worker"
    sent = submit(executor)
    with pytest.raises(ExecutorAwayError, match="no worker"):
        sent.result(30)
    assert isinstance(sent.refused, ExecutorAwayError)


@pytest.mark.parametrize("error", [OSError("gone"), asyncio.CancelledError(), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("method", METHODS)
def test_whatever_a_call_raises_that_must_not_is_raised_where_the_executor_is_looked_at(
    method: str, error: BaseException, scripted: ScriptedExecutor, executor: PatientExecutor
) -> None:
    first = submit(executor)
    sent = scripted.sent.get(timeout=30)
    wait_until(lambda: first.source is not None, what="what was taken")

    def raising(*given: object) -> Any:
        raise error

    setattr(scripted, method, raising)
    match method:
        case "submit":
            second = submit(executor)
            if isinstance(error, Exception):
                # That is an answer: who asked says what it means.
                assert second.exception(30) is error
                return
        case "loss":
            sent.future.set_exception(ConnectionError("cut"))
        case "refuse":
            executor.refuse(first, "other NumPy")
        case "forget":
            executor.forget(first)
        case _:
            assert method == "look"

    def told() -> Exception | None:
        try:
            executor.look()
        except Exception as raised:
            return raised
        return None

    wait_until(lambda: told() is not None, what="the error")
    found = told()
    assert found is error or (isinstance(found, RuntimeError) and repr(error) in str(found))
    wait_until(lambda: scripted.is_closed, what="the end of its client")


def test_what_an_executor_that_is_let_go_of_was_not_asked_for_it_is_not_asked_for_any_more(
    scripted: ScriptedExecutor, executor: PatientExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "CLOSE_S", 0.0)
    gate = Gate(scripted.look)
    scripted.look = gate  # type: ignore[method-assign]
    assert gate.is_reached.wait(30)
    for _ in range(3):
        submit(executor)
    executor.close()
    gate.is_open.set()
    wait_until(lambda: scripted.is_closed, what="its end")
    assert scripted.sent.empty()
