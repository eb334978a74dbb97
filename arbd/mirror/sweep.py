"""All sessions of a spool into Redis, a little of each at a time.

One worker at a time does this per session, whoever holds its `mirror-TARGET.lock`; that only spares the others the
work, because Redis itself refuses a writer that is not where it believes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator

import redis

from arbd.errors import ArbdError, SpoolError
from arbd.job.stored import read_spec
from arbd.mirror.daily_count import DailyCount
from arbd.mirror.follow import SessionMirror
from arbd.mirror.settings import RedisSettings
from arbd.mirror.state import DONE, MovedError, StateManager
from arbd.results.segments import SUFFIX
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import REOPENED_PREFIX
from arbd.spool.system import HeldLock, SystemClock
from arbd.values import dataclass

ROWS_A_TURN = 10_000
# Settled sessions that are looked at again per sweep: somebody may have opened one anew, Redis may have lost one.
RECHECKED_A_SWEEP = 20
RECHECKED_AT_ONCE = 500
TROUBLE_PAUSE_S = 10.0
REBUILD_TRIES = 100


@dataclass(slots=True)
class _Followed:
    queue: SessionQueue
    mirror: SessionMirror
    lock: HeldLock


@dataclass(frozen=True, slots=True)
class _Settled:
    """A session of which Redis has everything: how it was when that was so."""

    ledger_bytes: int
    position: dict[str, str]
    # None of one that was cancelled: not all that its workers did is recorded.
    results: int | None


@dataclass(frozen=True, slots=True)
class _Trouble:
    reason: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: results written, whether it left any for the next, what is missing, trouble by session."""

    written: int
    more: bool
    behind: int | None
    troubles: dict[str, str]


class SpoolMirror:
    """Not thread-safe. Errors of Redis (redis.RedisError) end a sweep; the next goes on where it was."""

    def __init__(
        self, files: Files, layout: SpoolLayout, state: StateManager, settings: RedisSettings, only: str | None = None
    ) -> None:
        self._files = files
        self._clock = SystemClock()
        self._layout = layout
        self._state = state
        self._lock_name = f"mirror-{settings.target}.lock"
        self._only = only
        self._followed: dict[str, _Followed] = {}
        self._settled: dict[str, _Settled] = {}
        self._to_recheck: list[str] = []
        self._troubles: dict[str, _Trouble] = {}
        self._recheck_all = True
        self._reached = False
        self._ids: set[str] = set()
        self._others: set[str] = set()
        self._queues: dict[str, SessionQueue] = {}
        self.daily = DailyCount(state, self._clock)
        self._miscounted: dict[str, str] = {}

    def sweep(self) -> Swept:
        """Look at every session once. OSError when the spool itself cannot be read."""
        names = self._files.names(self._layout.sessions)
        reopened = {name.removeprefix(REOPENED_PREFIX) for name in names if name.startswith(REOPENED_PREFIX)}
        ids = [name for name in names if not name.startswith(".") and self._only in (None, name)]
        self._ids = set(ids)
        self._forget(self._ids)
        self._state.ping()
        self._reached = True
        try:
            self._recheck(reopened)
            written, more = 0, False
            for session_id in ids:
                if session_id not in self._settled and not self._waits(session_id):
                    with self._trouble_noted(session_id):
                        rows, everything = self._turn(session_id)
                        written += rows
                        more |= not everything
            if not more:
                self._count()
        except redis.RedisError:
            self._recheck_all = True
            self.daily.give_up()
            raise
        troubles = {name: trouble.reason for name, trouble in self._troubles.items()}
        return Swept(written, more, self.behind(), {**self._miscounted, **troubles})

    def _count(self) -> None:
        """Compare by count, now and then: what Redis lost is written again, what it has too much of is told."""
        done = {name: settled.results for name, settled in self._settled.items() if settled.results is not None}
        wrong = self.daily.step(done)
        if wrong is None:
            return
        self._miscounted = {}
        for session_id, (found, results) in wrong.items():
            self._miscounted[session_id] = f"Redis had {found:,} of {results:,} results at the daily count: " + (
                "they are written again"
                if found < results
                else f"`arbctl mirror rebuild {session_id}` removes the others"
            )
            if found < results:
                self._state.forget_position(session_id)
                del self._settled[session_id]

    def behind(self) -> int | None:
        """Recorded iterations that Redis has not got, as far as this worker mirrors them; None before it knows.

        Asks only the files, so that it grows while Redis is down.
        """
        if not self._reached:
            return None
        there = self._followed.keys() | (self._ids - self._settled.keys() - self._others)
        total = 0
        for session_id in there:
            with contextlib.suppress(OSError, ArbdError):
                followed = self._followed.get(session_id)
                queue = followed.queue if followed is not None else self._unfollowed(session_id)
                mirrored = followed.mirror.mirrored if followed is not None else 0
                total += max(0, queue.refresh().counted - mirrored)
        return total

    def _unfollowed(self, session_id: str) -> SessionQueue:
        if session_id not in self._queues:
            self._queues[session_id] = SessionQueue(self._files, self._layout.session(session_id))
        return self._queues[session_id]

    def close(self) -> None:
        """Let others go on."""
        for session_id in list(self._followed):
            self._drop(session_id)

    @contextlib.contextmanager
    def _trouble_noted(self, session_id: str) -> Iterator[None]:
        """One session's trouble does not keep the others waiting."""
        try:
            yield
        except MovedError:
            # Begin again from where Redis is, next time.
            self._drop(session_id)
        except redis.ResponseError as error:
            self._leave_alone(session_id, f"Redis says: {error}")
        except (OSError, ArbdError) as error:
            self._drop(session_id)
            self._leave_alone(session_id, str(error))
        else:
            self._troubles.pop(session_id, None)

    def _leave_alone(self, session_id: str, reason: str) -> None:
        self._troubles[session_id] = _Trouble(reason, self._clock.monotonic_s() + TROUBLE_PAUSE_S)

    def _waits(self, session_id: str) -> bool:
        trouble = self._troubles.get(session_id)
        return trouble is not None and self._clock.monotonic_s() < trouble.until_s

    def _turn(self, session_id: str) -> tuple[int, bool]:
        followed = self._followed.get(session_id) or self._open(session_id)
        if followed is None:
            return 0, True
        # The state first: everything that it calls recorded is in the segments that are read after it.
        ledger = followed.queue.refresh()
        over, done = ledger.over, ledger.done
        written, everything = followed.mirror.advance(ROWS_A_TURN)
        if everything and not written:
            followed.mirror.check()
            if done:
                followed.mirror.finish(done_mark(self._files, followed.queue))
            if over:
                self._settle(session_id, followed)
        return written, everything and not (over and written)

    def _open(self, session_id: str) -> _Followed | None:
        paths = self._layout.session(session_id)
        queue = SessionQueue(self._files, paths)
        ledger = queue.refresh()
        position = self._state.position(session_id)
        if ledger.done and position.get(DONE) == done_mark(self._files, queue):
            self._settled[session_id] = _Settled(queue.position, position, ledger.n)
            return None
        lock = self._files.try_lock(paths.folder / self._lock_name)
        if lock is None:
            self._others.add(session_id)
            return None
        try:
            if strangers(self._files, paths, position):
                # Another session had this id before, and was removed from the spool.
                self._state.remove_session(session_id)
            mirror = SessionMirror(self._files, paths, read_spec(self._files, paths), self._state)
        except BaseException:
            lock.release()
            raise
        self._others.discard(session_id)
        self._queues.pop(session_id, None)
        followed = self._followed[session_id] = _Followed(queue, mirror, lock)
        return followed

    def _settle(self, session_id: str, followed: _Followed) -> None:
        state = followed.queue.state
        results = state.n if state.done else None
        self._settled[session_id] = _Settled(followed.queue.position, dict(followed.mirror.position), results)
        self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        followed = self._followed.pop(session_id, None)
        if followed is not None:
            followed.lock.release()

    def _forget(self, there: set[str]) -> None:
        for session_id in [name for name in self._followed if name not in there]:
            self._drop(session_id)
        for known in (self._settled, self._troubles, self._queues, self._miscounted):
            for session_id in known.keys() - there:
                del known[session_id]
        self._others &= there

    def _recheck(self, reopened: set[str]) -> None:
        """Follow settled sessions again that were opened anew, or of which Redis does not have what it had."""
        for session_id in reopened & self._settled.keys():
            del self._settled[session_id]
        if self._recheck_all or not self._to_recheck:
            self._to_recheck = sorted(self._settled)
        count = len(self._to_recheck) if self._recheck_all else RECHECKED_A_SWEEP
        now, self._to_recheck = self._to_recheck[:count], self._to_recheck[count:]
        for start in range(0, len(now), RECHECKED_AT_ONCE):
            part = [session_id for session_id in now[start : start + RECHECKED_AT_ONCE] if session_id in self._settled]
            for session_id, position in zip(part, self._state.positions(part), strict=True):
                settled = self._settled[session_id]
                if position != settled.position or self._grew(session_id, settled):
                    del self._settled[session_id]
        self._recheck_all = False

    def _grew(self, session_id: str, settled: _Settled) -> bool:
        found = self._files.look(self._layout.session(session_id).ledger)
        return found is None or found.size != settled.ledger_bytes


