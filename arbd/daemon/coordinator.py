"""The coordinator: everything that this worker does on the spool, in one thread that may wait for the disk.

Keeps the main loop free of file access, so that a hanging mount cannot stop it from watching its slots.
Trouble with the spool (full, away, stale) never loses anything: what is finished stays in memory, nothing
more is claimed, and the same calls are made again until they work.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from arbd.daemon import messages
from arbd.daemon.chunks import share
from arbd.daemon.logs import Log
from arbd.daemon.session_work import SessionWork
from arbd.errors import CorruptionError, NotFoundError, UsageError
from arbd.spool import ledger
from arbd.spool.files import Clock, Files
from arbd.spool.intake import Accepted, Intake
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.sessions import REOPENED_PREFIX, read_spec, session_ids
from arbd.spool.workers import Beat, Observer, write_beat

FIRST_TROUBLE_PAUSE_S = 0.25
LONGEST_TROUBLE_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Timing:
    """How often things are done, in seconds."""

    scan_s: float
    beat_s: float
    lease_s: float
    chunk_target_s: float


class Coordinator:
    """One worker's dealings with one spool. `tell` may be called from any thread; the rest runs in `run`."""

    def __init__(
        self,
        files: Files,
        clock: Clock,
        layout: SpoolLayout,
        worker: Worker,
        timing: Timing,
        log: Log,
        order: Callable[[messages.Order], None],
        *,
        about: Mapping[str, Any],
        intake: Intake | None,
        only: str | None = None,
        burst: bool = False,
    ) -> None:
        self._files = files
        self._clock = clock
        self._layout = layout
        self._worker = worker
        self._timing = timing
        self._log = log
        self._order = order
        self._about = dict(about)
        self._intake = intake
        self._only = only
        self._burst = burst
        self._news: queue.SimpleQueue[messages.News] = queue.SimpleQueue()
        self._work: dict[str, SessionWork] = {}
        self._over: set[str] = set()
        self._bad: dict[str, str] = {}
        self._observer = Observer(files, layout, clock, timing.beat_s, timing.lease_s)
        self._numbers = itertools.count(1)
        self._counter = 0
        self._next_beat = 0.0
        self._next_scan = 0.0
        self._draining = False
        self._trouble = ""
        self._trouble_pause_s = FIRST_TROUBLE_PAUSE_S
        self._ended = threading.Event()

    def tell(self, news: messages.News) -> None:
        """Hand over news; never blocks."""
        self._news.put(news)

    def run(self) -> None:
        """Work until finished. Any error that is not the spool's trouble ends the worker with it."""
        try:
            while not self._ended.is_set():
                self._turn()
        except Exception as error:
            self._order(messages.Fatal(error))

    def _turn(self) -> None:
        wake = self._listen()
        try:
            now = self._clock.monotonic_s()
            if now >= self._next_beat:
                self._beat()
                self._next_beat = now + self._timing.beat_s
            if wake or now >= self._next_scan:
                self._next_scan = now + self._timing.scan_s
                self._scan()
            self._exchange()
            self._compact()
            self._finish_if_done()
        except (OSError, TimeoutError) as error:
            self._in_trouble(error)
        else:
            self._out_of_trouble()

    def _listen(self) -> bool:
        """Take all news, waiting for the first until something is due; True when the spool should be scanned."""
        due = min(self._next_beat, self._next_scan)
        if self._trouble:
            due = self._clock.monotonic_s() + self._trouble_pause_s
        wake = False
        timeout = max(0.0, due - self._clock.monotonic_s())
        try:
            while True:
                news = self._news.get(timeout=timeout) if timeout > 0 else self._news.get_nowait()
                timeout = 0.0
                wake |= self._heard(news)
        except queue.Empty:
            return wake

    def _heard(self, news: messages.News) -> bool:
        match news:
            case messages.Wake():
                return True
            case messages.Drain():
                self._draining = True
            case messages.Compacted(session, error, damage):
                self._compacted(session.name, error, damage)
            case messages.Reported(task, report):
                work = self._work[task.session.name]
                work.reported(task, report)
                if report.first_error:
                    self._log.warning("iterations failed", session=work.session_id, first_error=report.first_error)
            case messages.Returned(task):
                self._work[task.session.name].returned(task)
            case messages.Unloadable(task, reason):
                self._work[task.session.name].unloadable(task, reason)
                self._log.error("this host cannot evaluate the session", session=task.session.name, reason=reason)
            case messages.Lost(task):
                self._lost(task.session.name, news)
        return False

    def _lost(self, session_id: str, news: messages.Lost) -> None:
        work = self._work[session_id]
        self._log.warning("a slot died", session=session_id, slot=news.autopsy.setup.label, reason=news.autopsy.error())
        try:
            rest = work.lost(news.task, news.autopsy)
        except OSError as error:
            # The segment cannot be read now; the task is still out, and so is this piece of news.
            self._in_trouble(error)
            threading.Timer(self._trouble_pause_s, self.tell, (news,)).start()
            return
        if rest is not None:
            self._order(messages.Run(rest, work.limits))

    def _beat(self) -> None:
        self._counter += 1
        about = {
            **self._about,
            "busy": sum(len(work.tasks) for work in self._work.values()),
            "done": sum(work.done_here for work in self._work.values()),
            "rate": sum(
                self._worker.slots / work.seconds_each
                for work in self._work.values()
                if work.tasks and work.seconds_each
            ),
            "sessions": sorted(name for name, work in self._work.items() if not work.is_idle),
            "blocked": {name: work.blocked for name, work in self._work.items() if work.blocked} | self._bad,
            "trouble": self._trouble,
            "state": "draining" if self._draining else "running",
        }
        write_beat(
            self._files, self._layout, Beat(self._worker.worker_id, self._worker.incarnation, self._counter, about)
        )

    def _scan(self) -> None:
        if self._intake is not None and not self._draining:
            for outcome in self._intake.scan():
                if isinstance(outcome, Accepted):
                    self._log.info("job accepted", job=outcome.name, session=outcome.session_id, iterations=outcome.n)
                else:
                    self._log.warning("job rejected", job=outcome.name, reason=outcome.reason)
        names = session_ids(self._files, self._layout)
        reopened = {
            name.removeprefix(REOPENED_PREFIX)
            for name in self._files.names(self._layout.sessions)
            if name.startswith(REOPENED_PREFIX)
        }
        self._over -= reopened
        for session_id in names:
            if session_id in self._over or session_id in self._bad or self._only not in (None, session_id):
                continue
            try:
                self._look_at(session_id)
            except (CorruptionError, NotFoundError, UsageError) as error:
                self._bad[session_id] = str(error)
                self._log.error("the session cannot be read and is left alone", session=session_id, reason=error)

    def _is_news(self, session_id: str) -> bool:
        known = session_id in self._work or session_id in self._over or session_id in self._bad
        return not known and self._only in (None, session_id)

    def _look_at(self, session_id: str) -> None:
        work = self._work.get(session_id)
        if work is None:
            paths = self._layout.session(session_id)
            session_queue = SessionQueue(self._files, paths)
            if session_queue.refresh().over:
                self._over.add(session_id)
                return
            work = SessionWork(
                session_queue,
                read_spec(self._files, paths),
                self._worker,
                self._clock,
                self._timing.chunk_target_s,
                self._numbers,
            )
            self._work[session_id] = work
        before = work.state.state
        state = work.queue.refresh()
        for damage in work.queue.take_damage():
            self._log.warning("the ledger has an unreadable stretch; nothing is lost", session=session_id, place=damage)
        if state.state not in (before, ledger.RUNNING):
            self._order(messages.Stop(work.queue.paths.folder, kill=state.state == ledger.CANCELLED))
        if not state.over:
            self._revoke_dead(work)
        elif work.is_idle and not work.compacting:
            del self._work[session_id]
            self._over.add(session_id)

    def _revoke_dead(self, work: SessionWork) -> None:
        holders = {(claim.worker_id, claim.incarnation) for claim in work.state.claims.values()}
        for worker_id, incarnation in sorted(holders):
            if incarnation == self._worker.incarnation:
                continue
            if worker_id == self._worker.worker_id:
                reason: str | None = f"{worker_id} was started again"
            else:
                reason = self._observer.dead(worker_id, incarnation)
            if reason is not None:
                self._revoke(work, worker_id, incarnation, reason)

    def _revoke(self, work: SessionWork, worker_id: str, incarnation: int, reason: str) -> None:
        def decide(state: ledger.LedgerState) -> list[dict[str, Any]]:
            still = any(claim.incarnation == incarnation for claim in state.claims.values())
            return [ledger.revoked(incarnation, reason)] if still else []

        work.queue.change(decide)
        self._log.warning(
            "took back the work of a dead worker", session=work.session_id, worker=worker_id, reason=reason
        )

    def _exchange(self) -> None:
        """Record what is finished and claim what the slots can take, until neither gives anything more."""
        for _ in range(100):
            given: dict[str, int] = {}
            if not self._draining:
                demands = [work.demand(self._worker.slots) for work in self._work.values()]
                depth = 2 * self._worker.slots
                out = sum(len(work.tasks) for work in self._work.values())
                given = share([demand for demand in demands if demand is not None], depth - out)
            to_do = {name for name, work in self._work.items() if work.finishes or given.get(name)}
            if not to_do:
                return
            for name in sorted(to_do, key=lambda n: -self._work[n].spec.execution.priority):
                work = self._work[name]
                for task in work.exchange(given.get(name, 0)):
                    self._order(messages.Run(task, work.limits))

    def _compact(self) -> None:
        for work in self._work.values():
            state = work.state
            if state.exhausted and not state.over and not work.compacting and not self._draining:
                work.compacting = True
                self._order(messages.Compact(work.queue.paths.folder))

    def _compacted(self, session_id: str, error: str, damage: tuple[str, ...]) -> None:
        work = self._work[session_id]
        for place in damage:
            self._log.error("a segment is damaged; iterations that it lost run again", session=session_id, place=place)
        work.compacting = False
        self._next_scan = 0.0
        if error:
            self._log.error("compaction failed and is tried again", session=session_id, reason=error)
            return
        work.queue.refresh()
        if work.state.done:
            self._files.remove(self._layout.sessions / f"{REOPENED_PREFIX}{session_id}")
            completed, failed, timeout, crashed = work.state.counts
            self._log.info(
                "session done", session=session_id, completed=completed, failed=failed, timeout=timeout, crashed=crashed
            )

    def _finish_if_done(self) -> None:
        idle = all(work.is_idle and not work.compacting for work in self._work.values())
        if self._draining:
            if idle:
                self._end(0, "drained")
            return
        if not self._burst or not idle:
            return
        if self._intake is not None and self._intake.waiting():
            return
        if any(self._is_news(session_id) for session_id in session_ids(self._files, self._layout)):
            # Another worker made a session of the last job after our scan.
            self._next_scan = 0.0
            return
        stuck = {
            name: work.blocked for name, work in self._work.items() if work.is_blocked and work.blocked
        } | self._bad
        waiting = [
            work for name, work in self._work.items() if name not in stuck and work.state.state == ledger.RUNNING
        ]
        if waiting:
            return
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(stuck.items()))
        self._end(1 if stuck else 0, reasons or "nothing is left to do")

    def _end(self, exit_code: int, reason: str) -> None:
        self._ended.set()
        self._order(messages.Finished(exit_code, reason))

    def _in_trouble(self, error: Exception) -> None:
        if not self._trouble:
            self._log.error("the spool is in trouble; nothing is lost, trying again", reason=error)
        self._trouble = str(error)
        self._trouble_pause_s = min(2 * self._trouble_pause_s, LONGEST_TROUBLE_PAUSE_S)

    def _out_of_trouble(self) -> None:
        if self._trouble:
            self._log.info("the spool works again")
            self._trouble = ""
            self._trouble_pause_s = FIRST_TROUBLE_PAUSE_S
