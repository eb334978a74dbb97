"""Quotes into files, exact to the bit in every format; a file appears whole, by rename.

Columns of which the quotes say nothing (`Quotes.told`) are left out.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from arbd.atomic_file import check_output, whole_file
from arbd.paper.market.levels import LEVEL_COLUMNS
from arbd.paper.market.quotes import FUNDING, Quotes
from arbd.paper.market.readers import suffix_of
from arbd.paper.market.texttable import STREAM_MEMORY, connect

CSV_ROWS = 50_000
PIECE_ROWS = 1 << 20
EMPTY_WHERE_NAN = frozenset((*FUNDING, *LEVEL_COLUMNS))


def write_quotes(quotes: Quotes, path: Path) -> None:
    """Write quotes in the format of the suffix, one of `SUFFIXES`."""
    path = Path(path)
    suffix = check_target(path)
    with whole_file(path, suffix) as new:
        if suffix in (".parquet", ".csv.zst"):
            _write_with_duckdb(quotes, new, suffix)
        elif suffix == ".npz":
            with new.open("wb") as file:
                columns: dict[str, Any] = quotes.told()
                np.savez(file, **columns)
        else:
            _write_csv(quotes, new, packed=suffix == ".csv.gz")


def check_target(path: Path) -> str:
    """The suffix of a file to write; DataError when it is unknown, UsageError when no file can be written there."""
    suffix = suffix_of(path)
    check_output(path)
    return suffix


def _write_csv(quotes: Quotes, path: Path, *, packed: bool) -> None:
    with gzip.open(path, "wb", compresslevel=6) if packed else path.open("wb") as file:
        for piece in _csv_pieces(quotes):
            file.write(piece)


def _csv_pieces(quotes: Quotes) -> Iterator[bytes]:
    columns = quotes.told()
    yield (",".join(columns) + "\n").encode()
    for start in range(0, len(quotes), CSV_ROWS):
        # repr of a float is the shortest text that reads back as the same bits.
        lists = [
            [None if value != value else value for value in values] if name in EMPTY_WHERE_NAN else values  # noqa: PLR0124
            for name, column in columns.items()
            for values in (column[start : start + CSV_ROWS].tolist(),)
        ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*lists, strict=True))
        yield text.getvalue().encode()


def _write_with_duckdb(quotes: Quotes, path: Path, suffix: str) -> None:
    """Piece by piece into Parquet files, then those into one: DuckDB would hold all of what it is given at once."""
    form = "(FORMAT parquet, COMPRESSION zstd)" if suffix == ".parquet" else "(FORMAT csv, HEADER, COMPRESSION zstd)"
    names = list(quotes.told())
    chosen = ", ".join(
        f"CASE WHEN NOT isnan({name}) THEN {name} END AS {name}" if name in EMPTY_WHERE_NAN else name for name in names
    )
    whole = len(quotes) <= PIECE_ROWS
    with tempfile.TemporaryDirectory(prefix="arbd-pieces-") as folder, _connected() as connection:
        for number, start in enumerate(range(0, len(quotes), PIECE_ROWS)):
            piece = {
                name: np.ascontiguousarray(column[start : start + PIECE_ROWS]) for name, column in quotes.told().items()
            }
            connection.register("quotes", piece)
            target, kind = (path, form) if whole else (Path(folder) / f"{number:06}.parquet", "(FORMAT parquet)")
            connection.execute(f"COPY (SELECT {chosen} FROM quotes) TO '{_quoted(target)}' {kind}")  # noqa: S608
            connection.unregister("quotes")
        if not whole:
            pieces = f"read_parquet('{_quoted(Path(folder))}/*.parquet')"
            connection.execute(f"COPY (FROM {pieces}) TO '{_quoted(path)}' {form}")


@contextlib.contextmanager
def _connected() -> Iterator[Any]:
    connection = connect(STREAM_MEMORY)
    try:
        yield connection
    finally:
        connection.close()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
