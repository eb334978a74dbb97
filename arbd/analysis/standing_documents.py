"""How standing jobs stand, as documents with stable keys: for lists, `arbctl standing` and the page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from arbd.analysis.overview import iso_time
from arbd.errors import ArbdError
from arbd.spool.dropped import find_dropped
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.provenance import Actor
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import exists
from arbd.spool.standing.firing import standing_of
from arbd.spool.standing.folder import StandingFolder, standing_names
from arbd.spool.standing.looks import read_looks, trouble_of
from arbd.spool.standing.records import FireRecord, Setting, StandingJob, StandingState, document_of_setting
from arbd.spool.unknown_session import unknown_session

if TYPE_CHECKING:
    from arbd.analysis.standing import Comparison

# How sessions are called of which nothing more comes.
OVER = ("done", "cancelled", "gone", "rejected", "unreadable")
MOST_FIRES = 10


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


def answered(
    folder: StandingFolder, session: str | None = None
) -> tuple[dict[str, Any], FireRecord | None, Comparison | None]:
    """One with its answer, of `session` or of the last one that is done; the firing and the comparison behind it.

    NotFoundError where it made no such session.
    """
    files, layout, state = folder.files, folder.layout, folder.state
    fire = _answer_of(files, layout, state, session)
    found, missing = _comparison(layout, fire)
    since = _promoted_since(files, layout, state, fire) if session is None else None
    document = brief(folder) | {
        "answer": None if found is None else found.document(),
        "no_answer": missing or None,
        "standing_setting": document_of_setting(fire.setting) if fire is not None else None,
        "promoted_since": document_of_setting(since),
        "fires": [_fire_document(files, layout, each) for each in list(state.fires)[::-1][:MOST_FIRES]],
        "history": [_action_document(what, actor) for what, actor in state.actions],
    }
    return document, fire, found


def _answer_of(files: Files, layout: SpoolLayout, state: StandingJob, session: str | None) -> FireRecord | None:
    """The firing whose session answers: the named one, or the last one that is done."""
    fires = list(state.fires)[::-1]
    if session is not None:
        named = next((fire for fire in fires if fire.session == session), None)
        if named is None:
            raise unknown_session(files, layout.session(session))
        return named
    return next((fire for fire in fires if session_state(files, layout, fire.session) == "done"), None)


def _comparison(layout: SpoolLayout, fire: FireRecord | None) -> tuple[Comparison | None, str]:
    if fire is None:
        return None, "no session of it is done yet"
    from arbd.analysis.standing import compare_standing  # noqa: PLC0415 - lists have no use for it, and need no NumPy

    try:
        return compare_standing(layout.root, fire), ""
    except ArbdError as error:
        return None, str(error)


def _promoted_since(files: Files, layout: SpoolLayout, state: StandingJob, fire: FireRecord | None) -> Setting | None:
    """What stands since the session that answers began: its answer does not know of it."""
    if fire is None:
        return None
    from arbd.analysis.standing_setting import promoted_setting  # noqa: PLC0415 - as above

    found = promoted_setting(files, layout, state)
    return None if found is None or fire.setting == found.setting else found.setting


def _fire_document(files: Files, layout: SpoolLayout, fire: FireRecord) -> dict[str, Any]:
    return {
        "session_id": fire.session,
        "state": session_state(files, layout, fire.session),
        "cause": fire.cause,
        "when": iso_time(fire.wall_ns),
        "worker": fire.by,
        "starts_from": fire.warm or None,
        "notes": list(fire.notes),
    }


def _action_document(what: str, actor: Actor) -> dict[str, Any]:
    return {
        "what": what, "when": iso_time(actor.wall_ns), "user": actor.user, "host": actor.host, "reason": actor.reason,
    }  # fmt: skip
