"""The daemon's side of taking jobs up: starts the process that does it, hears of it, ends it when a job stands still.

All in a thread of its own. The process is there while there are jobs, and for a while after; each time that it ends in
the middle of a job, what is known of that is told to the next one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from arbd.daemon import forks
from arbd.daemon.core import events
from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import Log
from arbd.daemon.side import intake_process
from arbd.daemon.side.intake_process import Began, Looked, Setup, WentOn
from arbd.daemon.side.standing_watch import StandingWatch
from arbd.daemon.slots.protocol import may_run_engine
from arbd.job.code import engine, read_engine
from arbd.spool.held import Taker, give_back
from arbd.spool.layout import SpoolLayout
from arbd.spool.listing import Listing, hidden_names
from arbd.spool.sessions import HIDDEN
from arbd.spool.standing.firing import Standing
from arbd.spool.system import SystemClock
from arbd.values import dataclass

HEAR_S = 0.2
IDLE_S = 60.0
# Leftovers of crashes in `sessions/` are looked for so often even where no job comes.
HOUSEKEEPING_S = 600.0
FIRST_RESTART_S, LONGEST_RESTART_S = 0.2, 30.0
STOP_S = 1.0
# The log tells so often that checking a job takes long.
TOLD_S = 60.0


@dataclass(slots=True)
class _Running:
    process: BaseProcess
    pipe: Connection
    job: str = ""
    # When the attempt at it began, when it was last told of as going on, and for how long it had waited for a processor then.
    began_s: float = 0.0
    went_on_s: float = 0.0
    starved_s: float = 0.0
    told_s: float = 0.0
    busy_s: float = 0.0
    killed: str = ""
    has_reported: bool = False


def _starved_s(pid: int | None) -> float:
    """For how long a process waited for a processor so far; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _context(config: Config) -> SpawnContext | ForkServerContext:
    """Copies of the server that slots are copies of, as long as that has the code that is on the disk."""
    if read_engine().digest != engine().digest:
        return multiprocessing.get_context("spawn")
    return forks.forking_context(engine=may_run_engine(config.allow), intake=True)


