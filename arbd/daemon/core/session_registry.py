"""The sessions that this worker works on: found, followed, taken back from the dead, dropped when they are over.

Keeps trouble local: a session whose files cannot be read or written waits by itself, each time longer, while the
others go on. Decides on positive evidence alone: on a network one look that does not find something proves nothing;
and nothing that was found wrong is believed for good: it is looked at again.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

from arbd.daemon.core import events
from arbd.daemon.core.counters import DAMAGE_FOUND, LEASE_REVOKED, Counters
from arbd.daemon.core.generation_scheduler import GenerationScheduler
from arbd.daemon.core.manners import tell_actions
from arbd.daemon.core.session_state import Exchange, SessionState
from arbd.daemon.core.session_watch import SessionWatch
from arbd.daemon.core.slot_wait import SlotWait
from arbd.daemon.core.standing import SessionStanding, Standing
from arbd.daemon.host.logs import Log
from arbd.errors import CorruptionError, NotFoundError, UnopenedError, UsageError, VersionError
from arbd.job.stored import read_spec
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.liveness import Observer
from arbd.spool.peers import Peers
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.readable import require_readable
from arbd.spool.sessions import is_session, session_names
from arbd.spool.system import Clock
from arbd.values import dataclass

# A holder of a ledger's lock can stand still for long; other sessions and the heartbeat must not wait for it.
LOCK_PATIENCE_S = 5.0
LOOKS_BEFORE_DROPPING = 3
LOOKS_BEFORE_UNREADABLE = 60


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
    standings: dict[str, SessionStanding] = field(default_factory=dict)
    peers: Peers = field(init=False)
    watch: SessionWatch = field(init=False)
    _observer: Observer = field(init=False)
    _missed: dict[str, int] = field(default_factory=dict)
    _unfound: dict[str, int] = field(default_factory=dict)
    _told: dict[str, tuple[str, int]] = field(default_factory=dict)
    _unjudged: dict[str, str] = field(default_factory=dict)
    _slot_waits: dict[str, SlotWait] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self._observer = Observer(self.files, self.layout, self.clock, self.timing.beat_s, self.timing.lease_s)
        self.watch = SessionWatch(self.files, self.layout, self.clock, self.worker)
        self.peers = Peers(self.files, self.layout, self.clock, self.worker.worker_id, self.timing.lease_s)

    def reconfigure(self, timing: Timing) -> None:
        """Go on with other intervals."""
        self.timing = timing
        self._observer.beat_s, self._observer.lease_s = timing.beat_s, timing.lease_s
        self.peers.lease_s = timing.lease_s
        for work in self.work.values():
            work.target_s = timing.chunk_target_s

    def look(self, between: Callable[[], None] = lambda: None) -> None:
        """Find new sessions, read what is new of known ones, take back what dead workers had.

        `between` is called between any two sessions: there may be thousands.
        """
        self.peers.look()
        before = self.watch.trouble
        found = self.watch.look(lambda: [*self.work, *self.standings])
        if self.watch.trouble not in ("", before):
            self.log.warning("what was purged is not known; jobs that wait for it wait", reason=self.watch.trouble)
        if found.everything is not None:
            # A name that is gone may come back as another session. Where only a cache had lost it, it is read once more.
            listed = {*found.everything, *self.work}
            self.standings = {name: stands for name, stands in self.standings.items() if name in listed}
        for session_id in found.to_look_at:
            if self.only in (None, session_id):
                self._look_safely(session_id)
                between()
        self._told = {name: told for name, told in self._told.items() if name in self.work}
        if found.everything is not None:
            self._drop_removed(found.everything)
        # Whether a folder is gone is found by listing, more than once.
        self.watch.must_list |= bool(self._missed)
        self._drop_unreadable()
        self.watch.flush()

    def _end(self, queue: SessionQueue, *, was_worked_on: bool) -> None:
        """Nobody evaluates anything of it any more. An OSError leaves it as it was, to be looked at again."""
        session_id = queue.paths.session_id
        self.watch.is_over(queue, was_worked_on=was_worked_on)
        if (found := self.standings.pop(session_id, None)) is not None:
            found.end()

    def _standing(self, session_id: str) -> SessionStanding:
        return self.standings.setdefault(session_id, SessionStanding())

    def _is(self, session_id: str, standing: Standing) -> bool:
        return session_id in self.standings and self.standings[session_id].standing is standing

    def usable(self) -> list[SessionState]:
        """The sessions whose ledgers can be read."""
        return [work for name, work in self.work.items() if not self._is(name, Standing.UNREADABLE)]

    def reasons(self, *standings: Standing) -> dict[str, str]:
        """Why sessions stand as one of `standings` with this worker, by session."""
        return {name: found.reason for name, found in self.standings.items() if found.standing in standings}

    def blocked(self) -> dict[str, str]:
        """What this worker cannot evaluate or read now, and why."""
        return {**self.unable(), **self.reasons(Standing.BLOCKED, Standing.UNREADABLE, Standing.BACKING_OFF)}

    def unable(self, *, starved: bool = False) -> dict[str, str]:
        """Why this host cannot suggest for sessions, by session; with `starved` those alone that wait for a suggestion."""
        return {
            name: work.unable for name, work in self.work.items() if work.unable and (work.is_starved or not starved)
        }

    def observe_slots(self, slots: int) -> None:
        """Slots that are free, and would not be if more were suggested, wait for suggestions."""
        self._slot_waits = {name: wait for name, wait in self._slot_waits.items() if name in self.work}
        idle = max(0, slots - sum(len(work.tasks) for work in self.work.values()))
        now_s = self.clock.monotonic_s()
        for work in self.work.values():
            if work.generations is not None:
                cap = work.max_slots or slots
                most = min(slots, cap)
                self._slot_waits.setdefault(work.session_id, SlotWait()).observe(
                    now_s, min(idle, most) if work.is_starved else 0, most
                )

    def waiting(self) -> dict[str, float]:
        """The share of their time that slots wait for suggestions, by session that learns."""
        return {
            name: round(self._slot_waits[name].share, 3)
            for name, work in self.work.items()
            if name in self._slot_waits and work.state.state == ledger.RUNNING
        }

    def accepted(self, session_id: str) -> None:
        """A new session has that name, whatever had it before; it is looked at."""
        if session_id not in self.work:
            self.standings.pop(session_id, None)
            self.watch.begins(session_id)
            if self.only in (None, session_id):
                self._look_safely(session_id)

    def is_lost(self, session_id: str) -> bool:
        """True when nothing of a session can be recorded by what this worker knows of it.

        Its folder was removed, or its files cannot be read: should that change, it is taken up anew.
        """
        return self._is(session_id, Standing.UNREADABLE) or self._missed.get(session_id, 0) >= LOOKS_BEFORE_DROPPING

    def has_news(self) -> bool:
        """True when there is a session of which this worker cannot say yet whether it is one to work on."""
        known = {name for name, found in self.standings.items() if found.standing is Standing.UNREADABLE}
        names = session_names(self.files, self.layout)
        unknown = [
            name for name in names if name not in known and name not in self.work and name not in self.watch.over
        ]
        return any(self.only in (None, name) and is_session(self.files, self.layout, name) for name in unknown)

    def is_idle(self) -> bool:
        """True when nothing of any session is out or waits to be recorded."""
        return all(work.is_idle for work in self.work.values())

    @contextlib.contextmanager
    def handling(self, session_id: str) -> Iterator[None]:
        """Touch one session's files. BackingOffError when that fails, or failed a moment ago, or they are unreadable."""
        found = self._standing(session_id)
        if found.is_waiting(self.clock.monotonic_s(), Standing.BACKING_OFF) or found.standing is Standing.UNREADABLE:
            raise BackingOffError
        try:
            yield
        except (CorruptionError, VersionError) as error:
            self._set_aside(session_id, error)
            raise BackingOffError from error
        except OSError as error:
            if found.standing is not Standing.BACKING_OFF:
                self.log.warning("files of the session cannot be used now", session=session_id, reason=error)
            found.pause(Standing.BACKING_OFF, str(error) or type(error).__name__, self.clock.monotonic_s())
            raise BackingOffError from error
        if found.recover(Standing.BACKING_OFF):
            self.log.info("files of the session work again", session=session_id)

    def _look_safely(self, session_id: str) -> None:
        if session_id in self.watch.over:
            return
        found = self._standing(session_id)
        try:
            if found.standing is Standing.UNREADABLE:
                self._look_again(session_id, found)
            else:
                with self.handling(session_id):
                    self._look_at(session_id)
            self._unfound.pop(session_id, None)
        except BackingOffError:
            return
        except NotFoundError as error:
            # Listed, and yet not there: a network client's cache, or somebody is removing it.
            self._unfound[session_id] = self._unfound.get(session_id, 0) + 1
            if self._unfound[session_id] >= LOOKS_BEFORE_UNREADABLE:
                self._set_aside(session_id, self._what_is_missing(session_id) or error)
        except (CorruptionError, UsageError, VersionError) as error:
            self._set_aside(session_id, error)

    def _what_is_missing(self, session_id: str) -> CorruptionError | None:
        paths = self.layout.session(session_id)
        try:
            there = self.files.names(paths.folder)
            # The ledger comes last; nobody claims before.
            begun = paths.ledger.name in there or any(map(self.files.names, (paths.segments, paths.generations)))
        except OSError:
            return None
        missing = [path for path in (paths.ledger, paths.spec) if path.name not in there]
        if not missing or not begun:
            return None
        return CorruptionError(missing[0], 0, "is missing from a session whose folder is there")

    def _look_again(self, session_id: str, found: SessionStanding) -> None:
        """Whatever was wrong with its files may have been mended, or was a file server's mistake."""
        if session_id in self.work or found.is_waiting(self.clock.monotonic_s(), Standing.UNREADABLE):
            return
        try:
            self._look_at(session_id)
        except OSError as error:
            self._set_aside(session_id, error)
            return
        self.log.info("the session can be read again", session=session_id)
        if found.standing is Standing.UNREADABLE:
            found.recover(Standing.UNREADABLE)

    def _set_aside(self, session_id: str, error: Exception) -> None:
        found = self._standing(session_id)
        if found.standing is not Standing.UNREADABLE or found.reason != str(error):
            if isinstance(error, CorruptionError):
                self.counters.happened(DAMAGE_FOUND)
            self.log.error("the session cannot be read; it is looked at again", session=session_id, reason=error)
        found.pause(Standing.UNREADABLE, str(error), self.clock.monotonic_s())

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
                self._clear_generations(paths)
                self._end(session_queue, was_worked_on=False)
                return
            self.watch.begins(session_id)
            # What another version wrote is left to it, before anything is claimed.
            require_readable(self.files, paths)
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
                self._standing(session_id),
                # What an earlier look at it claimed and lost sight of comes out of the first exchange.
                exchanged=Exchange.UNCONFIRMED if self._claims_of_mine(session_queue.state) else Exchange.CONFIRMED,
            )
            self._told[session_id] = work.state.state, work.state.provenance.acted
        work.look(self.timing.lease_s)
        if work.state.n > work.spec.n:
            self._go_on_longer(work)
        state = work.state
        # What was seen since the last look: claims read the ledger, too.
        before, acted = self._told[session_id]
        self._told[session_id] = state.state, state.provenance.acted
        tell_actions(self.log, session_id, state.provenance.since(acted))
        for damage in work.queue.take_damage():
            self.log.warning("the ledger has an unreadable stretch; nothing is lost", session=session_id, place=damage)
        if state.state not in (before, ledger.RUNNING):
            self.send(events.Stop(work.queue.paths.folder, kill=state.state == ledger.CANCELLED))
        if not state.over:
            self._revoke_dead(work)
        elif work.is_idle:
            self._clear_generations(work.queue.paths)
            self._end(work.queue, was_worked_on=True)
            del self.work[session_id]

    def _clear_generations(self, paths: SessionPaths) -> None:
        """Remove what could neither be published nor taken back of a generation, as where a mount went away."""
        with contextlib.suppress(FileNotFoundError):
            self.files.remove_temporaries(paths.generations)

    def _go_on_longer(self, work: SessionState) -> None:
        """A session was extended: its job was written before the record that says so. OSError where it is not shown yet."""
        spec = read_spec(self.files, work.queue.paths)
        if spec.n < work.state.n:
            raise OSError(errno.ESTALE, f"{work.queue.paths.spec} is not shown as it was extended")
        work.spec = spec
        if spec.generation_size:
            work.generations = GenerationScheduler(self.files, work.queue.paths, spec)

    def _claims_of_mine(self, state: ledger.LedgerState) -> bool:
        return any(claim.incarnation == self.worker.incarnation for claim in state.claims.values())

    def _revoke_dead(self, work: SessionState) -> None:
        holders = {(claim.worker_id, claim.incarnation) for claim in work.state.claims.values()}
        for worker_id, incarnation in sorted(holders):
            if incarnation == self.worker.incarnation:
                continue
            if worker_id == self.worker.worker_id:
                reason: str | None = f"{worker_id} was started again"
            else:
                reason = self._judged(worker_id, incarnation)
            if reason is not None:
                self._revoke(work, worker_id, incarnation, reason)

    def _judged(self, worker_id: str, incarnation: int) -> str | None:
        """Why another worker is dead; None while it may live, or nobody of this version can tell."""
        try:
            return self._observer.dead(worker_id, incarnation)
        except VersionError as error:
            if self._unjudged.get(worker_id) != str(error):
                self.log.warning(
                    "whether a worker lives cannot be told here; its claims are left to those who can",
                    worker=worker_id,
                    reason=error,
                )
            self._unjudged[worker_id] = str(error)
            return None

    def _revoke(self, work: SessionState, worker_id: str, incarnation: int, reason: str) -> None:
        def decide(state: ledger.LedgerState) -> list[LedgerRecord]:
            still = any(claim.incarnation == incarnation for claim in state.claims.values())
            return [ledger.revoked(incarnation, reason)] if still else []

        work.queue.change(decide)
        self.counters.happened(LEASE_REVOKED)
        self.log.warning("took back the work of a dead worker", session=work.session_id, dead=worker_id, reason=reason)

    def _drop_unreadable(self) -> None:
        """Forget sessions that cannot be read, as soon as nothing of them runs; other workers may still read them."""
        for session_id in [name for name in self.work if self._is(name, Standing.UNREADABLE)]:
            work = self.work[session_id]
            self.send(events.Stop(work.queue.paths.folder, kill=False))
            if not work.tasks and not work.compaction.is_running:
                del self.work[session_id]

    def _drop_removed(self, names: Sequence[str]) -> None:
        """Forget sessions whose folder somebody removed. One listing without it may be a cache's mistake."""
        self._missed = {name: self._missed.get(name, 0) + 1 for name in self.work if name not in names}
        for session_id, looks in list(self._missed.items()):
            if looks < LOOKS_BEFORE_DROPPING:
                continue
            work = self.work[session_id]
            self.send(events.Stop(work.queue.paths.folder, kill=True))
            if not work.tasks and not work.compaction.is_running:
                self.log.error("the session's folder was removed; its work ends here", session=session_id)
                del self.work[session_id], self._missed[session_id]
