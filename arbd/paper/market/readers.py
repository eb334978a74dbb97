"""Quotes from files: CSV (plain, gzip, zstd) and Parquet through DuckDB, NPZ through NumPy. The suffix decides.

Keeps: what a file of any length holds passes through bounded memory; the pieces of `QuoteChunks` put together are what
`read_quotes` gives, and what is refused is told with the row of the file.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.named_file import MAX_DATA_BYTES, NamedFile, open_named, opened
from arbd.paper.market.column_names import check_names, none_of
from arbd.paper.market.npz import npz_pieces, read_npz
from arbd.paper.market.parquet import ParquetTable
from arbd.paper.market.quotes import (
    KNOWN_COLUMNS,
    REMEDY,
    WHOLE,
    IntArray,
    Quotes,
    build_piece,
    build_quotes,
    check_shapes,
)
from arbd.paper.market.texttable import NUMBER, ROWS, STREAM_MEMORY, TEXT, TextTable, Where, number_hint
from arbd.paper.market.texttable import WHOLE as WHOLE_NUMBER
from arbd.paper.market.times import NEWEST_FIRST, TIME_NAMES, TIME_UNITS, is_newest_first, nanoseconds

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".npz")
CHUNK_ROWS = 1 << 18
# CSV files up to this are read whole; of those that are packed, by their suffix.
WHOLE_CSV_BYTES = 64 << 20
WHOLE_BYTES = {".gz": 12 << 20, ".zst": 12 << 20, ".zip": 12 << 20}


def read_quotes(file: Path | NamedFile, on_bad_rows: str = "refuse") -> tuple[Quotes, int]:
    """Quotes of a file, and how many bad rows were dropped; DataError with file, row and reason.

    Columns: `ts_ns` (or `ts_us`, `ts_ms`, `ts_s`, or `ts` in ISO 8601), `bid_a`, `ask_a`, `bid_b`, `ask_b`;
    optional are sizes, `fx`, `age_a_ns`, `age_b_ns`, `block`, `funding_a`, `funding_b` and levels (`bid_a_2`, ...).
    Others are ignored. Rows keep their order.
    """
    path = file.path if isinstance(file, NamedFile) else Path(file)
    return build_quotes(read_columns(file, KNOWN_COLUMNS, "quotes"), path, on_bad_rows)


def read_columns(file: Path | NamedFile, names: Sequence[str], what: str) -> dict[str, npt.NDArray[Any]]:
    """The columns of `names` that a file has, and `ts_ns`; DataError calls what was looked for `what`.

    The suffix of the file's name is its format; the file itself is read through its descriptor.
    """
    suffix = suffix_of(file.path if isinstance(file, NamedFile) else Path(file))
    wanted = (*names, *TIME_NAMES)
    with opened(file) as named:
        if suffix == ".npz":
            columns = _read_npz(named, wanted)
        elif suffix == ".parquet":
            columns = _read_parquet(named, wanted, what)
        else:
            columns = _read_csv(named, suffix, wanted, what)
        return _with_time(columns, named.path)


def suffix_of(path: Path) -> str:
    """Which of `SUFFIXES` a file has; DataError for any other."""
    name = path.name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return suffix
    packed = name.endswith((".zip", ".bz2", ".xz", ".7z", ".rar", ".tar", ".tgz", ".tar.gz"))
    remedy = "unpack it first" if packed else "name it by its format, or save it as CSV or Parquet"
    raise DataError(path, f"cannot be told apart by its suffix; known are {', '.join(SUFFIXES)}: {remedy}")


def _read_npz(file: NamedFile, wanted: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    found = read_npz(file, wanted)
    check_shapes(found, file.path)
    return {name: _numbers(column, name, file.path) for name, column in found.items()}


def _read_csv(file: NamedFile, suffix: str, wanted: Sequence[str], what: str) -> dict[str, npt.NDArray[Any]]:
    with TextTable(file, packing=suffix.removeprefix(".csv")) as table:
        kinds = _kinds(table, wanted, what)
        return table.read(kinds, empty=[name for name, kind in kinds.items() if kind == NUMBER])


def _kinds(table: TextTable, wanted: Sequence[str], what: str) -> dict[str, str]:
    """The columns of a table that are wanted, with the kinds of their values."""
    given = [name for name in dict.fromkeys(table.names) if name in wanted]
    if not given:
        raise DataError(table.path, none_of(wanted, table.names, what, table.separated_by))
    if len(given) < len(table.names) or not any(name in TIME_NAMES for name in given):
        check_names(wanted, table.names, table.path)
    return {name: _kind(name) for name in given}


def _kind(name: str) -> str:
    return TEXT if name == "ts" else WHOLE_NUMBER if name in (*TIME_UNITS, *WHOLE) else NUMBER


def _read_parquet(file: NamedFile, wanted: Sequence[str], what: str) -> dict[str, npt.NDArray[Any]]:
    with ParquetTable(file, wanted, what) as table:
        found = table.rows(0, table.n)
    return {name: _numbers(column, name, file.path) for name, column in found.items()}


def column_chunks(
    file: NamedFile, names: Sequence[str], what: str
) -> Generator[dict[str, npt.NDArray[Any]], None, None]:
    """`read_columns` some rows at a time, at least one piece; DataError with the row of the file."""
    suffix = suffix_of(file.path)
    wanted = (*names, *TIME_NAMES)
    if suffix == ".npz":
        pieces = npz_pieces(file, wanted, CHUNK_ROWS)
    elif suffix == ".parquet":
        pieces = _parquet_pieces(file, wanted, what, CHUNK_ROWS)
    else:
        pieces = _csv_pieces(file, suffix, wanted, what, CHUNK_ROWS)
    first = 0
    with contextlib.closing(pieces):
        for piece in pieces:
            n = len(next(iter(piece.values()), ()))
            try:
                numbers = {name: _numbers(values, name, file.path) for name, values in piece.items()}
                yield _with_time(numbers, file.path, begins=not first)
            except DataError as error:
                if error.row is None or not first:
                    raise
                raise DataError(file.path, error.reason, error.row + first) from None
            first += n


def _parquet_pieces(
    file: NamedFile, wanted: Sequence[str], what: str, rows: int
) -> Generator[dict[str, npt.NDArray[Any]], None, None]:
    with ParquetTable(file, wanted, what, memory_limit=STREAM_MEMORY) as table:
        for start in range(0, max(table.n, 1), rows):
            yield table.rows(start, min(rows, table.n - start))


def _csv_pieces(
    file: NamedFile, suffix: str, wanted: Sequence[str], what: str, rows: int
) -> Generator[dict[str, npt.NDArray[Any]], None, None]:
    with TextTable(file, packing=suffix.removeprefix(".csv")) as table:
        kinds = _kinds(table, wanted, what)
        empty = [name for name, kind in kinds.items() if kind == NUMBER]
        yield from text_pieces(table, kinds, empty=empty, rows=rows)


def text_pieces(
    table: TextTable,
    kinds: Mapping[str, str],
    where: Where | None = None,
    empty: Collection[str] = (),
    rows: int | None = None,
) -> Generator[dict[str, npt.NDArray[Any]], None, None]:
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
                yield {name: _as_read(table, column, name, kinds, where, empty) for name, column in piece.items()}


def _as_read(
    table: TextTable, column: Any, name: str, kinds: Mapping[str, str], where: Where | None, empty: Collection[str]
) -> npt.NDArray[Any]:
    """A column as `TextTable.read` gives it; DataError for the first cell of the file that is no such value."""
    kind = kinds.get(name)
    if kind == TEXT:
        return np.asarray(np.ma.filled(np.ma.asarray(column, dtype=object), None))
    if np.ma.is_masked(column) and kind is not None:
        table.fault(name, kind, where, empty)
    return np.asarray(column, dtype=np.float64 if kind == NUMBER else np.int64)


def _numbers(column: Any, name: str, path: Path) -> npt.NDArray[Any]:
    """A column as numbers (`ts` stays what it is); DataError names the first row that holds none."""
    values = np.asarray(column)
    if isinstance(column, np.ma.MaskedArray) and np.ma.is_masked(column):
        if values.dtype.kind == "f":
            # As in CSV: what is empty is no number, which a column of prices or sizes then refuses.
            return np.ma.filled(column.astype(np.float64), np.nan)
        values = values.astype(object)
        values[np.ma.getmaskarray(column)] = None
    if name == "ts":
        return values
    kind = np.int64 if name in (*TIME_UNITS, *WHOLE) else np.float64
    if values.dtype.kind in "iuf" and (kind is np.float64 or _all_whole(values)):
        return values.astype(kind)
    if values.dtype.kind not in "iufOSU":
        hint = "; times that are no numbers are called ts" if values.dtype.kind == "M" else ""
        raise DataError(path, f"{name} holds {values.dtype}, not numbers{hint}")
    texts = values.tolist()
    try:
        return (
            np.array(texts, dtype=kind)
            if kind is np.float64
            else np.array([_whole(text) for text in texts], dtype=kind)
        )
    except (TypeError, ValueError, OverflowError):
        for row, text in enumerate(texts, 1):
            if not _is(kind, text):
                shown = "empty" if text is None else repr(text)
                what = "an integer" if kind is np.int64 else "a number"
                raise DataError(
                    path, f"{name} is {shown}, not {what}{number_hint(str(text), whole=kind is np.int64)}", row
                ) from None
        raise


def _all_whole(values: npt.NDArray[Any]) -> bool:
    """Whether numbers are whole and fit into 64 bits with a sign."""
    if values.dtype.kind == "f":
        return bool(((values == np.rint(values)) & (np.abs(values) < 2.0**63)).all())
    return values.dtype.kind == "i" or not len(values) or int(values.max()) <= np.iinfo(np.int64).max


def _whole(value: Any) -> int:
    """A number or text as an integer; ValueError where that would lose something."""
    whole = int(value)
    if isinstance(value, float) and whole != value:
        raise ValueError(value)
    return whole


def _is(kind: type, text: object) -> bool:
    try:
        np.int64(_whole(text)) if kind is np.int64 else float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _with_time(columns: dict[str, npt.NDArray[Any]], path: Path, *, begins: bool = True) -> dict[str, npt.NDArray[Any]]:
    """The columns with `ts_ns` made from whatever the file gives."""
    given = [name for name in TIME_NAMES if name in columns]
    if len(given) != 1:
        raise DataError(path, f"needs one time column of {', '.join(TIME_NAMES)}; it has {', '.join(given) or 'none'}")
    columns["ts_ns"] = nanoseconds(columns.pop(given[0]), given[0], path, begins=begins)
    return columns


class QuoteChunks:
    """Iterate once; afterwards `dropped` says how many bad rows were left out.

    With `on_bad_rows="drop"` rows that are bad by themselves are left out, and `ordered` tells whether the times of the
    others never go backwards: if they do, which rows go is for whoever has all times to say (`in_time`).
    """

    def __init__(self, file: NamedFile, on_bad_rows: str) -> None:
        self._file = file
        self._on_bad_rows = on_bad_rows
        self.source = file.path
        self.dropped = 0
        self.ordered = True

    def __iter__(self) -> Iterator[Quotes]:
        rows, last = 0, None
        # Of the times of all rows, good and bad ones.
        descending, times = True, (0, 0)
        for columns in self._columns():
            self._file.advanced()
            ts_ns: IntArray = columns["ts_ns"]
            if self._on_bad_rows == "refuse":
                self._check_time(ts_ns, rows, last)
            elif len(ts_ns):
                falls = bool((ts_ns[1:] <= ts_ns[:-1]).all()) and (not rows or int(ts_ns[0]) <= times[1])
                descending, times = descending and falls, (times[0] if rows else int(ts_ns[0]), int(ts_ns[-1]))
            quotes = self._checked(columns, rows)
            rows += len(ts_ns)
            if len(quotes):
                backwards = last is not None and int(quotes.ts_ns[0]) < last
                self.ordered = self.ordered and not backwards and not bool((np.diff(quotes.ts_ns) < 0).any())
                last = int(quotes.ts_ns[-1])
                yield quotes
        if not rows:
            raise DataError(self._file.path, "holds no rows")
        if descending and times[0] > times[1]:
            raise DataError(self._file.path, NEWEST_FIRST)
        if self.dropped == rows:
            raise DataError(self._file.path, f"all {rows} rows are bad")

    def _columns(self) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
        with contextlib.closing(column_chunks(self._file, KNOWN_COLUMNS, "quotes")) as pieces:
            yield from pieces

    def _check_time(self, ts_ns: IntArray, rows: int, last: int | None) -> None:
        if rows == 0 and is_newest_first(ts_ns):
            raise DataError(self._file.path, NEWEST_FIRST)
        if last is not None and len(ts_ns) and int(ts_ns[0]) < last:
            text = f"time goes backwards, from {last} to {int(ts_ns[0])} ns; {REMEDY}"
            raise DataError(self._file.path, text, rows + 1)

    def _checked(self, columns: Mapping[str, npt.NDArray[Any]], rows: int) -> Quotes:
        try:
            quotes, dropped = build_piece(columns, self._file.path, self._on_bad_rows)
        except DataError as error:
            if error.row is None or not rows:
                raise
            raise DataError(self._file.path, error.reason, error.row + rows) from None
        self.dropped += dropped
        return quotes
