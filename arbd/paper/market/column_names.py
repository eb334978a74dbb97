"""What is said of a table that has none of the columns that were looked for: how they are called, and which were meant."""

from __future__ import annotations

from collections.abc import Sequence

MAX_SHOWN = 20
MAX_NAMED = 8
_TIMES = {"time": "ts", "timestamp": "ts", "date": "ts", "datetime": "ts"}


def none_of(wanted: Sequence[str], given: Sequence[str], what: str, separated_by: str = "") -> str:
    """One line that names what a table has, what was looked for, and what can be renamed."""
    plain = {_plain(name): name for name in reversed(wanted)}
    meant = {name: plain.get(_plain(name)) or _TIMES.get(_plain(name)) for name in given[:MAX_SHOWN]}
    renamed = [f"{name} to {called}" for name, called in meant.items() if called in wanted]
    more = ", ..." if len(wanted) > MAX_NAMED else ""
    remedy = f"rename {', '.join(renamed)}" if renamed else f"they are called {', '.join(wanted[:MAX_NAMED])}{more}"
    return f"has none of the columns of {what}; it has {', '.join(given[:MAX_SHOWN])}{separated_by}: {remedy}"


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()