class IntakeSupervisor:
    """Has jobs taken up while it runs. `post` gets an `IntakeReported` when something came of it, from its thread."""

    def __init__(
        self,
        config: Config,
        taker: Taker,
        post: Callable[[events.Event], None],
        log: Log,
        standing_seen: Callable[[Sequence[Standing]], None] = lambda standing: None,
    ) -> None:
        self._config = config
        self._taker = taker
        self._post = post
        self._log = log
        self._layout = SpoolLayout(config.spool)
        self._files = self._layout.files()
        self._stop = threading.Event()
        self._wake = threading.Event()
        # Held while the settings change or a process gets them: no turn that begins after a reload has older ones.
        self._settings = threading.Lock()
        self._pipe: Connection | None = None
        self._interrupted = ""
        self._trouble = ""
        self._reported: bool | None = None
        self._next_housekeeping_s = 0.0
        self._sessions = Listing(self._files, self._layout.sessions, SystemClock())
        self._standing_seen = standing_seen
        self._standing = StandingWatch(self._files, self._layout, SystemClock())
        self._standing_troubles: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def look(self) -> None:
        """Something came into the spool; never blocks."""
        self._wake.set()

    def reconfigure(self, config: Config) -> None:
        """Go on under other settings: whatever is taken up from now on is."""
        with self._settings:
            self._config = config
            if self._pipe is not None:
                with contextlib.suppress(OSError):
                    self._pipe.send(config)
        self._wake.set()

    def end(self) -> None:
        """Take no more jobs up; one that is being checked is given back, and is no attempt of it. Never blocks."""
        self._stop.set()
        self._wake.set()

    def stop(self) -> None:
        """`end`, and wait for it, but not for long."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(STOP_S + 2 * HEAR_S)

    def _run(self) -> None:
        pause_s = FIRST_RESTART_S
        while not self._stop.is_set():
            self._wake.clear()
            if not self._is_wanted():
                self._wake.wait(self._config.scan_s)
                continue
            running = self._launch()
            try:
                self._hear_all(running)
            finally:
                self._end(running)
            if self._stop.is_set() or running.killed == "idle":
                continue
            self._say_ended(running)
            pause_s = FIRST_RESTART_S if running.has_reported else min(2 * pause_s, LONGEST_RESTART_S)
            self._stop.wait(pause_s)

    def _is_wanted(self) -> bool:
        """True when there is something to do; it looks at names alone."""
        layout, files = self._layout, self._files
        if time.monotonic() >= self._next_housekeeping_s:
            return True
        try:
            there = files.names(layout.incoming)
            dropped = [name for name in there if not name.startswith(".")]
            held = [
                folder for folder in (layout.taken, layout.accepting) if folder.name in there and files.names(folder)
            ]
            standing = self._standing.look()
            self._seen_standing(standing)
            is_due = any(each.wants_looks for each in standing)
            hidden = hidden_names(self._sessions.names())
            return bool(dropped or held or is_due or any(map(HIDDEN.fullmatch, hidden)))
        except OSError:
            # The coordinator tells of a spool that is away.
            return False

    def _launch(self) -> _Running:
        context = _context(self._config)
        here, there = context.Pipe()
        with self._settings:
            setup = Setup(self._config, self._taker, os.getpid(), self._interrupted)
            self._pipe = here
        process = context.Process(target=intake_process.main, args=(setup, there), name="arbd-intake", daemon=True)
        process.start()
        there.close()
        self._interrupted = ""
        self._next_housekeeping_s = time.monotonic() + HOUSEKEEPING_S
        return _Running(process, here, busy_s=time.monotonic())

    def _hear_all(self, running: _Running) -> None:
        while not self._stop.is_set() and not running.killed:
            with contextlib.suppress(OSError):
                if self._wake.is_set() and not running.job:
                    with self._settings:
                        running.pipe.send("look")
            self._wake.clear()
            try:
                if running.pipe.poll(HEAR_S):
                    self._on_message(running, running.pipe.recv())
            except (EOFError, OSError):
                running.process.join(HEAR_S)
                return
            now = time.monotonic()
            if running.job and self._stands_still(running, now):
                running.killed = f"was ended because it did not go on for {self._config.intake_timeout_s:g} s"
            elif running.has_reported and not running.job and now - running.busy_s > IDLE_S:
                running.killed = "idle"

    def _stands_still(self, running: _Running, now: float) -> bool:
        """True when checking a job did not go on for too long. That others have the processors is not its fault."""
        if now - running.told_s > TOLD_S:
            running.told_s = now
            self._log.info("a job is still being checked", job=running.job, seconds=round(now - running.began_s))
        if now - running.went_on_s <= self._config.intake_timeout_s:
            return False
        starved_s = _starved_s(running.process.pid) - running.starved_s
        return now - running.went_on_s - starved_s > self._config.intake_timeout_s

    def _on_message(self, running: _Running, message: Began | WentOn | Looked) -> None:
        running.has_reported = True
        now = time.monotonic()
        if isinstance(message, Began | WentOn):
            running.went_on_s, running.starved_s = now, _starved_s(running.process.pid)
        if isinstance(message, Began):
            running.job, running.began_s, running.told_s = message.name, now, now
        elif isinstance(message, Looked):
            self._looked(running, message, now)

    def _looked(self, running: _Running, message: Looked, now: float) -> None:
        running.job = ""
        if message.waiting or message.outcomes:
            running.busy_s = now
        if message.standing is not None:
            self._seen_standing(message.standing)
            if any(each.wants_looks for each in message.standing):
                running.busy_s = now
        for session in message.fired:
            self._log.info("a standing job makes a session", session=session)
        for name, why in message.notes:
            self._log.warning("a job waits", job=name, reason=why)
        if message.trouble and message.trouble != self._trouble:
            self._log.error("jobs cannot be taken up now; trying again", reason=message.trouble)
        elif self._trouble and not message.trouble:
            self._log.info("jobs are taken up again")
        self._trouble = message.trouble
        if message.outcomes or message.waiting != self._reported:
            self._reported = message.waiting
            self._post(events.IntakeReported(message.outcomes, message.waiting))

    def _seen_standing(self, standing: Sequence[Standing]) -> None:
        """Tell what is new of their troubles, once each."""
        self._standing_seen(standing)
        troubles = {each.name: each.trouble for each in standing if each.trouble}
        for name, why in troubles.items():
            if self._standing_troubles.get(name) != why:
                self._log.warning("a standing job cannot fire; trying again", standing=name, reason=why)
        self._standing_troubles = troubles

    def _end(self, running: _Running) -> None:
        process = running.process
        if self._stop.is_set() or running.killed == "idle":
            with contextlib.suppress(OSError):
                running.pipe.send(None)
            process.join(STOP_S)
        if process.is_alive():
            process.kill()
        process.join()
        with self._settings:
            self._pipe = None
        running.pipe.close()
        if self._stop.is_set():
            # The spool may be away; then this attempt counts.
            with contextlib.suppress(OSError):
                give_back(self._files, self._layout, self._taker)

    def _say_ended(self, running: _Running) -> None:
        code = running.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if code == -signal.SIGKILL:
            how += ", as happens where the host runs out of memory"
        self._interrupted = running.killed or how if running.job else ""
        self._log.error(
            "the process that takes jobs up ended and is started again", reason=running.killed or how, job=running.job
        )
