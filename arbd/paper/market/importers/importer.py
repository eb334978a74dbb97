"""What an importer is: the declaration in which a format of one venue's files says how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arbd.paper.market.importers.venue import Imported, VenueOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """`summary`: one line for people. `read`: one file; DataError or UsageError when it is no good.

    `candles`: the files tell no bid and ask, so that whoever imports them names a half-spread. `own_clock`: times may count
    from any moment; else one before there were such markets is a fault. `marks`: columns, or keys of a JSON line, by which
    such a file is known when it was taken for another.
    """

    summary: str
    read: Callable[[Path, VenueOptions], Imported]
    candles: bool = False
    own_clock: bool = False
    marks: tuple[str, ...] = ()
