"""How a job file goes to `rejected/`, with the text beside it that says why."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
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


def keep_within(files: Files, layout: SpoolLayout, most_bytes: Callable[[int], int | None]) -> list[str]:
    """Remove the oldest refused jobs of users who have more of them than `most_bytes` says; the names that went.

    The newest of a user stays, however large: its text says what is wrong. Whose a job is, its file's owner says.
    """
    jobs: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
    names = files.names(layout.rejected)
    texts = {name for name in names if name.endswith(ERROR_SUFFIX)}
    for name in names:
        # Without its text it is on its way here.
        if name not in texts and f"{name}{ERROR_SUFFIX}" in texts:
            with contextlib.suppress(FileNotFoundError):
                found = files.system.look(layout.rejected / name)
                jobs[found.uid].append((found.mtime_ns, name, found.size))
    gone: list[str] = []
    for uid, owned in jobs.items():
        most = most_bytes(uid)
        left = sum(size for _, _, size in owned)
        for _, name, size in sorted(owned)[:-1]:
            if most is None or left <= most:
                break
            files.remove_tree(layout.rejected / name)
            files.remove(layout.rejected / f"{name}{ERROR_SUFFIX}")
            left -= size
            gone.append(name)
    return gone
