"""How standing jobs stand, as lists show them to people."""

from __future__ import annotations

from typing import Any

from arbd.cli.app import table
from arbd.terminal_text import escape_line

TOLD = ("waits", "trouble")


def standing_table(documents: list[dict[str, Any]]) -> str:
    """For people, with a line for each trouble."""
    head = ("STANDING", "STATE", "USER", "SCHEDULE", "LAST FIRED", "LAST SESSION", "IS", "NEXT DUE")
    keys = ("name", "state", "owner", "schedule", "last_fired", "last_session", "last_session_state", "next_due")
    rows = [[str(document.get(key) or "-") for key in keys] for document in documents]
    told = [f"{each['name']}: {escape_line(each[key])}" for each in documents for key in TOLD if each.get(key)]
    return "\n".join([table(head, rows), *told])
