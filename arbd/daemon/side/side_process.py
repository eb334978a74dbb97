"""A process beside the daemon, in a thread of its own: started, listened to, started again with growing pauses, ended.

Keeps I8: nothing in the daemon waits for it, whatever becomes of it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

FIRST_RESTART_S, LONGEST_RESTART_S = 0.5, 30.0
HEAR_S = 0.5


def spawned(main: Callable[[Any, Connection], None], setup: object, name: str) -> tuple[SpawnProcess, Connection]:
    """A fresh process that runs `main(setup, pipe)`, and this end of its pipe."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=main, args=(setup, there), name=f"arbd-{name}", daemon=True)
    process.start()
    there.close()
    return process, here


class SideProcess:
    """Runs `main(setup, pipe)` as long as it is wanted.

    In the thread: `begin` is called before each start, `hear` with what the process tells, `ended` with its exit code when
    it ended unasked. It is told "stop" through its pipe, and has `stop_s` to end.
    """

    def __init__(
        self,
        name: str,
        main: Callable[[Any, Connection], None],
        setup: object,
        *,
        begin: Callable[[], None],
        hear: Callable[[Any], None],
        ended: Callable[[int | None], None],
        stop_s: float,
    ) -> None:
        self._name, self._main, self._setup = name, main, setup
        self._begin, self._hear, self._ended = begin, hear, ended
        self._stop_s = stop_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it is looked after."""
        return self._thread.is_alive()

    def stop(self, *, wait: bool) -> None:
        """Have it end."""
        self._stop.set()
        if wait and self._thread.is_alive():
            self._thread.join(self._stop_s + 2 * HEAR_S)

    def _run(self) -> None:
        pause_s = FIRST_RESTART_S
        while not self._stop.is_set():
            began = time.monotonic()
            self._begin()
            process, pipe = spawned(self._main, self._setup, self._name)
            try:
                while process.is_alive() and not self._stop.is_set():
                    self._listen(pipe)
                with contextlib.suppress(OSError):
                    pipe.send("stop")
                process.join(self._stop_s if self._stop.is_set() else 0)
            finally:
                if process.is_alive():
                    process.kill()
                process.join()
                pipe.close()
            if self._stop.is_set():
                return
            self._ended(process.exitcode)
            pause_s = FIRST_RESTART_S if time.monotonic() - began > LONGEST_RESTART_S else pause_s
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RESTART_S)

    def _listen(self, pipe: Connection) -> None:
        try:
            if not pipe.poll(HEAR_S):
                return
            told = pipe.recv()
        except (EOFError, OSError):
            # It ends, which is seen in a moment.
            self._stop.wait(HEAR_S)
            return
        self._hear(told)
