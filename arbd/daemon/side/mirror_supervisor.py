"""The daemon's side of the Redis mirror: starts its process, hears how it is, says so, starts it again.

All in a thread of its own; whoever wants to know reads `status`. With Redis down nothing here waits for it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from arbd.daemon.host.logs import Log
from arbd.mirror import process as mirror_process
from arbd.mirror.process import DOWN, STARTING, UP, Setup, Status
from arbd.mirror.settings import RedisSettings

FIRST_RESTART_S = 0.5
LONGEST_RESTART_S = 30.0
HEAR_S = 0.5
STOP_S = 5.0


class Mirroring:
    """Runs a mirror process while it is wanted."""

    def __init__(self, spool: Path, settings: RedisSettings, only: str | None, log: Log) -> None:
        self.settings = settings
        self.status = Status()
        self._spool = spool
        self._only = only
        self._written_before = 0
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def catch_up(self, within_s: float) -> None:
        """Wait until Redis has everything, is down, or the time is over."""
        give_up = time.monotonic() + within_s
        # A sweep that was under way may have begun before the last result was written: the next one counts.
        enough = self.status.sweeps + 2
        while time.monotonic() < give_up and self._thread.is_alive():
            status = self.status
            if status.state == DOWN or (status.sweeps >= enough and status.idle):
                return
            time.sleep(0.05)

    def stop(self, *, wait: bool = True) -> None:
        """End the process; what Redis has not got, the next start or another worker gives it."""
        self._stop.set()
        if wait:
            self._thread.join(STOP_S + 2 * HEAR_S)

    def about(self) -> dict[str, Any]:
        """For heartbeats."""
        status = self.status
        return {
            "url": self.settings.shown_url,
            "state": status.state,
            "error": status.error,
            "behind": status.behind,
            "written": status.written,
            "troubles": dict(list(status.troubles.items())[:20]),
            "unfit": list(status.unfit),
        }

    def _run(self) -> None:
        pause_s = FIRST_RESTART_S
        while not self._stop.is_set():
            began = time.monotonic()
            self._written_before = self.status.written
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
            self._log.error("the mirror's process ended and is started again", exit_code=process.exitcode)
            pause_s = FIRST_RESTART_S if time.monotonic() - began > LONGEST_RESTART_S else pause_s
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RESTART_S)

    def _launch(self) -> tuple[SpawnProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        setup = Setup(self._spool, self.settings, self._only, os.getpid())
        process = context.Process(target=mirror_process.main, args=(setup, there), name="arbd-mirror", daemon=True)
        process.start()
        there.close()
        return process, here

    def _hear(self, pipe: Connection) -> None:
        try:
            if not pipe.poll(HEAR_S):
                return
            told: Status = pipe.recv()
        except (EOFError, OSError):
            self._stop.wait(HEAR_S)
            return
        status = replace(told, written=self._written_before + told.written)
        before, self.status = self.status, status
        if status.state == DOWN and before.state != DOWN:
            self._log.error(
                "the Redis mirror is down; results are safe in the files, trying again",
                redis=self.settings.shown_url,
                reason=status.error,
            )
        elif status.state == UP and before.state != UP:
            event = "mirroring to Redis" if before.state == STARTING else "the Redis mirror works again"
            self._log.info(event, redis=self.settings.shown_url, behind=status.behind)
        for reason in status.unfit:
            if reason not in before.unfit:
                self._log.warning(
                    "this Redis is no safe place for results", redis=self.settings.shown_url, reason=reason
                )
        for session_id, reason in status.troubles.items():
            if session_id not in before.troubles:
                self._log.warning("a session is not mirrored to Redis now", session=session_id, reason=reason)
