"""What an importer is: the declaration in which a format of one venue's files says how it is read."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

from arbd.paper.market.importers.pieces import VenuePiece
from arbd.paper.market.importers.venue import Imported, VenueOptions
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """`summary`: one line for people. `read`: one file; DataError or UsageError when it is no good.

    `pieces`, in the place of `read`, gives a file some rows at a time, so that files of any length pass through little
    memory: for formats of which each row is a quote.

    `candles`: the files tell no bid and ask, so that whoever imports them names a half-spread. `own_clock`: times may count
    from any moment; else one before there were such markets is a fault. `marks`: columns, or keys of a JSON line, by which
    such a file is known when it was taken for another.
    """

    summary: str
    read: Callable[[Path, VenueOptions], Imported] | None = None
    pieces: Callable[[Path, VenueOptions], Generator[VenuePiece, None, None]] | None = None
    candles: bool = False
    own_clock: bool = False
    marks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.read is None) == (self.pieces is None):
            raise ValueError("an importer gives files whole (read) or by pieces (pieces), one of the two")
