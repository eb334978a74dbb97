"""What is said where a session, or a worker, is asked for that is not there: the nearest that is."""

from __future__ import annotations

from collections.abc import Iterable

from arbd.errors import NoSessionError, NotFoundError
from arbd.registry import hint
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.sessions import exists


def unknown_session(files: Files, paths: SessionPaths, also: Iterable[str] = ()) -> NoSessionError:
    """The error, to be raised; `did you mean` where a session, or one that is `also` known, has a name that is near."""
    try:
        names = [
            name for name in files.names(paths.folder.parent) if not name.startswith(".") and name != paths.session_id
        ]
    except OSError:
        names = []
    return NoSessionError(paths.session_id, paths.folder.parent, hint(paths.session_id, [*names, *also]))


def require_sessions(layout: SpoolLayout, session_ids: Iterable[str]) -> None:
    """NoSessionError for the first that is not there."""
    files = layout.files()
    for session_id in session_ids:
        if not exists(files, layout.session(session_id)):
            raise unknown_session(files, layout.session(session_id))


def unknown_worker(layout: SpoolLayout, worker: str, known: Iterable[str]) -> NotFoundError:
    """The error, to be raised, where no worker, nor a host of workers, has that name; `known` are those that are there."""
    return NotFoundError(f"no worker or host {worker} on {layout.root}: {hint(worker, known)}see `arbctl workers`")
