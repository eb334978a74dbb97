"""How a job file goes to `rejected/`, with the text beside it that says why."""

from __future__ import annotations

from pathlib import Path

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.terminal_text import escape_control_chars

MAX_REASON_CHARS = 20_000
ERROR_SUFFIX = ".error.txt"


def reject(files: Files, layout: SpoolLayout, source: Path, name: str, reason: str) -> str | None:
    """Move `source`, which was dropped as `name`; the reason as it is shown, None when it is not there any more."""
    shown = escape_control_chars(reason[:MAX_REASON_CHARS])
    taken = set(files.names(layout.rejected))
    number, target = 1, name
    while target in taken or not files.publish_once(layout.rejected / f"{target}{ERROR_SUFFIX}", f"{shown}\n".encode()):
        number += 1
        target = f"{name}.{number}"
    try:
        files.rename(source, layout.rejected / target)
    except FileNotFoundError:
        files.remove(layout.rejected / f"{target}{ERROR_SUFFIX}")
        return None
    return shown
