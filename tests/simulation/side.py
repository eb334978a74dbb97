"""What a virtual daemon has beside its coordinator: the process that suggests generations, and the one that takes jobs up."""

from __future__ import annotations

import itertools
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from arbd.daemon.core import events
from arbd.daemon.core.session_registry import Timing
from arbd.daemon.side.intake_process import look
from arbd.errors import ArbdError
from arbd.job.spec import JobSpec
from arbd.results.suggester import Suggester
from arbd.spool.held import Taker
from arbd.spool.intake import Intake
from arbd.spool.layout import SessionPaths
from arbd.spool.liveness import Observer
from arbd.spool.system import FileStatus
from tests.simulation.world import Process

if TYPE_CHECKING:
    from tests.simulation.daemon import SimDaemon

TIMING = Timing(scan_s=1.0, beat_s=1.0, lease_s=8.0, chunk_target_s=1.0)


class SimSuggester:
    """The process that computes generations, of one daemon."""

    def __init__(self, daemon: SimDaemon) -> None:
        self.daemon = daemon
        self.orders: deque[events.Suggest] = deque()
        self._starts = itertools.count()
        self.start()

    def start(self) -> None:
        """A fresh process, which knows nothing."""
        self.process = self.daemon.child(f"s{next(self._starts)}")
        self.files, _ = self.daemon.files_of(self.process)
        self._sessions: dict[Path, tuple[FileStatus | None, Suggester]] = {}
        self._busy = False

    def submit(self, order: events.Suggest) -> None:
        """One after the other."""
        self.orders.append(order)
        if not self._busy:
            self._busy = True
            process, world = self.process, self.daemon.world
            process.on_death.append(lambda: self._died(process))
            world.spawn(process, process.name, self._run)

    def _run(self) -> None:
        while self.orders:
            order = self.orders[0]
            self.process.session = order.session
            try:
                identity, session = self._session(order.session)
                self.daemon.world.pause(self.daemon.world.rng.uniform(0.0, 0.3))
                news: events.Event = events.SuggestionMade(
                    order.session, session.suggest(order.number, urgent=order.urgent)
                )
                self._sessions[order.session] = (identity, session)
            except (OSError, ArbdError) as error:
                news = events.SuggestionFailed(order.session, repr(error))
            self.orders.popleft()
            self.daemon.tell(news)
        self.process.on_death.pop()
        self._busy = False

    def _session(self, folder: Path) -> tuple[FileStatus | None, Suggester]:
        """As `arbd.daemon.side.suggester` keeps them."""
        identity = self.files.look(SessionPaths(folder).spec)
        known, session = self._sessions.pop(folder, (None, None))
        if session is None or known != identity:
            session = Suggester(self.files, SessionPaths(folder))
        return identity, session

    def _died(self, process: Process) -> None:
        if not self.daemon.process.alive or process is not self.process:
            return
        lost = list(self.orders)
        self.orders.clear()
        self.start()
        for order in lost:
            self.daemon.tell(events.SuggestionFailed(order.session, "the process died"))


class SimIntake:
    """The process that takes jobs up, and the daemon's side of it: started again when it died."""

    def __init__(self, daemon: SimDaemon) -> None:
        self.daemon = daemon
        self.world = daemon.world
        self._starts = itertools.count()
        self._ended = False
        self.start()

    def start(self) -> None:
        """A fresh process, which knows nothing."""
        self.process = self.daemon.child(f"i{next(self._starts)}")
        self.files, _ = self.daemon.files_of(self.process)
        process = self.process
        process.on_death.append(lambda: self._died(process))
        self.world.spawn(process, process.name, self._run)

    def _resolve(self, data: bytes, name: str) -> JobSpec:
        # As it is where a job names much data: others must not notice.
        rng = self.world.rng
        self.world.pause(rng.choice((0.0, 0.05, rng.uniform(0.1, 12.0))))
        return self.daemon.resolve(data, name)

    def _run(self) -> None:
        daemon, clock = self.daemon, self.daemon.clock
        observer = Observer(self.files, daemon.layout, clock, TIMING.beat_s, TIMING.lease_s)
        intake = Intake(
            self.files, daemon.layout, clock, self._resolve,
            taker=Taker(daemon.worker_id, daemon.incarnation), dead=observer.dead,
        )  # fmt: skip
        while not self._ended:
            looked, more = look(intake)
            if looked.trouble:
                daemon.log.info("jobs cannot be taken up", reason=looked.trouble)
            daemon.tell(events.IntakeReported(looked.outcomes, looked.waiting))
            if not more:
                self.world.pause(0.3 if looked.waiting else 1.0)

    def end(self) -> None:
        """SIGTERM of the daemon."""
        self._ended = True
        self.world.kill(self.process)

    def _died(self, process: Process) -> None:
        if self.daemon.process.alive and not self._ended and process is self.process:
            self.world.at(self.world.now + 0.2, self._restart)

    def _restart(self) -> None:
        if self.daemon.process.alive and not self._ended:
            self.start()
