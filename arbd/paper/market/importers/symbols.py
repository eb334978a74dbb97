"""Which symbol of a file of several is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from arbd.errors import DataError
from arbd.paper.market.texttable import TextTable, Where


def chosen_symbol(path: Path, column: str, found: Sequence[str], wanted: str | None) -> str:
    """The one symbol that is there or the one that is wanted; DataError when that leaves none or several."""
    if wanted is None and len(found) == 1:
        return found[0]
    shown = ", ".join(found[:20]) + (", ..." if len(found) > 20 else "")
    if wanted is None:
        raise DataError(path, f"holds quotes of several ({column}: {shown}); name one (--symbol-a, --symbol-b)")
    if wanted not in found:
        raise DataError(path, f"holds nothing of {wanted!r}; {column} is one of {shown}")
    return wanted


def one_symbol(table: TextTable, column: str, wanted: str | None) -> Where | None:
    """The condition that selects one symbol, None where the file has no other."""
    found = table.distinct(column)
    chosen = chosen_symbol(table.path, column, found, wanted)
    return Where({column: chosen}) if len(found) > 1 else None
