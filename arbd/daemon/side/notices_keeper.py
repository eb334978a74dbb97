"""The daemon's side of notices: hears from their process what became of them, and says so.

Whoever wants to know reads `about`.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from arbd.daemon.host.logs import Log
from arbd.daemon.notices import process as notices_process
from arbd.daemon.notices.log import GIVEN_UP, SENT
from arbd.daemon.notices.process import Delivery, Setup, TargetStatus
from arbd.daemon.notices.settings import NotifySettings
from arbd.daemon.side.side_process import SideProcess

STOP_S = 2.0


class NoticesKeeper:
    """Runs the process while it is wanted."""

    def __init__(self, spool: Path, settings: NotifySettings, look_s: float, log: Log) -> None:
        self._log = log
        setup = Setup(spool, settings, look_s, os.getpid())
        self._process = SideProcess(
            "notify", notices_process.main, setup, begin=self._begin, hear=self._hear, ended=self._ended, stop_s=STOP_S
        )
        self._targets = {target.name: TargetStatus(target.name, target.shown) for target in settings.targets}
        self._base: dict[str, TargetStatus] = {}
        self._said: dict[str, str] = {}

    def start(self) -> None:
        """Begin."""
        self._process.start()

    def stop(self, *, wait: bool = True) -> None:
        """End the process; what is not sent yet another host sends, or the next start."""
        self._process.stop(wait=wait)

    def about(self) -> dict[str, Any]:
        """For heartbeats, by target."""
        return {name: asdict(status) for name, status in self._targets.items()}

    def _begin(self) -> None:
        self._base = dict(self._targets)

    def _ended(self, exit_code: int | None) -> None:
        self._log.error("the process of notices ended and is started again", exit_code=exit_code)

    def _hear(self, told: Delivery | TargetStatus) -> None:
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
