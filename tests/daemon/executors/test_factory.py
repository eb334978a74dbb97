"""Executors of somebody else's making: whatever the function and its executor do, it is said, and tried again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from arbd.daemon.executors.kinds import factory
from arbd.daemon.executors.protocol import ExecutorAwayError
from arbd.daemon.executors.settings import ExecutorSettings
from arbd.errors import UsageError
from tests.conftest import wait_until

MADE: dict[str, Any] = {}


class Odd(Executor):
    """Does with the first `times` chunks what `act` does, and evaluates the others."""

    def __init__(self, act: Any, times: int) -> None:
        self._act, self._times, self._good = act, times, ThreadPoolExecutor(1)

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._times -= 1
        found: Future[Any] = self._good.submit(function, *args, **kwargs) if self._times < 0 else self._act()
        return found


def raises(error: BaseException) -> Any:
    def act() -> Any:
        raise error

    return act


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(factory, "FIRST_PAUSE_S", 0.01)
    yield
    MADE.clear()


def settings(tmp_path: Path, body: str = "return MADE['make']()") -> ExecutorSettings:
    name = f"made_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(
        f"from tests.daemon.executors.test_factory import MADE\ndef make():\n    {body}\n"
    )
    sys.modules.pop(name, None)
    return ExecutorSettings(kind="factory", factory=f"{name}:make", slots=3)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (raises(RuntimeError("no cluster today")), "raised RuntimeError: no cluster today"),
        (raises(SystemExit(3)), "raised SystemExit: 3"),
        (lambda: None, "returned None, which is no concurrent.futures.Executor"),
        (lambda: 5, "returned an object of int, which is no"),
        (lambda: Executor, ""),
        (object, "returned an object of object"),
        (lambda needed: needed, "raised TypeError"),
    ],
)
def test_what_a_function_does_instead_of_making_an_executor_is_told_and_asked_again(
    tmp_path: Path, make: Any, told: str
) -> None:
    MADE["make"] = make
    executor = factory.FactoryExecutor(settings(tmp_path))
    if told:
        view = executor.look()
        assert (view.ready, told in view.waits_for) == (0, True)
        with pytest.raises(ExecutorAwayError, match="make"):
            executor.submit(len, b"job", b"chunk", {})
    MADE["make"] = lambda: ThreadPoolExecutor(1)
    if told:
        wait_until(lambda: executor.look().ready == 3, what="the next time that it is asked")
        assert executor.submit(lambda *given: b"answer", b"job", b"chunk", {}).result(30) == b"answer"
    executor.close()


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (raises(RuntimeError("queue is full")), "RuntimeError: queue is full"),
        (raises(BrokenExecutor("died")), "BrokenExecutor: died"),
        (raises(OSError(28, "No space left on device")), "No space left"),
        (raises(SystemExit(1)), "SystemExit"),
        (lambda: None, "returned NoneType, which is no future"),
        (lambda: b"answer", "returned bytes, which is no future"),
    ],
)
def test_what_an_executor_does_instead_of_taking_a_chunk_is_told_and_it_is_made_anew(
    tmp_path: Path, act: Any, told: str
) -> None:
    made: list[Odd] = []
    MADE["make"] = lambda: made.append(Odd(act, 1 if len(made) < 2 else 0)) or made[-1]
    executor = factory.FactoryExecutor(settings(tmp_path))
    for number in (1, 2):
        wait_until(lambda: executor.look().ready == 3, what="an executor")
        with pytest.raises(ExecutorAwayError) as error:
            executor.submit(len, b"job", b"chunk", {})
        assert told in str(error.value)
        assert len(made) == number
        assert told in executor.look().waits_for
    wait_until(lambda: executor.look().ready == 3, what="the third")
    assert executor.submit(lambda *given: b"answer", b"job", b"chunk", {}).result(30) == b"answer"
    executor.close()


def test_pauses_between_failures_grow_and_begin_anew_once_it_works(tmp_path: Path) -> None:
    MADE["make"] = lambda: None
    executor = factory.FactoryExecutor(settings(tmp_path))
    before = executor._pause_s
    wait_until(lambda: executor.look().ready == 0 and executor._pause_s > before, what="another try")
    MADE["make"] = lambda: ThreadPoolExecutor(1)
    wait_until(lambda: executor.look().ready == 3, what="the one that works")
    executor.submit(lambda *given: b"", b"", b"", {}).result(30)
    assert executor._pause_s == factory.FIRST_PAUSE_S
    executor.close()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("make = 5", "is no function"),
        ("", "has no attribute 'make'"),
        ("raise RuntimeError('licence expired')", "its module raised RuntimeError: licence expired"),
        ("raise SystemExit(2)", "its module raised SystemExit"),
        ("def make(:", "its module raised SyntaxError"),
        ("import no_such_module_at_all", "cannot be imported"),
    ],
)
def test_a_module_without_such_a_function_is_told_at_once(tmp_path: Path, content: str, told: str) -> None:
    given = settings(tmp_path)
    (tmp_path / f"{given.factory.partition(':')[0]}.py").write_text(content)
    with pytest.raises(UsageError) as error:
        factory.FactoryExecutor(given)
    assert told in str(error.value)
