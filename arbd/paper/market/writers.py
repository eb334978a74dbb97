"""Quotes into files, exact to the bit in every format; a file appears whole, by rename.

Columns of which the quotes say nothing (`Quotes.told`) are left out.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.atomic_file import check_output, whole_file
from arbd.errors import UsageError
from arbd.paper.market.growing import growing_table
from arbd.paper.market.levels import LEVEL_COLUMNS
from arbd.paper.market.quotes import FUNDING, Quotes
from arbd.paper.market.readers import suffix_of
from arbd.paper.market.texttable import STREAM_MEMORY, connect

CSV_ROWS = 50_000
PIECE_ROWS = 1 << 20
EMPTY_WHERE_NAN = frozenset((*FUNDING, *LEVEL_COLUMNS))
Columns = Mapping[str, npt.NDArray[Any]]


def write_quotes(quotes: Quotes, path: Path) -> None:
    """Write quotes in the format of the suffix, one of `SUFFIXES`."""
    told = quotes.told()
    starts = range(0, max(1, len(quotes)), PIECE_ROWS)
    write_columns(
        ({name: np.asarray(column[at : at + PIECE_ROWS]) for name, column in told.items()} for at in starts), path
    )


def write_pieces(pieces: Iterable[Quotes], path: Path) -> None:
    """The same of quotes that are given piece by piece, at least one, each of which tells the same columns."""
    write_columns((quotes.told() for quotes in pieces), path)


def check_target(path: Path) -> str:
    """The suffix of a file to write; DataError when it is unknown, UsageError when no file can be written there."""
    suffix = suffix_of(path)
    check_output(path)
    return suffix


def write_columns(pieces: Iterator[Columns], path: Path) -> None:
    """Columns of any kind of quotes (of one venue too) piece by piece, at least one of them."""
    path = Path(path)
    suffix = check_target(path)
    with whole_file(path, suffix) as new:
        if suffix in (".parquet", ".csv.zst"):
            _write_with_duckdb(pieces, new, suffix)
        elif suffix == ".npz":
            _write_npz(pieces, new)
        else:
            _write_csv(pieces, new, packed=suffix == ".csv.gz")


def _write_npz(pieces: Iterator[Columns], path: Path) -> None:
    """One array after the other grows in the temporary folder, since an archive's members are written one by one."""
    with tempfile.TemporaryDirectory(prefix="arbd-pieces-") as folder, growing_table(Path(folder) / "columns") as table:
        for piece in pieces:
            table.append(piece)
        table.finish()
        with zipfile.ZipFile(path, "w") as archive:
            for name, column in table.columns.items():
                archive.write(column.path, f"{name}.npy")
                column.path.unlink()


def _write_csv(pieces: Iterator[Columns], path: Path, *, packed: bool) -> None:
    with gzip.open(path, "wb", compresslevel=6) if packed else path.open("wb") as file:
        for number, piece in enumerate(pieces):
            if not number:
                file.write((",".join(piece) + "\n").encode())
            for lines in _csv_lines(piece):
                file.write(lines)


def _csv_lines(columns: Columns) -> Iterator[bytes]:
    for start in range(0, len(columns["ts_ns"]), CSV_ROWS):
        # repr of a float is the shortest text that reads back as the same bits.
        lists = [
            [None if value != value else value for value in values] if name in EMPTY_WHERE_NAN else values  # noqa: PLR0124
            for name, column in columns.items()
            for values in (column[start : start + CSV_ROWS].tolist(),)
        ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*lists, strict=True))
        yield text.getvalue().encode()


def _write_with_duckdb(pieces: Iterator[Columns], path: Path, suffix: str) -> None:
    """Piece by piece into Parquet files, then those into one: DuckDB would hold all of what it is given at once."""
    form = "(FORMAT parquet, COMPRESSION zstd)" if suffix == ".parquet" else "(FORMAT csv, HEADER, COMPRESSION zstd)"
    first = next(pieces)
    second = next(pieces, None)
    with _connected() as connection:
        if second is None:
            _copy(connection, first, path, form)
            return
        with tempfile.TemporaryDirectory(prefix="arbd-pieces-") as folder:
            for number, piece in enumerate(itertools.chain((first, second), pieces)):
                _copy(connection, piece, Path(folder) / f"{number:06}.parquet", "(FORMAT parquet)")
            all_ = f"read_parquet('{_quoted(Path(folder))}/*.parquet')"
            connection.execute(f"COPY (FROM {all_}) TO '{_quoted(path)}' {form}")


def _copy(connection: Any, piece: Columns, path: Path, form: str) -> None:
    chosen = ", ".join(
        f"CASE WHEN NOT isnan({name}) THEN {name} END AS {name}" if name in EMPTY_WHERE_NAN else name for name in piece
    )
    connection.register("quotes", {name: np.ascontiguousarray(column) for name, column in piece.items()})
    connection.execute(f"COPY (SELECT {chosen} FROM quotes) TO '{_quoted(path)}' {form}")  # noqa: S608
    connection.unregister("quotes")


@contextlib.contextmanager
def _connected() -> Iterator[Any]:
    import duckdb  # noqa: PLC0415 - heavy

    connection = connect(STREAM_MEMORY)
    try:
        yield connection
    except duckdb.OutOfMemoryException:
        raise UsageError(
            f"writing needs {STREAM_MEMORY} of memory, which is more than there is: write CSV or NPZ, or end what else runs"
        ) from None
    finally:
        connection.close()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
