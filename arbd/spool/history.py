"""What was done to a session and by whom, from its first record to its last: for people who ask who it was."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import msgspec

from arbd.spool.acts import action_of
from arbd.spool.files import Files
from arbd.spool.frames import scan_file
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger_records import (
    ClaimRecord,
    DoneRecord,
    ExtendRecord,
    LedgerRecord,
    OpenRecord,
    RevokeRecord,
    StopRecord,
    read_record,
)
from arbd.spool.operations import orders
from arbd.spool.provenance import UNKNOWN
from arbd.spool.retention_log import read_deeds
from arbd.spool.unknown_session import unknown_session
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Deed:
    """One line of a history. `wall_ns` is by the calendar of whoever did it, 0 where nobody says."""

    what: str
    wall_ns: int = 0
    user: str = ""
    host: str = ""
    reason: str = ""
    changes: dict[str, Any] = field(default_factory=dict)


def history_of(files: Files, paths: SessionPaths) -> list[Deed]:
    """In the order of the ledger; stretches of it that cannot be read are left out. NotFoundError when there is none."""
    deeds: list[Deed] = []
    n, begun, last_ns = 0, False, 0
    try:
        for _, scan in scan_file(lambda offset, limit: files.read(paths.ledger, offset, limit)):
            for frame in scan.frames:
                try:
                    record = read_record(frame.payload, n, paths.ledger)
                except ValueError:
                    continue
                n = record.n if isinstance(record, OpenRecord | ExtendRecord) else n
                if isinstance(record, ClaimRecord) and not begun:
                    begun = True
                    deeds.append(Deed("started", record.wall_ns, host=record.worker_id))
                last_ns = getattr(record, "wall_ns", last_ns)
                deed = _deed(record, last_ns)
                deeds += [deed] if deed is not None else []
    except FileNotFoundError as error:
        raise unknown_session(files, paths) from error
    return deeds


def kept_of(files: Files, layout: SpoolLayout, session_id: str | None = None) -> list[tuple[str, Deed]]:
    """What was archived, freed and removed of one session, or of all, with its name; the oldest first."""
    found = []
    for deed in read_deeds(files, layout).every:
        if session_id in (None, deed.session_id):
            changes: dict[str, Any] = {"archive": deed.archive} if deed.archive else {}
            changes |= {"freed_bytes": deed.freed_bytes} if deed.freed_bytes else {}
            told = Deed(deed.what, deed.wall_ns, deed.user, deed.host, deed.reason, changes)
            found.append((deed.session_id, told))
    return found


def orders_of(files: Files, layout: SpoolLayout) -> list[tuple[str, Deed]]:
    """What administrators asked of workers, with the worker's name ('' is all of them); the oldest first."""
    return [
        (order.worker_id, Deed(order.what, order.actor.wall_ns, order.actor.user, order.actor.host, order.actor.reason))
        for order in orders(files, layout)
    ]


def _deed(record: LedgerRecord, last_ns: int) -> Deed | None:
    match record:
        case OpenRecord():
            said = record.submission or UNKNOWN
            return Deed("submitted", said.wall_ns, said.user, said.host, said.file)
        case RevokeRecord():
            return Deed("work taken back", 0, reason=record.why)
        case StopRecord():
            return Deed("ended early", 0, reason=record.why)
        case ExtendRecord(actor=actor) if actor is not None:
            # It says to how many, and the actor's reason too.
            return Deed("extend", actor.wall_ns, actor.user, actor.host, record.why)
        case DoneRecord():
            return Deed("done", last_ns)
    action = action_of(record)
    if action is None:
        return None
    changes: dict[str, Any] = msgspec.to_builtins(action.changes) if action.changes is not None else {}
    if action.actor is None:
        return Deed(action.what, 0, reason=action.reason, changes=changes)
    actor = action.actor
    return Deed(action.what, actor.wall_ns, actor.user, actor.host, actor.reason, changes)