def segment_names(files: Files, paths: SessionPaths) -> list[str]:
    """The session's segments."""
    return [name for name in files.names(paths.segments) if name.endswith(SUFFIX)]


def strangers(files: Files, paths: SessionPaths, position: dict[str, str]) -> bool:
    """True when Redis knows segments that the session does not have."""
    return bool(position.keys() - {DONE} - set(segment_names(files, paths)))


def done_mark(files: Files, queue: SessionQueue) -> str:
    """What stands in Redis when it has all of a session that is done: the epoch, and which segments there are."""
    names = "\n".join(segment_names(files, queue.paths))
    return f"{queue.state.epoch}:{hashlib.sha256(names.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What `rebuild` found: results in the files, and hashes that no result stands for."""

    results: int
    removed: int


def rebuild(files: Files, paths: SessionPaths, state: StateManager, progress: Callable[[int], None]) -> Rebuilt:
    """Write a session into Redis from the beginning, and remove what does not belong there.

    A daemon may mirror the session meanwhile: whoever of the two is not where Redis is begins again from there.
    """
    session_id = paths.session_id
    spec = read_spec(files, paths)
    state.forget_position(session_id)
    for _ in range(REBUILD_TRIES):
        try:
            queue = SessionQueue(files, paths)
            mirror = SessionMirror(files, paths, spec, state)
            everything = False
            while not everything:
                queue.refresh()
                _, everything = mirror.advance(ROWS_A_TURN)
                progress(mirror.mirrored)
            removed = mirror.prune()
            if queue.state.done:
                mirror.finish(done_mark(files, queue))
            return Rebuilt(mirror.mirrored, removed)
        except MovedError:
            continue
    raise SpoolError(
        f"session {session_id} cannot be rebuilt: another writes it to Redis all the time; "
        "does a second spool use the same env and key_prefix?"
    )
