"""Who submitted a session, who changed what about it, and what stands changed.

All of it is beside what workers need to agree on: earlier versions read the same records and pass over these parts.
Keeps I6: of what people did only the last `MAX_ACTIONS` are kept here; the ledger has all. What is said of a person is
what that person's command said: whoever may write the ledger may lie in it.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import field
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from arbd.records import Signed
from arbd.values import dataclass

MAX_ACTIONS = 50
MAX_LABELS = 32
MAX_LABEL_CHARS = 64
# What labels are made of, names and values; what earlier versions let through is read.
LABEL = re.compile(r"[A-Za-z0-9_./:@+-]{1,64}")
# What a person may ask for; below and above are those of earlier versions.
MAX_PRIORITY = 1_000
MAX_SLOTS = 1 << 20
MAX_NAME_CHARS = 300
MAX_REASON_CHARS = 1_000

Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
Uid = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Label = Annotated[str, Meta(max_length=MAX_LABEL_CHARS)]
Labels = Annotated[dict[Label, Label], Meta(max_length=MAX_LABELS)]
Priority = Annotated[int, Meta(ge=-(10**6), le=10**6)]
MaxSlots = Annotated[int, Meta(ge=1, le=MAX_SLOTS)]


class Submission(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Whose session it is, from where and when (by that host's calendar) it came, and what listings show of the job."""

    user: Name = ""
    uid: Uid | None = None
    host: Name = ""
    wall_ns: Signed = msgspec.field(default=0, name="at")
    file: Name = msgspec.field(default="", name="from")
    method: Name = ""
    priority: Priority = 0
    labels: Labels = {}


# Whoever it was.
UNKNOWN = Submission()


class Actor(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who does something: a user of a host, when by its calendar, and why."""

    user: Name
    uid: Uid
    host: Name
    wall_ns: Signed = msgspec.field(name="at")
    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARS)] = msgspec.field(default="", name="why")


class Changes(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is otherwise than the job says; None for `max_slots` means no limit."""

    priority: Priority | UnsetType = UNSET
    max_slots: MaxSlots | UnsetType | None = UNSET
    labels: Labels | UnsetType = UNSET

    def then(self, later: Changes) -> Changes:
        """This, and what was changed later."""
        new = {name: getattr(later, name) for name in later.__struct_fields__}
        return msgspec.structs.replace(self, **{name: value for name, value in new.items() if value is not UNSET})


class Action(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that was done to a session; `actor` is None where a worker or an earlier version did it."""

    what: Name
    actor: Actor | None = None
    changes: Changes | None = None
    reason: str = ""


@dataclass(slots=True)
class Provenance:
    """As the ledger tells it; `actions` are the last ones of `acted` in all."""

    submission: Submission = field(default_factory=Submission)
    changes: Changes = field(default_factory=Changes)
    cancelled_ns: int = 0
    acted: int = 0
    actions: deque[Action] = field(default_factory=lambda: deque(maxlen=MAX_ACTIONS))

    def act(self, action: Action, *, cancels: bool = False) -> None:
        """Something was done."""
        self.acted += 1
        self.actions.append(action)
        self.cancelled_ns = action.actor.wall_ns if cancels and action.actor is not None else 0
        if action.changes is not None:
            self.changes = self.changes.then(action.changes)

    @property
    def owner(self) -> str:
        """The user whose session it is; '' where an earlier version took it up."""
        return self.submission.user

    @property
    def labels(self) -> dict[str, str]:
        """As they are now."""
        return dict(self.submission.labels if self.changes.labels is UNSET else self.changes.labels)

    def since(self, acted: int) -> list[Action]:
        """What was done since there were `acted` actions, as far as it is kept."""
        new = min(self.acted - acted, len(self.actions))
        return list(self.actions)[len(self.actions) - new :] if new > 0 else []


def to_plain(provenance: Provenance) -> dict[str, Any]:
    """For msgpack."""
    plain: dict[str, Any] = msgspec.to_builtins(
        {
            "submission": provenance.submission,
            "changes": provenance.changes,
            "cancelled_ns": provenance.cancelled_ns,
            "acted": provenance.acted,
            "actions": list(provenance.actions),
        }
    )
    return plain


def from_plain(plain: dict[str, Any]) -> Provenance:
    """From `to_plain`; ValueError or KeyError when it is not of that form."""
    return Provenance(
        msgspec.convert(plain["submission"], Submission),
        msgspec.convert(plain["changes"], Changes),
        int(plain["cancelled_ns"]),
        int(plain["acted"]),
        deque(msgspec.convert(plain["actions"], list[Action]), maxlen=MAX_ACTIONS),
    )
