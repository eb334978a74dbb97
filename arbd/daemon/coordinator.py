"""The coordinator: everything that this worker does on the spool, in one thread that may wait for the disk.

Keeps the main loop free of file access, so that a hanging mount cannot stop it from watching its slots.
Trouble with the spool (full, away, stale) never loses anything: what is finished stays in memory, nothing
more is claimed, and the same calls are made again until they work.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arbd.daemon import messages
from arbd.daemon.chunks import share
from arbd.daemon.logs import Log
from arbd.daemon.session_work import SessionWork
from arbd.errors import CorruptionError, NotFoundError, UsageError
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.intake import Accepted, Intake
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.sessions import REOPENED_PREFIX, read_spec, session_ids
from arbd.spool.system import Clock
from arbd.spool.workers import Beat, LifeLock, Observer, Peers, write_beat

FIRST_TROUBLE_PAUSE_S = 0.25
LONGEST_TROUBLE_PAUSE_S = 5.0
LOOKS_BEFORE_DROPPING = 3
LOOKS_BEFORE_BAD = 60


@dataclass(frozen=True, slots=True)
class Timing:
    """How often things are done, in seconds."""

    scan_s: float
    beat_s: float
    lease_s: float
    chunk_target_s: float


class _HeldUpError(OSError):
    """The files of one session cannot be used now."""


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
        inbox: messages.Inbox,
        life: LifeLock,
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
        self._about = {**about, "only": only}
        self._intake = intake
        self._only = only
        self._burst = burst
        self._inbox = inbox
        self._life = life
        self._unread_deaths: list[messages.Lost] = []
        self._work: dict[str, SessionWork] = {}
        self._over: set[str] = set()
        self._bad: dict[str, str] = {}
        self._observer = Observer(files, layout, clock, timing.beat_s, timing.lease_s)
        self._peers = Peers(files, layout, clock, worker.worker_id, timing.lease_s)
        self._gone: dict[str, int] = {}
        self._unfound: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._counter = 0
        self._next_beat = 0.0
        self._next_scan = 0.0
        # What is claimed before a slot can run it would only keep other workers from it.
        self._slots_ready = 0
        self._draining = False
        self._trouble = ""
        self._trouble_pause_s = FIRST_TROUBLE_PAUSE_S
        self._ended = threading.Event()

    def tell(self, news: messages.News) -> None:
        """Hand over news; never blocks."""
        self._inbox.put(news)

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
            self._bury()
            if wake or now >= self._next_scan:
                self._scan()
                self._next_scan = now + self._timing.scan_s
            self._exchange()
            self._compact()
            self._finish_if_done()
        except (OSError, TimeoutError) as error:
            self._in_trouble(error)
            if self._draining and self._is_idle():
                self._end(0, "drained")
        else:
            self._out_of_trouble()

    def _listen(self) -> bool:
        """Take all news, waiting for the first until something is due; True when the spool should be scanned."""
        now = self._clock.monotonic_s()
        due = now + self._trouble_pause_s if self._trouble else min(self._next_beat, self._next_scan)
        news = self._inbox.get(max(0.0, due - now))
        wake = False
        while news is not None:
            wake |= self._heard(news)
            news = self._inbox.get(0.0)
        return wake

    def _heard(self, news: messages.News) -> bool:
        match news:
            case messages.Wake():
                return True
            case messages.SlotReady():
                self._slots_ready = min(self._slots_ready + 1, self._worker.slots)
            case messages.Drain():
                self._draining = True
            case messages.Compacted(session, error, damage, busy):
                self._compacted(session.name, error, damage, busy=busy)
            case messages.Reported(task, report):
                work = self._work[task.session.name]
                tripped = work.reported(task, report)
                if report.first_error:
                    self._log.warning("iterations failed", session=work.session_id, first_error=report.first_error)
                self._say_tripped(work, tripped)
            case messages.Returned(task):
                self._work[task.session.name].returned(task)
            case messages.Unloadable(task, reason):
                self._work[task.session.name].unloadable(task, reason)
                self._log.error("this host cannot evaluate the session", session=task.session.name, reason=reason)
            case messages.Lost(task, autopsy):
                self._log.warning(
                    "a slot died", session=task.session.name, slot=autopsy.setup.label, reason=autopsy.error()
                )
                self._unread_deaths.append(news)
        return False

    def _bury(self) -> None:
        """Work out what the deaths of slots cost. A segment that cannot be read now is read later."""
        while self._unread_deaths:
            task, autopsy = self._unread_deaths[0].task, self._unread_deaths[0].autopsy
            work = self._work[task.session.name]
            rest = work.lost(task, autopsy)
            del self._unread_deaths[0]
            if rest is not None:
                self._order(messages.Run(rest, work.limits))

    def _say_tripped(self, work: SessionWork, reason: str) -> None:
        if reason:
            self._log.error("this host pauses the session", session=work.session_id, reason=reason)

    def _beat(self) -> None:
        if self._life.keep():
            self._log.warning("the lock of this worker was lost, and is taken again; was the spool away?")
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
            "trouble": self._trouble or next((work.trouble for work in self._work.values() if work.trouble), ""),
            "state": "draining" if self._draining else "running",
        }
        write_beat(
            self._files, self._layout, Beat(self._worker.worker_id, self._worker.incarnation, self._counter, about)
        )

    def _scan(self) -> None:
        self._peers.look()
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
                with self._handling(session_id):
                    self._look_at(session_id)
                self._unfound.pop(session_id, None)
            except _HeldUpError:
                continue
            except NotFoundError as error:
                # Listed, and yet not there: a network client's cache, or somebody is removing it.
                self._unfound[session_id] = self._unfound.get(session_id, 0) + 1
                if self._unfound[session_id] >= LOOKS_BEFORE_BAD:
                    self._bad[session_id] = str(error)
                    self._log.error("the session is not whole and is left alone", session=session_id, reason=error)
            except (CorruptionError, UsageError) as error:
                self._bad[session_id] = str(error)
                self._log.error("the session cannot be read and is left alone", session=session_id, reason=error)
        self._drop_removed(names)

    @contextlib.contextmanager
    def _handling(self, session_id: str) -> Iterator[None]:
        """Trouble with one session's files holds up that session, and not the others."""
        work = self._work.get(session_id)
        if work is None:
            yield
            return
        if work.is_held_up:
            raise _HeldUpError
        try:
            yield
        except OSError as error:
            if not work.trouble:
                self._log.error("files of the session cannot be used now", session=session_id, reason=error)
            work.failing(error)
            raise _HeldUpError from error
        if work.trouble:
            self._log.info("files of the session work again", session=session_id)
            work.working()

    def _drop_removed(self, names: Sequence[str]) -> None:
        """Forget sessions whose folder somebody removed. One listing without it may be a cache's mistake."""
        for session_id in [name for name in self._work if name not in names]:
            self._gone[session_id] = self._gone.get(session_id, 0) + 1
            if self._gone[session_id] < LOOKS_BEFORE_DROPPING:
                continue
            work = self._work[session_id]
            self._order(messages.Stop(work.queue.paths.folder, kill=True))
            if not work.tasks and not work.compacting:
                self._log.error("the session's folder was removed; its work ends here", session=session_id)
                del self._work[session_id], self._gone[session_id]
        self._gone = {name: looks for name, looks in self._gone.items() if name not in names}

    def _is_news(self, session_id: str) -> bool:
        known = session_id in self._work or session_id in self._over or session_id in self._bad
        return not known and self._only in (None, session_id)

    def _look_at(self, session_id: str) -> None:
        work = self._work.get(session_id)
        if work is None:
            paths = self._layout.session(session_id)
            session_queue = SessionQueue(self._files, paths)
            if session_queue.refresh().over:
                self._files.remove_temporaries(paths.folder)
                self._over.add(session_id)
                return
            work = SessionWork(
                self._files,
                session_queue,
                read_spec(self._files, paths),
                self._worker,
                self._clock,
                self._timing.chunk_target_s,
                self._numbers,
                self._peers.can_take,
            )
            self._work[session_id] = work
        before = work.state.state
        work.look(self._timing.lease_s)
        state = work.state
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
        for work in self._work.values():
            if self._draining or work.demand(self._slots_ready) is None:
                self._say_tripped(work, work.settle())
        for _ in range(100):
            given = self._shares()
            to_do = [work for name, work in self._work.items() if work.finishes or work.unsure or given.get(name)]
            to_do = [work for work in to_do if not work.is_held_up]
            if not to_do:
                return
            for work in sorted(to_do, key=lambda w: -w.spec.execution.priority):
                with contextlib.suppress(_HeldUpError), self._handling(work.session_id):
                    for task in work.exchange(given.get(work.session_id, 0)):
                        self._order(messages.Run(task, work.limits))

    def _shares(self) -> dict[str, int]:
        """Tasks to claim now, by session."""
        if self._draining:
            return {}
        demands = [work.demand(self._slots_ready) for work in self._work.values()]
        out: Counter[int] = Counter()
        for work in self._work.values():
            out[work.spec.execution.priority] += len(work.tasks)
        return share([demand for demand in demands if demand is not None], 2 * self._slots_ready, out)

    def _compact(self) -> None:
        for work in self._work.values():
            state = work.state
            if self._draining or work.compacting or work.is_held_up:
                continue
            if state.exhausted and not state.over and self._clock.monotonic_s() >= work.compact_after_s:
                work.compacting = True
                self._order(messages.Compact(work.queue.paths.folder, work.spec.execution.priority))

    def _compacted(self, session_id: str, error: str, damage: tuple[str, ...], *, busy: bool) -> None:
        work = self._work.get(session_id)
        if work is None:
            return
        for place in damage:
            self._log.error("a segment is damaged; iterations that it lost run again", session=session_id, place=place)
        work.compacting = False
        # Unless it is done now, another worker is at it, or there is trouble.
        work.compact_after_s = self._clock.monotonic_s() + self._timing.scan_s
        self._next_scan = 0.0
        if error:
            self._log.error("compaction failed and is tried again", session=session_id, reason=error)
            return
        with contextlib.suppress(_HeldUpError), self._handling(session_id):
            work.queue.refresh()
            if work.state.exhausted and not work.state.over and not busy:
                # The ledger as it stands did not look exhausted to the process that compacts.
                work.reread()
            if work.state.done:
                self._files.remove(self._layout.sessions / f"{REOPENED_PREFIX}{session_id}")
        if work.state.done:
            completed, failed, timeout, crashed = work.state.counts
            self._log.info(
                "session done", session=session_id, completed=completed, failed=failed, timeout=timeout, crashed=crashed
            )

    def _is_idle(self) -> bool:
        return all(work.is_idle and not work.compacting for work in self._work.values())

    def _finish_if_done(self) -> None:
        if self._draining and self._is_idle():
            self._end(0, "drained")
        if self._draining or not self._burst or not self._is_idle():
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
        reason = str(error)
        if isinstance(error, FileNotFoundError):
            reason = f"{error.filename} is missing; is the spool mounted, was it removed?"
        if not self._trouble:
            self._log.error("the spool is in trouble; nothing is lost, trying again", reason=reason)
        self._trouble = reason
        self._trouble_pause_s = min(2 * self._trouble_pause_s, LONGEST_TROUBLE_PAUSE_S)

    def _out_of_trouble(self) -> None:
        if self._trouble:
            self._log.info("the spool works again")
            self._trouble = ""
            self._trouble_pause_s = FIRST_TROUBLE_PAUSE_S
