"""What other executors are asked to run: a chunk of a job, as a pure function of bytes. Imports nothing that computes."""

from __future__ import annotations

import atexit
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from arbd.daemon.host.config import default_cache_dir
from arbd.daemon.remote.messages import read_message, write_message
from arbd.errors import ArbdError


class AgentLostError(ArbdError):
    """The process that has the slots on this host ended in the middle of a chunk."""


def evaluate_chunk(job: bytes, chunk: bytes, attached: Sequence[tuple[str, bytes]] = ()) -> bytes:
    """Evaluate a chunk on this host: an encoded `Answer` with its rows.

    `job` and `chunk` are of `wire`; `attached` are files of the job that were wanted. Touches no spool. Results depend
    on the arguments alone. AgentLostError when the process that evaluates was killed.
    """
    return _agent().call(job, chunk, attached)


class _Agent:
    """This process's end of an agent."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._process = subprocess.Popen(  # noqa: S603 - arbd itself
            [sys.executable, "-P", "-m", "arbd.daemon.remote.agent", str(default_cache_dir())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[bytes]] = {}
        self.is_lost = False
        threading.Thread(target=self._listen, name="arbd-agent", daemon=True).start()

    def call(self, job: bytes, chunk: bytes, attached: Sequence[tuple[str, bytes]]) -> bytes:
        future: Future[bytes] = Future()
        parts = [part for name, files in attached for part in (name.encode(), files)]
        with self._lock:
            if self.is_lost:
                raise AgentLostError("the process that evaluates on this host was killed")
            number = next(self._numbers)
            self._waiting[number] = future
            assert self._process.stdin is not None
            try:
                write_message(self._process.stdin, [number.to_bytes(8, "big"), job, chunk, *parts])
            except OSError as error:
                self._waiting.pop(number)
                raise AgentLostError("the process that evaluates on this host was killed") from error
        return future.result()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while (message := read_message(self._process.stdout)) is not None:
            with self._lock:
                future = self._waiting.pop(int.from_bytes(message[0], "big"))
            future.set_result(message[1])
        with self._lock:
            self.is_lost = True
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(AgentLostError("the process that evaluates on this host was killed"))
        self._process.wait()

    def end(self) -> None:
        if self.pid == os.getpid() and self._process.stdin is not None:
            self._process.stdin.close()


_lock = threading.Lock()
_current: _Agent | None = None


def _agent() -> _Agent:
    """The agent of this process, started by the first chunk, and again after it was killed."""
    global _current  # noqa: PLW0603 - a function that is sent to a process reaches nothing else
    with _lock:
        if _current is None or _current.is_lost or _current.pid != os.getpid():
            _current = _Agent()
            atexit.register(_current.end)
        return _current
