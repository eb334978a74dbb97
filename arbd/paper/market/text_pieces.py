"""A CSV file's columns some rows at a time: a small file is read whole, of a larger one little is ever in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.named_file import MAX_DATA_BYTES, open_named
from arbd.paper.market.parquet import ParquetTable
from arbd.paper.market.texttable import NUMBER, ROWS, STREAM_MEMORY, TEXT, TextTable, Where

CHUNK_ROWS = 1 << 18
# Files up to this are read whole; of those that are packed, by their suffix.
WHOLE_CSV_BYTES = 64 << 20
WHOLE_BYTES = {".gz": 12 << 20, ".zst": 12 << 20, ".zip": 12 << 20}

Columns = dict[str, npt.NDArray[Any]]


def text_pieces(
    table: TextTable,
    kinds: Mapping[str, str],
    where: Where | None = None,
    empty: Collection[str] = (),
    rows: int | None = None,
) -> Generator[Columns, None, None]:
    """`TextTable.read` piece by piece, at least one of them; DataError with the row of the file.

    A larger file becomes a Parquet file in the temporary folder first, which DuckDB does in bounded memory.
    """
    count = rows or CHUNK_ROWS
    if table.size_bytes <= WHOLE_BYTES.get(table.packing, WHOLE_CSV_BYTES):
        columns = table.read(kinds, where, empty)
        n = len(next(iter(columns.values())))
        for start in range(0, max(n, 1), count):
            yield {name: column[start : start + count] for name, column in columns.items()}
        return
    with tempfile.TemporaryDirectory(prefix="arbd-columns-") as folder:
        target = Path(folder) / "columns.parquet"
        table.write(kinds, where, empty, target)
        names = [*kinds, *([ROWS] if where else [])]
        with (
            open_named(target, MAX_DATA_BYTES) as copy,
            ParquetTable(copy, names, "a table", STREAM_MEMORY) as parquet,
        ):
            # The file is open: its name is not needed, nor its room for longer than it is read.
            target.unlink()
            for start in range(0, max(parquet.n, 1), count):
                piece = parquet.rows(start, min(count, parquet.n - start))
                yield {name: _plain(table, column, name, kinds, where, empty) for name, column in piece.items()}


def _plain(
    table: TextTable, column: Any, name: str, kinds: Mapping[str, str], where: Where | None, empty: Collection[str]
) -> npt.NDArray[Any]:
    """A column as `TextTable.read` gives it; DataError for the first cell of the file that is no such value."""
    kind = kinds.get(name)
    if kind == TEXT:
        return np.asarray(np.ma.filled(np.ma.asarray(column, dtype=object), None))
    if np.ma.is_masked(column) and kind is not None:
        table.fault(name, kind, where, empty)
    return np.asarray(column, dtype=np.float64 if kind == NUMBER else np.int64)
