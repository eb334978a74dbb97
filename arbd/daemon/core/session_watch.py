"""Which sessions there may be something to do for: found without a look at each that is over.

Keeps the cost of an idle daemon independent of how much was ever done here: `active/` is listed at every look,
`sessions/` only when it changed, and now and then, for what earlier versions and network caches do not show otherwise.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import field

from msgspec.structs import replace

from arbd.errors import ArbdError
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.listing import Listing
from arbd.spool.locked_log import LockedLog
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.retention_log import PURGED, Deed, retention_log
from arbd.spool.session_index import Ended, IndexWriter, SessionIndex, active_names, take_names_away
from arbd.spool.sessions import REOPENED_PREFIX, mark_active
from arbd.spool.system import Clock
from arbd.values import dataclass

# Before it is written that a session is over, its ledger is read once more: what a network client showed of it may have
# been an old copy, of a time before somebody had it go on.
OLD_COPY_S = 5.0
# Who is not the one that ended it leaves others so long to write that it is over.
INDEX_PATIENCE_S = 10.0
FLUSH_S = 1.0
# A name that says that a session goes on, of a session that is over for so many looks, was left by a crash: its ledger is
# asked under its lock. Meanwhile the session is read again, ever less often. A name without a session may be of one that
# is being made, from a large job and on a slow file server.
LEFT_LOOKS = 8
UNMADE_LOOKS = 32
# Thousands may have been left: so long of each look goes by with taking them away.
TAKING_S = 0.25
# So long that is waited for a ledger's lock: nothing hurries there.
PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Names:
    """What a look found: names to look at, and all that there are when all were listed."""

    to_look_at: list[str]
    everything: list[str] | None


@dataclass(slots=True)
class SessionWatch:
    """`over` are the sessions that nobody needs to look at. Not thread-safe: the coordinator owns it."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    worker: Worker
    over: set[str] = field(default_factory=set)
    must_list: bool = True
    # Why it is not known what was purged, or ''.
    trouble: str = ""
    _index: SessionIndex = field(init=False)
    _writer: IndexWriter = field(init=False)
    _listing: Listing = field(init=False)
    _known: frozenset[str] = frozenset()
    _active: frozenset[str] = frozenset()
    _reopened: frozenset[str] = frozenset()
    _log: LockedLog[Deed] = field(init=False)
    _purged: set[str] = field(default_factory=set)
    _left: dict[str, int] = field(default_factory=dict)
    _taking_until_s: float = 0.0
    _due: dict[str, tuple[float, Ended]] = field(default_factory=dict)
    # Names that were taken away, and when their ledgers are read once more.
    _taken: dict[str, float] = field(default_factory=dict)
    _next_flush_s: float = 0.0
    _is_read: bool = False

    def __post_init__(self) -> None:
        self._listing = Listing(self.files, self.layout.sessions, self.clock)
        self._index = SessionIndex(self.files, self.layout)
        self._log = retention_log(self.files, self.layout)
        self._writer = IndexWriter(self.files, self.layout, self.worker.worker_id, self.worker.incarnation)

    def look(self, going_on: Callable[[], list[str]]) -> Names:
        """Names to look at: what is active, what `going_on` says, and after a listing whatever is not over."""
        self._active = frozenset(active_names(self.files, self.layout))
        self._taking_until_s = self.clock.monotonic_s() + TAKING_S
        # What others took away is counted anew, should it come back.
        self._left = {
            name: looks for name, looks in self._left.items() if name in self._active or name in self._reopened
        }
        if self._listing.is_due() or self.must_list or not self._active <= self._known:
            return self._list()
        for name in self._active & self.over:
            self._is_reopened(name)
        return Names(sorted({*going_on(), *self._active}), None)

    def _list(self) -> Names:
        names = self._listing.read()
        self._read_purged()
        sessions = [name for name in names if not name.startswith(".")]
        self._known = frozenset(sessions)
        reopened = {name.removeprefix(REOPENED_PREFIX) for name in names if name.startswith(REOPENED_PREFIX)}
        self._reopened = self._known & reopened
        if not self._is_read:
            self._is_read = True
            self._index.refresh()
            self._writer.put_together(self._index)
            self.over |= self._index.ended.keys() - self._active
        self.over &= self._known
        for name in (self._active | reopened) & self.over:
            self._is_reopened(name, by_hand=name in reopened)
        # Earlier versions say so in this folder alone, before they say it in the session's ledger.
        self.must_list = bool(self._reopened)
        # A name in `active/` without a session is of one that is being made, or was removed.
        for name in self._active - self._known:
            self._count_left(name)
        return Names([name for name in sessions if name not in self.over], sessions)

    def _read_purged(self) -> None:
        """Only who waits for a session that was purged needs this: what cannot be read now is read at a later listing."""
        try:
            self._purged.update(deed.session_id for deed in self._log.read_new() if deed.what == PURGED)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self._log.path} cannot be read: {error.strerror}"

    def _is_reopened(self, name: str, *, by_hand: bool = False) -> None:
        """Somebody wants it to be looked at again, or left its name here."""
        looks = self._count_left(name)
        if by_hand or looks.bit_count() == 1:
            self.over.discard(name)

    def _count_left(self, name: str) -> int:
        """At how many looks it was there; 0 when it is taken away."""
        looks = self._left[name] = self._left.get(name, 0) + 1
        enough = LEFT_LOOKS if name in self._known else UNMADE_LOOKS
        if looks < enough or self.clock.monotonic_s() > self._taking_until_s:
            return looks
        del self._left[name]
        if name not in self._known:
            self.files.remove(self.layout.active / name)
            return 0
        # Should it be busy, or its ledger in trouble, that is for later.
        with contextlib.suppress(ArbdError, OSError):
            self._take_away(SessionQueue(self.files, self.layout.session(name), PATIENCE_S))
        return 0

    def _take_away(self, queue: SessionQueue) -> None:
        # Before it is done: whoever is interrupted may have done it.
        self._taken[queue.paths.session_id] = self.clock.monotonic_s() + OLD_COPY_S
        take_names_away(self.files, self.layout, queue)

    def is_over(self, queue: SessionQueue, *, was_worked_on: bool) -> None:
        """Nobody needs to look at it any more, and it is written down."""
        session_id = queue.paths.session_id
        if was_worked_on and session_id in self._active | self._reopened:
            self._take_away(queue)
        state = queue.state
        if not state.over:
            # Somebody was about to have it go on.
            return
        self.over.add(session_id)
        mine = self.worker.worker_id in state.worker_counts
        seed = zlib.crc32(f"{self.worker.worker_id} {session_id}".encode()) / 2**32
        wait_s = OLD_COPY_S + seed if mine else INDEX_PATIENCE_S * (1 + seed)
        before = self._index.ended.get(session_id)
        entry = Ended.of(session_id, state, 0 if before is None else before.number)
        if entry == before:
            return
        if before is not None:
            entry = replace(entry, number=before.number + 1)
        self._due[session_id] = (self.clock.monotonic_s() + wait_s, entry)

    def has_ended(self, session_id: str) -> bool:
        """True when a session of that id is over, be it that it was purged since."""
        if session_id in self.over:
            return True
        return session_id not in self._known and (session_id in self._index.ended or session_id in self._purged)

    def is_there(self, session_id: str) -> bool:
        """True when a session of that id is there, or is being made, as of the last listing."""
        return session_id in self._known

    def begins(self, session_id: str) -> None:
        """It goes on, or is another one of that name."""
        self._left.pop(session_id, None)
        self._due.pop(session_id, None)
        self._taken.pop(session_id, None)
        self.over.discard(session_id)

    def flush(self) -> None:
        """Write down what is due and nobody else wrote meanwhile."""
        now_s = self.clock.monotonic_s()
        if not (self._due or self._taken) or now_s < self._next_flush_s:
            return
        self._next_flush_s = now_s + FLUSH_S
        due = {name: entry for name, (at_s, entry) in self._due.items() if at_s <= now_s}
        for name in sorted(due.keys() | {name for name, at_s in self._taken.items() if at_s <= now_s}):
            if self._goes_on(name):
                # The name first: should that fail, this comes again.
                mark_active(self.files, self.layout.session(name))
                self.begins(name)
                due.pop(name, None)
            self._taken.pop(name, None)
        if not due:
            return
        self._index.refresh()
        self._writer.append(entry for name, entry in due.items() if not self._has(name, entry))
        for name in due:
            del self._due[name]

    def _goes_on(self, name: str) -> bool:
        """True when its ledger says so, whoever said otherwise before. OSError when that cannot be read now."""
        try:
            return not SessionQueue(self.files, self.layout.session(name)).refresh().over
        except (FileNotFoundError, ArbdError):
            # It was removed meanwhile, or is damaged: nobody works on it.
            return False

    def _has(self, name: str, entry: Ended) -> bool:
        found = self._index.ended.get(name)
        return found is not None and found.number >= entry.number
