"""What a person does to a session as a whole: pause, resume, cancel, change. One record in its ledger each."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from arbd.errors import UsageError
from arbd.registry import hint
from arbd.spool import acts, ledger
from arbd.spool.job_file import user_name
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.provenance import (
    LABEL,
    MAX_LABEL_CHARS,
    MAX_LABELS,
    MAX_PRIORITY,
    MAX_REASON_CHARS,
    MAX_SLOTS,
    Actor,
    Changes,
    Submission,
)
from arbd.spool.queue import SessionQueue

MAX_USER_CHARS = 64


def this_user(reason: str = "") -> Actor:
    """Who runs this process, on which host, now. UsageError when the reason is longer than a record takes."""
    if len(reason) > MAX_REASON_CHARS:
        raise UsageError(f"--reason has {len(reason):,} characters; the maximum is {MAX_REASON_CHARS:,}")
    user, behind = user_name(os.getuid()), os.environ.get("SUDO_USER", "")[:MAX_USER_CHARS]
    return Actor(
        user=f"{user} (sudo by {behind})" if behind and behind != user else user,
        uid=os.getuid(),
        host=socket.gethostname(),
        wall_ns=time.time_ns(),
        reason=reason,
    )


def submitted_here(file: str) -> Submission:
    """A session that whoever runs this process asks for, on this host, now."""
    actor = this_user()
    return Submission(user=actor.user, uid=actor.uid, host=actor.host, wall_ns=actor.wall_ns, file=file)


def open_queue(layout: SpoolLayout, session: str) -> SessionQueue:
    """The queue of a session, as it stands now; NotFoundError when there is none."""
    queue = SessionQueue(layout.files(), layout.session(session))
    queue.refresh()
    return queue


ALLOWED_FROM = {
    ledger.PAUSED: (ledger.RUNNING, ledger.PAUSED),
    ledger.RUNNING: (ledger.RUNNING, ledger.PAUSED),
    ledger.CANCELLED: (ledger.RUNNING, ledger.PAUSED, ledger.CANCELLED),
}


def change_state(layout: SpoolLayout, session: str, state: str, actor: Actor | None = None) -> str:
    """Pause, resume or cancel a session; how it is called then. UsageError when it cannot become that.

    Whoever runs this process does it, where nobody else is named.
    """
    queue = open_queue(layout, session)

    def decide(now: LedgerState) -> list[LedgerRecord]:
        if now.done or now.state not in ALLOWED_FROM[state]:
            raise UsageError(f"session {session} is {now.label()}: it cannot become {state}")
        return [] if now.state == state else [acts.switched(state, actor or this_user())]

    queue.change(decide)
    return queue.state.label()


def change(layout: SpoolLayout, session: str, settings: Sequence[str], actor: Actor) -> LedgerState:
    """Change priority, slots or labels of a session that is not over; how it stands then. UsageError when it is.

    `settings` are `priority=5`, `max_slots=none`, `labels.desk=btc`, `labels.draft=` (which takes one away).
    """
    parse_changes(settings, {})
    queue = open_queue(layout, session)

    def decide(now: LedgerState) -> list[LedgerRecord]:
        if now.over:
            raise UsageError(f"session {session} is {now.label()}: nothing of it can be changed any more")
        # Over the labels as they are under the lock: somebody else may be changing others.
        return [acts.switched(now.state, actor, "set", parse_changes(settings, now.provenance.labels))]

    return queue.change(decide)


def parse_changes(settings: Sequence[str], labels: Mapping[str, str]) -> Changes:
    """What settings come to over the `labels` that there are; UsageError for what is none, or beyond its limits."""
    changes, new_labels = Changes(), dict(labels)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"{setting!r}: expected NAME=VALUE")
        if name == "priority":
            changes = replace(changes, priority=_integer(setting, value, -MAX_PRIORITY, MAX_PRIORITY))
        elif name == "max_slots":
            changes = replace(changes, max_slots=None if value == "none" else _integer(setting, value, 1, MAX_SLOTS))
        elif name.startswith("labels."):
            _label(setting, new_labels, name.removeprefix("labels."), value)
            changes = replace(changes, labels=dict(new_labels))
        else:
            near = hint(name, ("priority", "max_slots", "labels."))
            raise UsageError(f"{name!r} cannot be changed: {near}expected priority, max_slots or labels.NAME")
    if len(new_labels) > MAX_LABELS and len(new_labels) > len(labels):
        raise UsageError(f"{len(new_labels)} labels; the maximum is {MAX_LABELS}: take one away with labels.NAME=")
    return changes


def _label(setting: str, labels: dict[str, str], name: str, value: str) -> None:
    """Set one of `labels`, or take it away, which goes with names that no new one may have."""
    if not value:
        labels.pop(name, None)
        return
    for part in (name, value):
        if not LABEL.fullmatch(part):
            raise UsageError(f"{setting!r}: labels are made of 1 to {MAX_LABEL_CHARS} letters, digits and _./:@+-")
    labels[name] = value


def _integer(setting: str, value: str, lowest: int, highest: int) -> int:
    try:
        found = int(value)
    except ValueError:
        raise UsageError(f"{setting}: expected an integer") from None
    if not lowest <= found <= highest:
        raise UsageError(f"{setting}: the minimum is {lowest:,}, the maximum {highest:,}")
    return found
