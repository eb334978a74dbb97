"""What one target has to be told still, sent by one host at a time; see `arbd.daemon.notices.log` for what is promised."""

from __future__ import annotations

from dataclasses import field

from arbd.daemon.notices.log import (
    AGAIN,
    BEFORE,
    BEGUN,
    FAILED,
    GIVEN_UP,
    MOST_KEYS,
    NOTHING,
    SENT,
    Step,
    Told,
    target_log,
)
from arbd.daemon.notices.message import Judge, Message, Notice, document_of, notices_of
from arbd.daemon.notices.senders import Send
from arbd.daemon.notices.settings import Target
from arbd.errors import ArbdError, DeliveryError
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.locked_log import LockedLog
from arbd.spool.session_index import SessionIndex
from arbd.spool.system import Clock, HeldLock
from arbd.values import dataclass

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 600.0


@dataclass(slots=True)
class Outbox:
    """Not thread-safe. `step` does what is due now; nobody has to call it at any certain time."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    target: Target
    send: Send
    judge: Judge
    host: str
    told: Told = field(default_factory=Told)
    waiting: dict[str, Notice] = field(default_factory=dict)
    error: str = ""
    _index: SessionIndex = field(init=False)
    _log: LockedLog[Step] = field(init=False)
    _held: HeldLock | None = None
    _seen: int = -1
    _not_before_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._index = SessionIndex(self.files, self.layout)
        self._log = target_log(self.files, self.layout, self.target.name)
        self.told, self.waiting, self._seen = Told(), {}, -1

    def step(self) -> list[Step]:
        """Send what is due, if this host is the one that does: what was written down. OSError when the spool is away."""
        if not self._is_sender():
            return []
        self._learn(self._log.read_new())
        self._index.refresh()
        if not self.told.is_begun and not self._begin_log():
            return []
        if self._seen != self._index.position:
            self._seen = self._index.position
            self._look()
        now_s = self.clock.monotonic_s()
        steps: list[Step] = []
        for key, notice in list(self.waiting.items()):
            if self.told.is_over(key):
                del self.waiting[key]
            elif self._not_before_s.get(key, 0.0) <= now_s:
                if not self._is_sender():
                    break
                steps += self._attempt(notice)
        return steps

    @property
    def sends(self) -> bool:
        """True when this host is the one that does."""
        return self._held is not None

    def release(self) -> None:
        """Let another host send."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def _is_sender(self) -> bool:
        if self._held is not None and self._held.is_ours():
            return True
        self.release()
        self.files.make_folder(self.layout.notices)
        self._held = self.files.try_lock(self.layout.notices / f"{self.target.name}.sender")
        if self._held is not None:
            # What another host did meanwhile is in the log.
            self._begin_anew()
        return self._held is not None

    def _learn(self, steps: list[Step]) -> None:
        """What the log says that this host did not know."""
        self.told.fold(steps)
        if any(step.what == AGAIN for step in steps):
            self._seen, self._not_before_s = -1, {}

    def _begin_log(self) -> bool:
        """A new target is told of what ends from now on, not of the last years. False when another host began it."""
        keys = [entry.end_key for entry in self._index.ended.values()]
        steps = [Step(what=BEFORE, keys=keys[at : at + MOST_KEYS]) for at in range(0, len(keys) or 1, MOST_KEYS)]
        return self._write_first(steps)

    def _look(self) -> None:
        for entry in self._index.ended.values():
            if entry.end_key in self.told.before:
                continue
            for notice in notices_of(self.target, entry):
                if not self.told.is_over(notice.key):
                    self.waiting.setdefault(notice.key, notice)

    def _attempt(self, notice: Notice) -> list[Step]:
        key, attempt = notice.key, self.told.attempts.get(notice.key, 0) + 1
        try:
            document = document_of(notice, self.host, self.judge)
        except ArbdError as error:
            return self._ended(notice, attempt, str(error))
        if document is None:
            return self._write([self._step(notice, NOTHING, attempt)])
        begun = [self._step(notice, BEGUN, attempt)]
        if not self._write_first(begun):
            return []
        try:
            self.send(Message(key, attempt, document))
        except (DeliveryError, OSError) as error:
            # Whatever goes wrong there is the end of this attempt: there are only so many.
            return [*begun, *self._ended(notice, attempt, str(error))]
        self.error = ""
        return [*begun, *self._write([self._step(notice, SENT, attempt)])]

    def _ended(self, notice: Notice, attempt: int, error: str) -> list[Step]:
        """It was not taken: another attempt follows, each time later, or none."""
        self.error = error
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), LONGEST_PAUSE_S)
        self._not_before_s[notice.key] = self.clock.monotonic_s() + pause_s
        what = GIVEN_UP if attempt >= self.target.attempts else FAILED
        return self._write([self._step(notice, what, attempt, error)])

    def _step(self, notice: Notice, what: str, attempt: int, error: str = "") -> Step:
        return Step(
            what=what, key=notice.key, session_id=notice.ended.session_id, attempt=attempt, host=self.host,
            wall_ns=self.clock.wall_ns(), error=error[:2_000],
        )  # fmt: skip

    def _write_first(self, steps: list[Step]) -> bool:
        """Write down what is about to be done. False, and nothing is, when the log has something that this host did not know.

        Whoever stood still for longer than its lock lasts learns here that another host went on meanwhile.
        """
        unread = self._log.append_unless_behind(steps)
        self._learn(unread or steps)
        return not unread

    def _write(self, steps: list[Step]) -> list[Step]:
        self._log.append(steps)
        self._learn(self._log.read_new())
        return steps
