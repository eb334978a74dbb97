"""Market data in the formats that exchanges and vendors give away, made into quotes of two venues.

One file per format reads one venue (`VenueQuotes`), see `formats`; `join` puts two of them on one clock.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from arbd.errors import DataError, UsageError
from arbd.named_file import MissingFileError
from arbd.paper.market.importers.candles import missing_candles
from arbd.paper.market.importers.formats import FORMATS
from arbd.paper.market.importers.funding import Funding, read_funding
from arbd.paper.market.importers.funding_formats import FUNDING_FORMATS
from arbd.paper.market.importers.join import Join, Joined, join_venues
from arbd.paper.market.importers.pieces import VenuePiece, stored_pieces
from arbd.paper.market.importers.rates import Rates, rates_of_quotes, read_rates
from arbd.paper.market.importers.recognise import recognised
from arbd.paper.market.importers.venue import (
    Imported,
    VenueOptions,
    VenueQuotes,
    in_memory,
    in_sequence,
    on_disk,
)
from arbd.paper.market.times import clock_note, iso
from arbd.paper.params import MAX_LEVELS


def import_venue(
    format_name: str, paths: Sequence[Path], options: VenueOptions | None = None, folder: Path | None = None
) -> Imported:
    """Quotes of one venue from one or several files, in any order; DataError or UsageError when they are no good.

    With a `folder`, which is made, what is long is there, memory-mapped; else all of it is in memory.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="arbd-import-") as name:
            done = import_venue(format_name, paths, options, Path(name) / "venue")
            return replace(done, quotes=in_memory(done.quotes))
    importer, chosen = FORMATS.get(format_name), options or VenueOptions()
    if not 1 <= chosen.levels <= MAX_LEVELS:
        raise UsageError(f"levels is {chosen.levels}; it is 1 to {MAX_LEVELS}")
    folder.mkdir()
    parts: list[tuple[Path, Imported]] = []
    for number, path in enumerate(map(Path, paths)):
        part = _dated(path, _read(format_name, path, chosen, folder / f"{number}"), own=importer.own_clock)
        # Of several files no more than one is in memory.
        whole = importer.pieces is None and len(paths) > 1
        parts.append((path, on_disk(part, folder / f"{number}") if whole else part))
    done = in_sequence(parts, folder / "all")
    if len(parts) > 1:
        for number in range(len(parts)):
            shutil.rmtree(folder / f"{number}")
    missing = missing_candles(done.quotes.ts_ns, done.step_ns)
    return replace(done, notes=(*done.notes, missing)) if missing else done


def _read(format_name: str, path: Path, options: VenueOptions, folder: Path) -> Imported:
    """DataError says what the file seems to be, where that is another format."""
    importer = FORMATS.get(format_name)
    try:
        if importer.pieces is not None:
            return stored_pieces(path, importer.pieces(path, options), options.on_bad_rows, folder)
        assert importer.read is not None
        return importer.read(path, options)
    except MissingFileError:
        raise
    except DataError as error:
        found = recognised(path, format_name)
        if found is None:
            raise
        raise DataError(path, f"{error.reason}; {found}", error.row) from None


def _dated(path: Path, part: Imported, *, own: bool) -> Imported:
    """An exchange's own times are dates; a recording of one's own may count from any time, which is told."""
    note = clock_note(part.quotes.ts_ns)
    if note is None:
        return part
    if not own:
        raise DataError(
            path, f"its times begin at {iso(int(part.quotes.ts_ns[0]))}, when no such market was: is it whole?"
        )
    return replace(part, notes=(*part.notes, note))


__all__ = [
    "FORMATS",
    "FUNDING_FORMATS",
    "Funding",
    "Imported",
    "Join",
    "Joined",
    "Rates",
    "VenueOptions",
    "VenuePiece",
    "VenueQuotes",
    "import_venue",
    "join_venues",
    "rates_of_quotes",
    "read_funding",
    "read_rates",
]
