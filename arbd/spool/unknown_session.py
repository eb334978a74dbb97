"""What is said where a session is asked for that is not there: the nearest that is."""

from __future__ import annotations

from arbd.errors import NoSessionError
from arbd.registry import hint
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths


def unknown_session(files: Files, paths: SessionPaths) -> NoSessionError:
    """The error, to be raised; `did you mean` where a session has a name that is near."""
    try:
        names = [
            name for name in files.names(paths.folder.parent) if not name.startswith(".") and name != paths.session_id
        ]
    except OSError:
        names = []
    return NoSessionError(paths.session_id, paths.folder.parent, hint(paths.session_id, names))
