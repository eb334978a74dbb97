"""Any `concurrent.futures.Executor`, as a function makes it: processes, MPI ranks, Parsl, whatever has `submit`."""

from __future__ import annotations

import contextlib
import importlib
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


class FactoryExecutor:
    """See `ChunkExecutor`. An executor that broke is made anew."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self._settings = settings
        self._make = _function(settings)
        self._executor: Executor | None = None
        self._trouble = ""
        self._open()

    def _open(self) -> None:
        try:
            self._executor = self._make()
        except Exception as error:
            # Whatever a user's function raises: it is asked again, and people are told meanwhile.
            self._trouble = f"{self._settings.factory} raised {type(error).__name__}: {error}"
        else:
            self._trouble = ""

    def look(self) -> ExecutorView:
        """See `ChunkExecutor`."""
        if self._executor is None:
            self._open()
        if self._executor is None:
            return ExecutorView(0, self._trouble)
        return ExecutorView(self._settings.slots)

    def submit(
        self, function: Callable[..., bytes], job: bytes, chunk: bytes, attached: Mapping[str, bytes]
    ) -> Future[bytes]:
        """See `ChunkExecutor`."""
        if self._executor is None:
            raise ExecutorAwayError(self._trouble)
        try:
            return self._executor.submit(function, job, chunk, tuple(attached.items()))
        except (BrokenExecutor, RuntimeError) as error:
            # Broken, or shut down by somebody else.
            self._let_go()
            raise ExecutorAwayError(f"the executor of {self._settings.factory} broke: {error}") from error

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


def _function(settings: ExecutorSettings) -> Callable[..., Any]:
    module, _, name = settings.factory.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"executor.factory {settings.factory} cannot be imported: {error}; install it for this Python, or put its "
            "folder into PYTHONPATH"
        ) from error
    if not callable(function):
        raise UsageError(f"executor.factory {settings.factory} is no function")
    return function  # type: ignore[no-any-return]


def _check(settings: ExecutorSettings) -> str:
    module, colon, name = settings.factory.partition(":")
    return "" if module and colon and name else f"factory is {settings.factory!r}; expected module:function"


EXECUTOR = ExecutorKind(_check, FactoryExecutor, lambda settings: settings.factory)
