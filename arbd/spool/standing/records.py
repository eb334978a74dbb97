"""What stands in the log of a standing job, and what it comes to.

Append-only, touched only while holding the job's lock, in frames as a ledger is. A firing has two records: `fire`, which
decides everything about it and is durable before anything is dropped; and `fired`, once its job is in `incoming/`. So
whoever finds the first without the second drops the same bytes again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import field
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from arbd import schema
from arbd.records import Signed
from arbd.spool.layout import NAME_PATTERN
from arbd.spool.provenance import MAX_NAME_CHARS, UNKNOWN, Actor, Submission
from arbd.spool.standing.calendar import Due, Schedule
from arbd.values import dataclass

MAX_FIRES = 400
MAX_ACTIONS = 50
MAX_TEXT_CHARS = 2_000

Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
SessionName = Annotated[str, Meta(pattern=rf"^{NAME_PATTERN.pattern}\Z")]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
Digest = Annotated[str, Meta(max_length=64)]


class Setting(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The standing setting that a firing evaluates again: where its parameters are from, and what it was worth there."""

    kind: Literal["promoted", "winner"]
    session: Name
    iteration: Signed = 0
    metric: Name = ""
    value: float | None = None
    at: Name = ""


class OpenRecord(Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="k", tag="open"):
    """A job file with a schedule was taken up; what came before under the same name was removed."""

    schedule: Schedule
    submission: Submission
    digest: Digest
    wall_ns: Signed = msgspec.field(name="at")
    version: int = msgspec.field(default=schema.STANDING.version, name=schema.STANDING.key)


class ActRecord(Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="k", tag="act"):
    """A person did something to it."""

    what: Literal["pause", "resume", "remove", "fire"]
    actor: Actor


class FireRecord(Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="k", tag="fire"):
    """A firing is decided: `digest` is that of the job in `next.yaml`, `after_ns` the time after which nothing was due."""

    due: Name
    due_ns: Signed
    after_ns: Signed
    session: SessionName
    cause: Text
    digest: Digest
    data: Digest = ""
    by: Name = ""
    wall_ns: Signed = msgspec.field(name="at")
    warm: Name = ""
    setting: Setting | None = None
    notes: Annotated[tuple[Text, ...], Meta(max_length=20)] = ()


class FiredRecord(Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="k", tag="fired"):
    """Its job is in `incoming/`, or became what it became."""

    session: SessionName
    by: Name = ""
    wall_ns: Signed = msgspec.field(name="at")


class TroubleRecord(Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="k", tag="trouble"):
    """A firing could not be prepared, and is tried again."""

    why: Text
    by: Name = ""
    wall_ns: Signed = msgspec.field(name="at")


StandingRecord = OpenRecord | ActRecord | FireRecord | FiredRecord | TroubleRecord


class StandingState(Enum):
    """Whether it fires."""

    ACTIVE = "active"
    PAUSED = "paused"
    REMOVED = "removed"


@dataclass(slots=True)
class StandingJob:
    """A standing job as its log tells it. `fires` are the last ones; `of_this` how many are of the job file that stands."""

    name: str
    schedule: Schedule = field(default_factory=Schedule)
    submission: Submission = UNKNOWN
    digest: str = ""
    created_ns: int = 0
    state: StandingState = StandingState.REMOVED
    fires: deque[FireRecord] = field(default_factory=lambda: deque(maxlen=MAX_FIRES))
    of_this: int = 0
    pending: bool = False
    wanted: Actor | None = None
    trouble: TroubleRecord | None = None
    actions: deque[tuple[str, Actor]] = field(default_factory=lambda: deque(maxlen=MAX_ACTIONS))

    def fold(self, record: StandingRecord) -> None:
        """Take one more record in."""
        match record:
            case OpenRecord():
                self.schedule, self.submission, self.digest = record.schedule, record.submission, record.digest
                self.created_ns, self.state, self.of_this = record.wall_ns, StandingState.ACTIVE, 0
                self.pending, self.trouble, self.wanted = False, None, None
            case ActRecord():
                self._act(record)
            case FireRecord():
                if any(fire.session == record.session for fire in self.fires):
                    # Of a host that was away for so long that its lock was another's: its job meets that one's session.
                    return
                self.fires.append(record)
                self.of_this += 1
                self.pending, self.trouble, self.wanted = self.state is not StandingState.REMOVED, None, None
            case FiredRecord():
                self.pending = self.pending and self.fires[-1].session != record.session
            case TroubleRecord():
                self.trouble = record
        self.assert_consistent()

    def _act(self, record: ActRecord) -> None:
        self.actions.append((record.what, record.actor))
        if record.what == "fire":
            self.wanted = record.actor
        else:
            states = {"pause": StandingState.PAUSED, "resume": StandingState.ACTIVE, "remove": StandingState.REMOVED}
            self.state = states[record.what]
        # Damage may have taken the record that opened it.
        if self.state is StandingState.REMOVED:
            self.pending, self.wanted = False, None

    @property
    def last(self) -> FireRecord | None:
        """The last firing of the job file that stands now."""
        return self.fires[-1] if self.of_this and self.fires else None

    def owes(self, due: Due, now_ns: int) -> bool:
        """True when a time that is due by this clock has not been fired, and no later one stands for it.

        Of times that were missed the last one is fired, and covers those since the one that was fired before: for whom
        its own time has come. By any other clock it was fired early, and what lies before it is not missed but to come.
        """
        recent = list(self.fires)[-self.of_this :] if self.of_this else []
        # What was fired before the first that is remembered is fired for good.
        forgotten_ns = min(fire.due_ns for fire in recent) if len(recent) == MAX_FIRES else self.created_ns
        if due.wall_ns <= max(self.created_ns, forgotten_ns):
            return False
        return not any(fire.due == due.label or fire.after_ns < due.wall_ns <= fire.due_ns <= now_ns for fire in recent)

    def covered_ns(self, due: Due) -> int:
        """The time after which the firing of `due` stands for what was missed."""
        recent = list(self.fires)[-self.of_this :] if self.of_this else []
        return max([self.created_ns, *(fire.due_ns for fire in recent if fire.due_ns < due.wall_ns)])

    def assert_consistent(self) -> None:
        """What is pending was fired; what is removed owes nothing."""
        assert not self.pending or (self.fires and self.of_this), self.name
        assert self.state is not StandingState.REMOVED or not (self.pending or self.wanted), self.name


_DECODER: msgspec.msgpack.Decoder[StandingRecord] = msgspec.msgpack.Decoder(StandingRecord)
_ENCODER = msgspec.msgpack.Encoder()


def encode(record: StandingRecord) -> bytes:
    """The payload of a record."""
    return _ENCODER.encode(record)


def decode(payload: bytes | memoryview) -> StandingRecord:
    """ValueError when it is no record of this version."""
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"no record of a standing job: {error}") from error


def document_of_setting(setting: Setting | None) -> dict[str, Any] | None:
    """For `--json`."""
    return None if setting is None else dict(msgspec.to_builtins(setting))
