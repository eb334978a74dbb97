"""The daemon's side of the Redis mirror: hears from its process how it is, and says so.

Whoever wants to know reads `status`. With Redis down nothing here waits for it.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from arbd.daemon.host.logs import Log
from arbd.daemon.side.side_process import SideProcess
from arbd.mirror import process as mirror_process
from arbd.mirror.process import DOWN, STARTING, UP, Setup, Status
from arbd.mirror.settings import RedisSettings

STOP_S = 5.0


class Mirroring:
    """Runs a mirror process while it is wanted."""

    def __init__(self, spool: Path, settings: RedisSettings, only: str | None, log: Log) -> None:
        self.settings = settings
        self.status = Status()
        self._written_before = 0
        self._log = log
        setup = Setup(spool, settings, only, os.getpid())
        self._process = SideProcess(
            "mirror", mirror_process.main, setup, begin=self._begin, hear=self._hear, ended=self._ended, stop_s=STOP_S
        )

    def start(self) -> None:
        """Begin."""
        self._process.start()

    def catch_up(self, within_s: float) -> None:
        """Wait until Redis has everything, is down, or the time is over."""
        give_up = time.monotonic() + within_s
        # A sweep that was under way may have begun before the last result was written: the next one counts.
        enough = self.status.sweeps + 2
        while time.monotonic() < give_up and self._process.is_alive():
            status = self.status
            if status.state == DOWN or (status.sweeps >= enough and status.idle):
                return
            time.sleep(0.05)

    def stop(self, *, wait: bool = True) -> None:
        """End the process; what Redis has not got, the next start or another worker gives it."""
        self._process.stop(wait=wait)

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

    def _begin(self) -> None:
        self._written_before = self.status.written

    def _ended(self, exit_code: int | None) -> None:
        self._log.error("the mirror's process ended and is started again", exit_code=exit_code)

    def _hear(self, told: Status) -> None:
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
