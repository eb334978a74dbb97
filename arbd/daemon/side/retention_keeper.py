"""The daemon's side of retention: a process makes a round now and then, and what it says is logged, counted and shown.

All in a thread of its own. Nothing waits for it; when the daemon ends the process is killed, which costs nothing.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from arbd.daemon.host.logs import Log
from arbd.daemon.side import retention_process
from arbd.daemon.side.retention_process import Kept, RoundEnded, Setup
from arbd.daemon.side.side_process import HEAR_S, spawned
from arbd.spool.retention_rules import RetentionSettings
from arbd.spool.system import Clock

# After a start others come first.
FIRST_ROUND_S = 5.0
MOST_TROUBLES = 20


class RetentionKeeper:
    """Makes rounds while it runs."""

    def __init__(self, spool: Path, worker_id: str, settings: RetentionSettings, clock: Clock, log: Log) -> None:
        self._spool = spool
        self._worker_id = worker_id
        self._settings = settings
        self._clock = clock
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._done: Counter[str] = Counter()
        self._freed_bytes = 0
        self._troubles: dict[str, str] = {}
        self._ended_ns = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """End a round that is under way, wherever it is."""
        self._stop.set()
        if wait and self._thread.is_alive():
            self._thread.join(5.0)

    def about(self) -> dict[str, Any]:
        """For heartbeats."""
        return {
            "every_s": self._settings.every_s,
            "rules": len(self._settings.rules),
            "last_round_ns": self._ended_ns,
            "done": dict(self._done),
            "freed_bytes": self._freed_bytes,
            "troubles": dict(list(self._troubles.items())[:MOST_TROUBLES]),
        }

    def _run(self) -> None:
        wait_s = min(FIRST_ROUND_S, self._settings.every_s)
        while not self._stop.wait(wait_s):
            self._make_round()
            wait_s = self._settings.every_s

    def _make_round(self) -> None:
        setup = Setup(self._spool, self._worker_id, self._settings, os.getpid())
        process, pipe = spawned(retention_process.main, setup, "retention")
        before, self._troubles = self._troubles, {}
        ended = False
        try:
            while not self._stop.is_set() and not ended:
                if pipe.poll(HEAR_S):
                    ended = self._heard(pipe.recv(), before)
                elif not process.is_alive():
                    break
        except (EOFError, OSError):
            # It has ended, without its last word.
            ended = False
        finally:
            if not ended:
                process.kill()
            process.join()
            pipe.close()
        if not ended and not self._stop.is_set():
            self._trouble("", f"the process of the round ended with exit code {process.exitcode}", before)

    def _heard(self, told: Kept | RoundEnded, before: dict[str, str]) -> bool:
        if isinstance(told, RoundEnded):
            if told.busy:
                self._troubles = before
            self._ended_ns = self._clock.wall_ns()
            return True
        if told.error:
            self._trouble(told.session_id, told.error, before)
            return False
        self._done[told.what] += 1
        self._freed_bytes += told.freed_bytes
        fields = {"archive": told.archive} if told.archive else {}
        self._log.info(told.what, session=told.session_id, freed_bytes=told.freed_bytes, **fields)
        return False

    def _trouble(self, session_id: str, error: str, before: dict[str, str]) -> None:
        self._troubles[session_id] = error
        if before.get(session_id) == error:
            return
        about = {"session": session_id} if session_id else {}
        self._log.warning("retention cannot be carried out, and is tried again", reason=error, **about)
