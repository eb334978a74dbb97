"""The sessions that this worker works on: found, followed, taken back from the dead, dropped when they are over.

Keeps trouble local: a session whose files cannot be read or written waits by itself, each time longer, while the
others go on. Decides on positive evidence alone: on a network one look that does not find something proves nothing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from arbd.daemon.core import events
from arbd.daemon.core.counters import LEASE_REVOKED, Counters
from arbd.daemon.core.session_state import SessionState
from arbd.daemon.host.logs import Log
from arbd.errors import CorruptionError, NotFoundError, UnopenedError, UsageError
from arbd.job.stored import read_spec
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Observer, Peers
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.sessions import REOPENED_PREFIX, session_ids
from arbd.spool.system import Clock

# A holder of a ledger's lock can stand still for long; other sessions and the heartbeat must not wait for it.
LOCK_PATIENCE_S = 5.0
LOOKS_BEFORE_DROPPING = 3
LOOKS_BEFORE_BAD = 60


@dataclass(frozen=True, slots=True)
class Timing:
    """How often things are done, in seconds."""

    scan_s: float
    beat_s: float
    lease_s: float
    chunk_target_s: float


class BackingOffError(OSError):
    """The files of one session cannot be used now."""


@dataclass(slots=True)
class SessionRegistry:
    """Not thread-safe: the coordinator owns it. `only` restricts it to one session."""

    files: Files
    clock: Clock
    layout: SpoolLayout
    worker: Worker
    timing: Timing
    log: Log
    send: Callable[[events.Command], None]
    only: str | None
    counters: Counters
    work: dict[str, SessionState] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    peers: Peers = field(init=False)
    _observer: Observer = field(init=False)
    _over: set[str] = field(default_factory=set)
    _missed: dict[str, int] = field(default_factory=dict)
    _unfound: dict[str, int] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self._observer = Observer(self.files, self.layout, self.clock, self.timing.beat_s, self.timing.lease_s)
        self.peers = Peers(self.files, self.layout, self.clock, self.worker.worker_id, self.timing.lease_s)

    def reconfigure(self, timing: Timing) -> None:
        """Go on with other intervals."""
        self.timing = timing
        self._observer.beat_s, self._observer.lease_s = timing.beat_s, timing.lease_s
        self.peers.lease_s = timing.lease_s
        for work in self.work.values():
            work.target_s = timing.chunk_target_s

    def look(self) -> None:
        """Find new sessions, read what is new of known ones, take back what dead workers had."""
        self.peers.look()
        names = self.files.names(self.layout.sessions)
        self._over -= {name.removeprefix(REOPENED_PREFIX) for name in names if name.startswith(REOPENED_PREFIX)}
        sessions = [name for name in names if not name.startswith(".")]
        # A name that is gone may come back as another session. Where only a cache had lost it, it is read once more.
        self._over.intersection_update(sessions)
        self.bad = {name: reason for name, reason in self.bad.items() if name in sessions or name in self.work}
        for session_id in sessions:
            if session_id not in self._over and session_id not in self.bad and self.only in (None, session_id):
                self._look_safely(session_id)
        self._drop_removed(sessions)
        self._drop_unreadable()

    def usable(self) -> list[SessionState]:
        """The sessions whose ledgers can be read."""
        return [work for name, work in self.work.items() if name not in self.bad]

    def accepted(self, session_id: str) -> None:
        """A new session has that name, whatever had it before."""
        self._over.discard(session_id)
        if session_id not in self.work:
            self.bad.pop(session_id, None)

    def is_lost(self, session_id: str) -> bool:
        """True when nothing of a session will ever be recorded again: its folder was removed, or its ledger is bad."""
        return session_id in self.bad or self._missed.get(session_id, 0) >= LOOKS_BEFORE_DROPPING

    def has_news(self) -> bool:
        """True when there is a session that the last look did not see."""
        known = {*self.work, *self._over, *self.bad}
        names = session_ids(self.files, self.layout)
        return any(name not in known and self.only in (None, name) for name in names)

    def is_idle(self) -> bool:
        """True when nothing of any session is out or waits to be recorded."""
        return all(work.is_idle and not work.compacting for work in self.work.values())

    @contextlib.contextmanager
    def handling(self, session_id: str) -> Iterator[None]:
        """Touch one session's files. BackingOffError when that fails, or failed a moment ago, or its ledger is bad."""
        work = self.work.get(session_id)
        if work is None:
            yield
            return
        if work.is_backing_off or session_id in self.bad:
            raise BackingOffError
        try:
            yield
        except CorruptionError as error:
            self._give_up(session_id, error)
            raise BackingOffError from error
        except OSError as error:
            if not work.trouble:
                self.log.warning("files of the session cannot be used now", session=session_id, reason=error)
            work.failing(error)
            raise BackingOffError from error
        if work.trouble:
            self.log.info("files of the session work again", session=session_id)
            work.working()

    def _look_safely(self, session_id: str) -> None:
        try:
            with self.handling(session_id):
                self._look_at(session_id)
            self._unfound.pop(session_id, None)
        except BackingOffError:
            return
        except NotFoundError as error:
            # Listed, and yet not there: a network client's cache, or somebody is removing it.
            self._unfound[session_id] = self._unfound.get(session_id, 0) + 1
            if self._unfound[session_id] >= LOOKS_BEFORE_BAD:
                self._give_up(session_id, error)
        except (CorruptionError, UsageError) as error:
            self._give_up(session_id, error)

    def _give_up(self, session_id: str, error: Exception) -> None:
        self.bad[session_id] = str(error)
        self.log.error("the session cannot be read and is left alone", session=session_id, reason=error)

    def _look_at(self, session_id: str) -> None:
        work = self.work.get(session_id)
        if work is None:
            paths = self.layout.session(session_id)
            session_queue = SessionQueue(self.files, paths, LOCK_PATIENCE_S)
            try:
                over = session_queue.refresh().over
            except UnopenedError as error:
                # A network client may show a file before what is in it.
                raise NotFoundError(str(error)) from error
            if over:
                self.files.remove_temporaries(paths.folder)
                self._over.add(session_id)
                return
            work = self.work[session_id] = SessionState(
                self.files,
                session_queue,
                read_spec(self.files, paths),
                self.worker,
                self.clock,
                self.timing.chunk_target_s,
                self._numbers,
                self.peers.can_take,
                self.counters.recorded,
            )
        before = work.state.state
        work.look(self.timing.lease_s)
        state = work.state
        for damage in work.queue.take_damage():
            self.log.warning("the ledger has an unreadable stretch; nothing is lost", session=session_id, place=damage)
        if state.state not in (before, ledger.RUNNING):
            self.send(events.Stop(work.queue.paths.folder, kill=state.state == ledger.CANCELLED))
        if not state.over:
            self._revoke_dead(work)
        elif work.is_idle and not work.compacting:
            del self.work[session_id]
            self._over.add(session_id)

    def _revoke_dead(self, work: SessionState) -> None:
        holders = {(claim.worker_id, claim.incarnation) for claim in work.state.claims.values()}
        for worker_id, incarnation in sorted(holders):
            if incarnation == self.worker.incarnation:
                continue
            if worker_id == self.worker.worker_id:
                reason: str | None = f"{worker_id} was started again"
            else:
                reason = self._observer.dead(worker_id, incarnation)
            if reason is not None:
                self._revoke(work, worker_id, incarnation, reason)

    def _revoke(self, work: SessionState, worker_id: str, incarnation: int, reason: str) -> None:
        def decide(state: ledger.LedgerState) -> list[dict[str, Any]]:
            still = any(claim.incarnation == incarnation for claim in state.claims.values())
            return [ledger.revoked(incarnation, reason)] if still else []

        work.queue.change(decide)
        self.counters.happened(LEASE_REVOKED)
        self.log.warning("took back the work of a dead worker", session=work.session_id, dead=worker_id, reason=reason)

    def _drop_unreadable(self) -> None:
        """Forget sessions that cannot be read, as soon as nothing of them runs; other workers may still read them."""
        for session_id in self.bad.keys() & self.work.keys():
            work = self.work[session_id]
            self.send(events.Stop(work.queue.paths.folder, kill=False))
            if not work.tasks and not work.compacting:
                del self.work[session_id]

    def _drop_removed(self, names: Sequence[str]) -> None:
        """Forget sessions whose folder somebody removed. One listing without it may be a cache's mistake."""
        self._missed = {name: self._missed.get(name, 0) + 1 for name in self.work if name not in names}
        for session_id, looks in list(self._missed.items()):
            if looks < LOOKS_BEFORE_DROPPING:
                continue
            work = self.work[session_id]
            self.send(events.Stop(work.queue.paths.folder, kill=True))
            if not work.tasks and not work.compacting:
                self.log.error("the session's folder was removed; its work ends here", session=session_id)
                del self.work[session_id], self._missed[session_id]
