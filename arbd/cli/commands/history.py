"""`arbctl history`: who did what to a session, to workers, and what was archived and removed of all."""

from __future__ import annotations

from typing import Any

import click

from arbd.analysis.overview import iso_time
from arbd.cli.app import App, complete_sessions, json_option, pass_app, table
from arbd.errors import NoSessionError
from arbd.spool.history import Deed, history_of, kept_of, orders_of
from arbd.spool.layout import SpoolLayout


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@json_option
@pass_app
def history(app: App, session: str | None) -> None:
    """Who submitted, paused, resumed, changed, retried or cancelled SESSION: when, from which host, why.

    What was archived, freed and purged of it, too, and where its archive is, also when it is gone. Without SESSION, that of
    all sessions, and who drained which worker, undrained or forgot it, and began and ended maintenance. Times are by the
    calendars of the hosts. What was done with an earlier version of arbd has no name.

    \b
    Examples:
      arbctl history kimchi-btc-01
      arbctl history
    """
    layout = app.layout()
    if session is None:
        kept, asked = kept_of(layout.files(), layout), orders_of(layout.files(), layout)
        documents = [{"session_id": name, "worker": None, **_document(deed)} for name, deed in kept]
        documents += [{"session_id": None, "worker": name or None, **_document(deed)} for name, deed in asked]
        of = [*kept, *((f"worker {name}" if name else "all workers", deed) for name, deed in asked)]
        lines = [[name, *_row(deed)] for name, deed in sorted(of, key=lambda pair: pair[1].wall_ns)]
        head = ("OF", "WHEN", "WHAT", "USER", "HOST", "WHY")
        nothing = "nothing was archived or removed, and nothing asked of workers"
        app.show({"history": documents}, lambda: table(head, lines) if lines else nothing)
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
