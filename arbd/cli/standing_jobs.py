"""How standing jobs stand, as lists show them."""

from __future__ import annotations

import time
from typing import Any

from arbd.analysis.overview import iso_time
from arbd.cli.app import table
from arbd.errors import ArbdError
from arbd.spool.dropped import find_dropped
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import exists
from arbd.spool.standing.firing import standing_of
from arbd.spool.standing.folder import StandingFolder, standing_names
from arbd.spool.standing.looks import read_looks, trouble_of
from arbd.spool.standing.records import StandingState
from arbd.terminal_text import escape_line

TOLD = ("waits", "trouble")
# How sessions are called of which nothing more comes.
OVER = ("done", "cancelled", "gone", "rejected", "unreadable")


def standing_documents(files: Files, layout: SpoolLayout, *, show_all: bool = False) -> list[dict[str, Any]]:
    """One for each; what cannot be read is a trouble of it."""
    found = []
    for name in standing_names(files, layout):
        folder = StandingFolder(files, layout, name)
        try:
            state = folder.refresh()
            if show_all or state.state is not StandingState.REMOVED:
                found.append(brief(folder))
        except ArbdError as error:
            found.append({"name": name, "state": "unreadable", "trouble": str(error)})
    return found


def brief(folder: StandingFolder) -> dict[str, Any]:
    """How one stands, with stable keys. UsageError where this host does not know its time zone."""
    files, layout, state = folder.files, folder.layout, folder.state
    unseen = trouble_of(read_looks(folder)) if state.schedule.on_data else ""
    seen = standing_of(state, time.time_ns())
    last = state.fires[-1] if state.fires else None
    is_now = session_state(files, layout, last.session) if last is not None else None
    waits = seen.wants_looks and not state.schedule.on_data and is_now not in (None, *OVER)
    return {
        "name": state.name,
        "state": state.state.value,
        "schedule": state.schedule.text(),
        "owner": state.submission.user or None,
        "since": iso_time(state.created_ns),
        "last_fired": iso_time(seen.last_fired_ns),
        "last_session": last.session if last is not None else None,
        "last_session_state": is_now,
        "next_due": iso_time(seen.next_due_ns),
        "sessions": len(state.fires),
        "waits": f"waits for session {last.session}, the one before, which is {is_now}" if last and waits else None,
        "trouble": seen.trouble or unseen or None,
    }


def session_state(files: Files, layout: SpoolLayout, session: str) -> str:
    """Of a session that was fired: its own state, that of its job, or `gone`."""
    paths = layout.session(session)
    try:
        if exists(files, paths):
            return SessionQueue(files, paths).refresh().label()
        dropped = find_dropped(files, layout, session)
    except (ArbdError, OSError):
        return "unreadable"
    return dropped.state.value if dropped is not None else "gone"


def standing_table(documents: list[dict[str, Any]]) -> str:
    """For people, with a line for each trouble."""
    head = ("STANDING", "STATE", "USER", "SCHEDULE", "LAST FIRED", "LAST SESSION", "IS", "NEXT DUE")
    keys = ("name", "state", "owner", "schedule", "last_fired", "last_session", "last_session_state", "next_due")
    rows = [[str(document.get(key) or "-") for key in keys] for document in documents]
    told = [f"{each['name']}: {escape_line(each[key])}" for each in documents for key in TOLD if each.get(key)]
    return "\n".join([table(head, rows), *told])
