"""The process that tells targets of sessions: a thread for each, so that one that does not answer holds up no other.

It may be killed at any instruction. Nothing of the daemon waits for it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import field
from multiprocessing.connection import Connection
from pathlib import Path

from arbd import child_process
from arbd.daemon.notices.log import FAILED, GIVEN_UP, SENT, Step
from arbd.daemon.notices.message import judge_session
from arbd.daemon.notices.outbox import Outbox
from arbd.daemon.notices.senders import sender_of
from arbd.daemon.notices.settings import NotifySettings, Target
from arbd.errors import ArbdError
from arbd.spool.layout import SpoolLayout
from arbd.spool.system import SystemClock
from arbd.values import dataclass

NICENESS = 5
TROUBLE_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What the process must know; it looks every `look_s` seconds."""

    spool: Path
    settings: NotifySettings
    look_s: float
    parent_pid: int


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """To the parent: how one target is told. `sends` is False while another host does it."""

    target: str
    shown: str
    sends: bool = False
    waiting: int = 0
    given_up: int = 0
    error: str = ""
    sent: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """To the parent: a step of one notice that somebody should read."""

    target: str
    step: Step


Say = Callable[[TargetStatus | Delivery], None]


def main(setup: Setup, pipe: Connection) -> None:
    """Tell targets until the other end of the pipe says so, or is gone."""
    if not child_process.begin(setup.parent_pid, "arbd-notify"):
        return
    os.nice(NICENESS)
    stop, lock = threading.Event(), threading.Lock()

    def say(told: TargetStatus | Delivery) -> None:
        with lock, contextlib.suppress(OSError):
            pipe.send(told)

    tellers = [Teller(setup, target, say, stop) for target in setup.settings.targets]
    threads = [
        threading.Thread(target=teller.run, name=f"notify-{teller.target.name}", daemon=True) for teller in tellers
    ]
    for thread in threads:
        thread.start()
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    stop.set()
    for thread in threads:
        thread.join(1.0)


@dataclass(slots=True)
class Teller:
    """The thread of one target."""

    setup: Setup
    target: Target
    say: Say
    stop: threading.Event
    _counts: Counter[str] = field(default_factory=Counter)
    _before: TargetStatus | None = None

    def run(self) -> None:
        """Until it is told to stop."""
        layout = SpoolLayout(self.setup.spool)
        outbox = Outbox(
            layout.files(), layout, SystemClock(), self.target, sender_of(self.target, self.setup.settings.smtp),
            lambda session_id: judge_session(self.setup.spool, session_id), socket.gethostname(),
        )  # fmt: skip
        pause_s = self.setup.look_s
        while not self.stop.is_set():
            try:
                for step in outbox.step():
                    self._made(step)
                self._tell(outbox, outbox.error)
                pause_s = self.setup.look_s
            except (OSError, ArbdError, TimeoutError) as error:
                self._tell(outbox, f"the log of notices cannot be used: {error}")
                pause_s = TROUBLE_PAUSE_S
            self.stop.wait(pause_s)
        outbox.release()

    def _made(self, step: Step) -> None:
        self._counts[step.what] += 1
        if step.what in (SENT, FAILED, GIVEN_UP):
            self.say(Delivery(self.target.name, step))

    def _tell(self, outbox: Outbox, error: str) -> None:
        status = TargetStatus(
            self.target.name, self.target.shown, outbox.sends, len(outbox.waiting), outbox.told.count(GIVEN_UP), error,
            self._counts[SENT], self._counts[FAILED] + self._counts[GIVEN_UP],
        )  # fmt: skip
        if status != self._before:
            self._before = status
            self.say(status)
