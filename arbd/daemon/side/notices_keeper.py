"""The daemon's side of notices: starts their process, hears what became of them, says so, starts it again.

All in a thread of its own; whoever wants to know reads `about`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from arbd.daemon.host.logs import Log
from arbd.daemon.notices import process as notices_process
from arbd.daemon.notices.log import GIVEN_UP, SENT
from arbd.daemon.notices.process import Delivery, Setup, TargetStatus
from arbd.daemon.notices.settings import NotifySettings

FIRST_RESTART_S, LONGEST_RESTART_S = 0.5, 30.0
HEAR_S = 0.5
STOP_S = 2.0


class NoticesKeeper:
    """Runs the process while it is wanted."""

    def __init__(self, spool: Path, settings: NotifySettings, look_s: float, log: Log) -> None:
        self._spool = spool
        self._settings = settings
        self._look_s = look_s
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._targets = {target.name: TargetStatus(target.name, target.shown) for target in settings.targets}
        self._base: dict[str, TargetStatus] = {}
        self._said: dict[str, str] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """End the process; what is not sent yet another host sends, or the next start."""
        self._stop.set()
        if wait and self._thread.is_alive():
            self._thread.join(STOP_S + 2 * HEAR_S)

    def about(self) -> dict[str, Any]:
        """For heartbeats, by target."""
        return {name: asdict(status) for name, status in self._targets.items()}

    def _run(self) -> None:
        pause_s = FIRST_RESTART_S
        while not self._stop.is_set():
            began = time.monotonic()
            self._base = dict(self._targets)
            process, pipe = self._launch()
            try:
                while process.is_alive() and not self._stop.is_set():
                    self._hear(pipe)
                with contextlib.suppress(OSError):
                    pipe.send("stop")
                process.join(STOP_S if self._stop.is_set() else 0)
            finally:
                if process.is_alive():
                    process.kill()
                process.join()
                pipe.close()
            if self._stop.is_set():
                return
            self._log.error("the process of notices ended and is started again", exit_code=process.exitcode)
            pause_s = FIRST_RESTART_S if time.monotonic() - began > LONGEST_RESTART_S else pause_s
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RESTART_S)

    def _launch(self) -> tuple[SpawnProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        setup = Setup(self._spool, self._settings, self._look_s, os.getpid())
        process = context.Process(target=notices_process.main, args=(setup, there), name="arbd-notify", daemon=True)
        process.start()
        there.close()
        return process, here

    def _hear(self, pipe: Connection) -> None:
        try:
            if not pipe.poll(HEAR_S):
                return
            told = pipe.recv()
        except (EOFError, OSError):
            self._stop.wait(HEAR_S)
            return
        if isinstance(told, Delivery):
            self._delivered(told)
        else:
            base = self._base[told.target]
            self._targets[told.target] = replace(told, sent=base.sent + told.sent, failed=base.failed + told.failed)
            self._say_error(told)

    def _say_error(self, status: TargetStatus) -> None:
        before, self._said[status.target] = self._said.get(status.target, ""), status.error
        if status.error and not before:
            self._log.warning("a target of notices cannot be told now", target=status.target, reason=status.error)
        elif before and not status.error:
            self._log.info("the target of notices is told again", target=status.target)

    def _delivered(self, told: Delivery) -> None:
        step = told.step
        about = {"target": told.target, "session": step.session_id, "key": step.key, "attempt": step.attempt}
        if step.what == SENT:
            self._log.info("told of a session", **about)
        elif step.what == GIVEN_UP:
            self._log.error("nobody could be told of a session; given up", reason=step.error, **about)
        else:
            self._log.debug("a notice is tried again", reason=step.error, **about)
