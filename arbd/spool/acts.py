"""What people do to a session, as records of its ledger, and what these tell of it."""

from __future__ import annotations

from collections.abc import Mapping

from arbd.spool.ledger_records import (
    CANCELLED,
    PAUSED,
    RUNNING,
    AgainRecord,
    ExtendRecord,
    LedgerRecord,
    OpenRecord,
    StateRecord,
)
from arbd.spool.provenance import UNKNOWN, Action, Actor, Changes, Provenance

_VERBS: Mapping[str, str] = {RUNNING: "resume", PAUSED: "pause", CANCELLED: "cancel"}


def switched(state: str, actor: Actor, action: str = "", changes: Changes | None = None) -> StateRecord:
    """The session is paused, resumed or cancelled; or stays in its state, and something else of it changes."""
    return StateRecord(state=state, action=action, actor=actor, changes=changes)


def action_of(record: LedgerRecord) -> Action | None:
    """What was done, when a record tells that somebody did something."""
    match record:
        case AgainRecord():
            what = "retry" if record.actor is not None else "run again"
            return Action(what=what, actor=record.actor, reason=record.why)
        case ExtendRecord():
            return Action(what="extend", actor=record.actor, reason=record.why)
        case StateRecord():
            return Action(what=record.action or _VERBS[record.state], actor=record.actor, changes=record.changes)
    return None


def note(provenance: Provenance, record: LedgerRecord) -> None:
    """Keep what a record says of people."""
    if isinstance(record, OpenRecord):
        provenance.submission = record.submission or UNKNOWN
    elif action := action_of(record):
        provenance.act(action, cancels=isinstance(record, StateRecord) and record.state == CANCELLED)
