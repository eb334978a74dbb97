"""`arbctl history`: who did what to a session, and what was archived and removed of all."""

from __future__ import annotations

from typing import Any

import click

from arbd.analysis.overview import iso_time
from arbd.cli.app import App, complete_sessions, json_option, pass_app, table
from arbd.errors import NoSessionError
from arbd.spool.history import Deed, history_of, kept_of
from arbd.spool.layout import SpoolLayout


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@json_option
@pass_app
def history(app: App, session: str | None) -> None:
    """Who submitted, paused, resumed, changed, retried or cancelled SESSION: when, from which host, why.

    What was archived, freed and purged of it, too, and where its archive is, also when it is gone. Without SESSION, that of
    all sessions. Times are by the calendars of the hosts. What was done with an earlier version of arbd has no name.

    \b
    Examples:
      arbctl history kimchi-btc-01
      arbctl history
    """
    layout = app.layout()
    if session is None:
        kept = kept_of(layout.files(), layout)
        documents = [{"session_id": name, **_document(deed)} for name, deed in kept]
        rows = [[name, *_row(deed)] for name, deed in kept]
        head = ("SESSION", "WHEN", "WHAT", "USER", "HOST", "WHY")
        app.show({"history": documents}, lambda: table(head, rows) if rows else "nothing was archived or removed")
        return
    deeds = _all_of(layout, session)
    app.show(
        {"session_id": session, "history": [_document(deed) for deed in deeds]},
        lambda: table(("WHEN", "WHAT", "USER", "HOST", "WHY"), [_row(deed) for deed in deeds]),
    )


def _all_of(layout: SpoolLayout, session: str) -> list[Deed]:
    """NoSessionError when nothing is known of it."""
    files = layout.files()
    kept = [deed for _, deed in kept_of(files, layout, session)]
    try:
        return [*history_of(files, layout.session(session)), *kept]
    except NoSessionError:
        if not kept:
            raise
        return kept


def _document(deed: Deed) -> dict[str, Any]:
    return {
        "what": deed.what,
        "when": iso_time(deed.wall_ns),
        "user": deed.user or None,
        "host": deed.host or None,
        "reason": deed.reason,
        "changes": deed.changes,
    }


def _row(deed: Deed) -> list[str]:
    parts = [f"{name}={value}" for name, value in deed.changes.items()]
    why = "; ".join([*([", ".join(parts)] if parts else []), *([deed.reason] if deed.reason else [])])
    return [iso_time(deed.wall_ns) or "-", deed.what, deed.user or "-", deed.host or "-", why]
