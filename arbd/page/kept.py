"""Answers that are costly to make: made in threads of their own, kept, and made anew no more often than is worth it.

A spool may hang, as a network filesystem does whose server is gone. What asked it stays asking, in a thread that nobody
waits for; whoever wants the answer gets the last one, and for how long there has been no newer one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from arbd.errors import ArbdError
from arbd.values import dataclass

# Making an answer again costs at most this part of a core.
DUTY = 0.03
MIN_PAUSE_S = 1.0
# Who has an older answer waits no longer than this for a newer one; who has none, this long.
BRIEF_WAIT_S = 0.5
LONG_WAIT_S = 20.0
MAX_KEPT = 64
MAX_KEPT_BYTES = 64 * 1024 * 1024
MAX_AT_WORK = 8


class HangsError(ArbdError):
    """The spool does not answer, and there is no older answer."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` and its `stamp`; `late_s` is for how long a newer one has been waited for, 0 where none is due."""

    body: bytes
    stamp: str
    late_s: float = 0.0


@dataclass(slots=True)
class _Entry:
    """One answer, its making, and when it may be made again; times are of the monotonic clock."""

    answer: Answer | None = None
    error: Exception | None = None
    seen: Hashable = None
    next_at: float = 0.0
    began: float | None = None
    ready: threading.Event | None = None


class Kept:
    """Answers by key. All methods may be called by any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._at_work = 0

    def get(
        self, key: Hashable, look: Callable[[], Hashable], make: Callable[[], bytes], wait_s: float = LONG_WAIT_S
    ) -> Answer:
        """The answer for `key`. `look` tells cheaply whether `make` would give another one than before.

        Raises what `make` raised; HangsError when there is no answer within `wait_s`.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            now = self._clock()
            if entry.began is None and now >= entry.next_at:
                self._begin(entry, look, make)
            ready, began, known = entry.ready, entry.began, entry.answer or entry.error
        if ready is not None and began is not None:
            patience = wait_s if known is None else BRIEF_WAIT_S
            ready.wait(max(0.0, patience - (now - began)))
        with self._lock:
            if entry.began is None and entry.error is not None:
                raise entry.error
            late_s = 0.0 if entry.began is None else self._clock() - entry.began
            if entry.answer is None:
                raise HangsError(f"the spool has not answered for {late_s:.0f} s: is its file server there?")
            return Answer(entry.answer.body, entry.answer.stamp, late_s)

    def _begin(self, entry: _Entry, look: Callable[[], Hashable], make: Callable[[], bytes]) -> None:
        if self._at_work >= MAX_AT_WORK:
            if entry.answer is None:
                raise HangsError("too many questions to the spool are unanswered: is its file server there?")
            return
        self._at_work += 1
        entry.began, entry.ready = self._clock(), threading.Event()
        threading.Thread(target=self._work, args=(entry, look, make), daemon=True, name="arbd-page-work").start()

    def _work(self, entry: _Entry, look: Callable[[], Hashable], make: Callable[[], bytes]) -> None:
        began = time.thread_time()
        answer, error, seen = entry.answer, None, entry.seen
        try:
            seen = look()
            if answer is None or entry.error is not None or seen != entry.seen:
                body = make()
                answer = Answer(body, f"{hash((body,)) & 0xFFFFFFFFFFFFFFFF:016x}")
        except Exception as problem:
            error = problem
        cost_s = time.thread_time() - began
        with self._lock:
            entry.answer, entry.error, entry.seen = answer, error, seen
            entry.next_at = self._clock() + max(MIN_PAUSE_S, cost_s / DUTY)
            ready, entry.began, entry.ready = entry.ready, None, None
            self._at_work -= 1
            self._forget()
        assert ready is not None, "only a begun entry is worked on"
        ready.set()

    def _forget(self) -> None:
        """Drop the answers that nobody asked for the longest, beyond the bounds."""
        size = sum(len(entry.answer.body) for entry in self._entries.values() if entry.answer is not None)
        for key in list(self._entries):
            if len(self._entries) <= 1 or (len(self._entries) <= MAX_KEPT and size <= MAX_KEPT_BYTES):
                return
            entry = self._entries[key]
            if entry.began is None:
                size -= len(entry.answer.body) if entry.answer is not None else 0
                del self._entries[key]
