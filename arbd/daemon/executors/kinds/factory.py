"""Any `concurrent.futures.Executor`, as a function makes it: processes, MPI ranks, Parsl, whatever has `submit`."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

from arbd.daemon.executors.protocol import (
    ExecutorAwayError,
    ExecutorKind,
    ExecutorView,
    Loss,
)
from arbd.daemon.executors.settings import ExecutorSettings
from arbd.errors import UsageError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


class FactoryExecutor:
    """See `ChunkExecutor`. An executor that broke is made anew; where something fails again, each time later."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self._settings = settings
        self._make = _function(settings)
        self._executor: Executor | None = None
        self._trouble = ""
        self._pause_s = FIRST_PAUSE_S
        self._not_before_s = 0.0
        self._open()

    def _open(self) -> None:
        try:
            made = self._make()
        except (Exception, SystemExit) as error:
            # Whatever a user's function raises: it is asked again, and people are told meanwhile.
            self._failed(f"{self._settings.factory} raised {type(error).__name__}: {error}")
            return
        if callable(getattr(made, "submit", None)):
            self._executor, self._trouble = made, ""
        else:
            kind = "None" if made is None else f"an object of {type(made).__qualname__}"
            self._failed(f"{self._settings.factory} returned {kind}, which is no concurrent.futures.Executor")

    def _failed(self, why: str) -> None:
        self._trouble = why
        self._not_before_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def look(self) -> ExecutorView:
        """See `ChunkExecutor`."""
        if time.monotonic() < self._not_before_s:
            return ExecutorView(0, self._trouble)
        if self._executor is None:
            self._open()
        return ExecutorView(0, self._trouble) if self._executor is None else ExecutorView(self._settings.slots)

    def submit(
        self, function: Callable[..., bytes], job: bytes, chunk: bytes, attached: Mapping[str, bytes]
    ) -> Future[bytes]:
        """See `ChunkExecutor`."""
        if self._executor is None:
            raise ExecutorAwayError(self._trouble)
        name = self._settings.factory
        try:
            future = self._executor.submit(function, job, chunk, tuple(attached.items()))
            _require_future(future)
        except (Exception, SystemExit) as error:
            # Broken, shut down by somebody else, or never one: it is made anew.
            self._let_go()
            self._failed(f"the executor of {name} broke: {type(error).__name__}: {error}")
            raise ExecutorAwayError(self._trouble) from error
        self._pause_s = FIRST_PAUSE_S
        return future

    def loss(self, error: BaseException) -> Loss:
        """See `ChunkExecutor`."""
        if isinstance(error, BrokenExecutor):
            self._let_go()
        return Loss.UNFIT if isinstance(error, ImportError | AttributeError) else Loss.WORKER

    def refuse(self, future: Future[bytes], reason: str) -> None:
        """See `ChunkExecutor`. Nobody knows which worker of such an executor it was."""

    def forget(self, future: Future[bytes]) -> None:
        """See `ChunkExecutor`. One that runs runs on."""
        future.cancel()

    def _let_go(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            # It is somebody else's, and mostly broken already, which was told: how it ends changes nothing here.
            with contextlib.suppress(Exception):
                executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """See `ChunkExecutor`."""
        self._let_go()


def _require_future(found: object) -> None:
    if not callable(getattr(found, "add_done_callback", None)):
        raise TypeError(f"its submit returned {type(found).__qualname__}, which is no future")


def _function(settings: ExecutorSettings) -> Callable[..., Any]:
    module, _, name = settings.factory.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"executor.factory {settings.factory} cannot be imported: {error}; install it for this Python, or put its "
            "folder into PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"executor.factory {settings.factory}: its module raised {type(error).__name__}: {error}"
        ) from error
    if not callable(function):
        raise UsageError(f"executor.factory {settings.factory} is no function")
    return function  # type: ignore[no-any-return]


def _check(settings: ExecutorSettings) -> str:
    module, colon, name = settings.factory.partition(":")
    return "" if module and colon and name else f"factory is {settings.factory!r}; expected module:function"


EXECUTOR = ExecutorKind(_check, FactoryExecutor, lambda settings: settings.factory)
