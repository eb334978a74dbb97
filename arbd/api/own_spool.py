"""The spool that a user has for sessions which name none, and the folders of functions beside it."""

from __future__ import annotations

import os
from pathlib import Path

from arbd.errors import UsageError


def data_home() -> Path:
    """Where what belongs to this user alone is kept: `$XDG_DATA_HOME/arbd`, else `~/.local/share/arbd`."""
    told = os.environ.get("XDG_DATA_HOME")
    try:
        return (Path(told) if told else Path.home() / ".local" / "share") / "arbd"
    except RuntimeError as error:
        raise UsageError("this user has no home folder: name a spool (spool=...), or set XDG_DATA_HOME") from error


def own_spool() -> Path:
    """The spool of this user's own."""
    return data_home() / "spool"


def functions_folder() -> Path:
    """Where the modules of functions are, by session."""
    return data_home() / "functions"
