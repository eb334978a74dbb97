"""CSV files (plain, .gz, .zst, .zip) as people, vendors and spreadsheets write them, read by DuckDB into exact numbers.

The first line decides what separates cells and how the columns are called; every row must have as many cells. What is
wrong is told in this program's words with the row: nothing of the library's own messages, which quote the file, is shown.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.named_file import NamedFile, opened
from arbd.paper.market.unpacked import PACKINGS, unpacked
from arbd.values import dataclass

WHOLE, NUMBER, TEXT = "whole", "number", "text"
ROWS = "number of the row"
MAX_ROWS = 1 << 30
DELIMITERS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}
# What DuckDB makes of a text: NULL where it is not of that kind. Integers may end in .0, as spreadsheets write them.
_CASTS = {
    WHOLE: "CASE WHEN regexp_full_match({0}, '\\s*[+-]?[0-9]+(\\.0*)?\\s*') "
    "THEN TRY_CAST(regexp_extract({0}, '-?[0-9]+') AS BIGINT) END",
    NUMBER: "CASE WHEN NOT contains({0}, '_') THEN TRY_CAST({0} AS DOUBLE) END",
    TEXT: "{0}",
}
_TYPES = {WHOLE: "BIGINT", NUMBER: "DOUBLE", TEXT: "VARCHAR"}
STREAM_MEMORY = "400MB"
_CALLED = {WHOLE: "an integer", NUMBER: "a number", TEXT: "a string"}
_DECIMAL_COMMA = re.compile(r"\s*[+-]?[0-9]{1,15},[0-9]+\s*")
_THOUSANDS = re.compile(r"\s*[+-]?[0-9]{1,3}([,' _\u00a0][0-9]{3})+(\.[0-9]*)?\s*")
_WIDTHS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")


_OTHER_FORMATS = {
    b"\x1f\x8b": "it is packed with gzip, call it .csv.gz",
    b"\x28\xb5\x2f\xfd": "it is packed with zstd, call it .csv.zst",
    b"PAR1": "it is Parquet, call it .parquet",
    b"PK\x03\x04": "it is a zip file, as spreadsheets (.xlsx) and NPZ files are: save it as CSV, or call it .npz",
    b"BZh": "it is packed with bzip2, unpack it",
    b"\xfd7zXZ": "it is packed with xz, unpack it",
}


@dataclass(frozen=True, slots=True)
class Where:
    """Only rows whose columns hold these texts."""

    texts: Mapping[str, str]


def connect(memory_limit: str | None = None) -> Any:
    """DuckDB in memory, which fetches no extension and leaves no file behind; what it gives at once may be limited.

    Two threads; one in a process that is nice to others, which leaves them all processors but one.
    """
    import duckdb  # noqa: PLC0415 - heavy, and cached columns need no reader

    settings: dict[str, str | int | float | list[str]] = {
        "threads": 1 if os.getpriority(os.PRIO_PROCESS, 0) > 0 else 2,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "temp_directory": "",
    }
    if memory_limit is not None:
        settings["memory_limit"] = memory_limit
    connection = duckdb.connect(config=settings)
    # It would draw on whatever terminal there is.
    connection.execute("SET enable_progress_bar = false")
    return connection


class TextTable:
    """A CSV file opened for reading. With a `layout` a file without header is taken to have these columns.

    `packing` is the suffix that tells how the file is packed: .gz, .zst, .zip, anything else for not at all. `headless`
    files have no header even where their first cell is no number. Of `short_names` counts what is before a stroke.
    """

    def __init__(
        self,
        file: Path | NamedFile,
        layout: Sequence[str] | None = None,
        packing: str | None = None,
        *,
        headless: bool = False,
        short_names: bool = False,
    ) -> None:
        import duckdb  # noqa: PLC0415 - as above

        self.path = file.path if isinstance(file, NamedFile) else Path(file)
        self._error = duckdb.Error
        self._headless, self._short_names = headless, short_names
        self._closing = contextlib.ExitStack()
        packed = self.path.suffix if packing is None else packing
        try:
            named = self._closing.enter_context(opened(file))
            self.size_bytes, self.packing = named.size, packed
            # Not by DuckDB: some broken gzip files keep it busy for ever.
            packs = packed in PACKINGS
            self._place = self._closing.enter_context(unpacked(named, packed)) if packs else named.place
            self._packing = ", compression='zstd'" if packed == ".zst" else ""
            self._connection = connect()
            self._closing.callback(self._connection.close)
            self._read_header(layout)
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def _read_header(self, layout: Sequence[str] | None) -> None:
        line = self._first_line()
        try:
            cells = {delimiter: next(csv.reader([line], delimiter=delimiter), [""]) for delimiter in DELIMITERS}
        except csv.Error:
            raise DataError(self.path, "has a first line that names no columns: a name is far too long") from None
        # Of several that are possible the first, which is the comma.
        self.delimiter = max(cells, key=lambda delimiter: len(cells[delimiter]))
        first = [cell.strip() for cell in cells[self.delimiter]]
        self._has_header = layout is None or not (self._headless or _is_number(first[0]))
        if self._short_names:
            first = [cell.partition("/")[0].strip() for cell in first]
        self.names = first if self._has_header or layout is None else list(layout)
        if len(self.names) != len(first):
            raise DataError(
                self.path,
                f"has {len(first)} columns; without a header there are {len(self.names)}: {', '.join(self.names)}",
            )
        self._twice = {name for name, count in Counter(self.names).items() if count > 1}
        self._column = {name: f"c{i}" for i, name in enumerate(self.names)}
        columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(self.names)))
        self._source = (
            f"read_csv(?, header=false, skip={int(self._has_header)}, auto_detect=false, delim='{self.delimiter}', "
            f"quote='\"', escape='\"', columns={{{columns}}}{self._packing})"
        )

    def _first_line(self) -> str:
        if not self._packing:
            with open(self._place, "rb") as file:  # noqa: PTH123 - a descriptor's place
                start = file.read(4096)
            for magic, remedy in _OTHER_FORMATS.items():
                if start.startswith(magic):
                    raise DataError(self.path, f"is no text: {remedy}")
            if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
                raise DataError(self.path, "is not UTF-8 text (UTF-16, or no text at all): save it as CSV in UTF-8")
        source = (
            "read_csv(?, header=false, auto_detect=false, delim='\\x01', quote='', escape='', strict_mode=false, "
            f"columns={{'line': 'VARCHAR'}}{self._packing})"
        )
        line = self._fetch(f"SELECT line FROM {source} LIMIT 1").fetchone()  # noqa: S608
        text = "" if line is None or not line[0] else str(line[0]).lstrip("\ufeff").rstrip("\r")
        if not text:
            raise DataError(self.path, "is empty" if line is None else "begins with an empty line: remove it")
        if re.fullmatch(r"sep=.", text, re.IGNORECASE):
            raise DataError(self.path, f"begins with {text}, which is a spreadsheet's own line: remove it")
        return text

    def _fetch(self, sql: str, values: Sequence[object] = (), *, plain: bool = False) -> Any:
        try:
            return self._connection.execute(sql) if plain else self._connection.execute(sql, [self._place, *values])
        except (self._error, MemoryError) as error:
            self._tell(error)

    def _tell(self, error: BaseException) -> NoReturn:
        """What DuckDB says, in other words: its own quote the file and name options of its own."""
        text = str(error)
        line = re.search(r"CSV Error on Line: (\d+)", text)
        row = int(line.group(1)) - int(getattr(self, "_has_header", False)) if line else None
        row = row if row is None or row > 0 else None
        widths = _WIDTHS.search(text)
        if isinstance(error, MemoryError) or "Out of Memory" in text or "allocate" in text:
            reason = "needs more memory than there is: split it, or convert it to Parquet where there is more"
        elif widths and int(widths[2]) < int(widths[1]):
            reason = f"has {widths[2]} cells, the first line {widths[1]} columns"
        elif widths:
            reason = (
                f"has more cells than the first line has columns ({widths[1]}); where numbers have decimal commas, "
                "write points"
            )
        elif "unicode" in text or "utf-8" in text:
            reason = "is not UTF-8 text: save it as CSV in UTF-8"
        elif "unterminated quote" in text:
            reason = "has a quotation mark that does not close, or text behind one that does"
        elif "aximum line size" in text:
            reason = "has a line of more than 2,000,000 bytes"
        elif "decompress" in text.lower() or "gzip" in text.lower() or "zstd" in text.lower():
            reason = "is not packed as its name says, or broken: download or pack it again"
        else:
            reason = "cannot be read as CSV: its quotation marks do not close, or its line ends are of two kinds"
        raise DataError(self.path, reason, row) from None

    def require(self, names: Sequence[str], what: str) -> None:
        """DataError unless the file has these columns; `what` is the format that has them."""
        missing = [name for name in names if name not in self._column]
        if missing:
            raise DataError(
                self.path,
                f"no column {', '.join(missing)}; {what} has {', '.join(names)}, this file {', '.join(self.names[:50])}"
                f"{self.separated_by}",
            )

    @property
    def separated_by(self) -> str:
        """A remark for messages about columns, where cells are not separated as most are."""
        return "" if self.delimiter == "," else f" (separated by {DELIMITERS[self.delimiter]})"

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._column

    def _at(self, name: str) -> str:
        if name in self._twice:
            raise DataError(
                self.path, f"has {self.names.count(name)} columns {name}: which one counts? rename or remove the others"
            )
        return self._column[name]

    def distinct(self, name: str) -> list[str]:
        """The texts of a column, each once, sorted."""
        column = self._at(name)
        sql = f"SELECT DISTINCT {column} FROM {self._source} ORDER BY 1"  # noqa: S608
        return [str(row[0]) for row in self._fetch(sql).fetchall()]

    def read(
        self, kinds: Mapping[str, str], where: Where | None = None, empty: Collection[str] = ()
    ) -> dict[str, npt.NDArray[Any]]:
        """Columns by name, rows in the order of the file; DataError with the first row that holds something else.

        Texts come as objects, None where the cell is empty. In the columns of `empty` nothing is NaN. With `where`,
        column ROWS has the numbers of the rows in the file.
        """
        casts = self._casts(kinds, empty)
        sql, texts = self._selection([f"{cast} AS v{i}" for i, cast in enumerate(casts.values())], where)
        result = self._fetch(f"{sql} LIMIT {MAX_ROWS + 1}", texts)
        try:
            found = result.fetchnumpy()
        except (self._error, MemoryError) as error:
            self._tell(error)
        columns: dict[str, npt.NDArray[Any]] = {}
        for i, (name, kind) in enumerate(kinds.items()):
            column = found.pop(f"v{i}")
            if kind == TEXT:
                columns[name] = np.ma.filled(np.ma.asarray(column, dtype=object), None)
                continue
            if np.ma.is_masked(column):
                self.fault(name, kind, where, empty)
            columns[name] = np.asarray(column, dtype=np.float64 if kind == NUMBER else np.int64)
        if where:
            columns[ROWS] = np.asarray(found[ROWS], dtype=np.int64)
        if columns and len(next(iter(columns.values()))) > MAX_ROWS:
            raise DataError(self.path, f"has more than {MAX_ROWS:,} rows, the maximum: split it")
        return columns

    def _casts(self, kinds: Mapping[str, str], empty: Collection[str]) -> dict[str, str]:
        """What SQL makes of each column."""
        casts = {name: _CASTS[kind].format(self._at(name)) for name, kind in kinds.items()}
        return casts | {name: f"CASE WHEN {self._at(name)} IS NULL THEN 'nan' ELSE {casts[name]} END" for name in empty}

    def _selection(self, chosen: Sequence[str], where: Where | None) -> tuple[str, list[str]]:
        """The query of some columns, and the texts that its conditions ask for."""
        if where is None:
            return f"SELECT {', '.join(chosen)} FROM {self._source}", []  # noqa: S608
        condition = " AND ".join(f"{self._at(name)} = ?" for name in where.texts)
        source = f"(SELECT row_number() OVER () AS number, * FROM {self._source})"  # noqa: S608
        sql = f'SELECT {", ".join(chosen)}, number AS "{ROWS}" FROM {source} WHERE {condition}'  # noqa: S608
        return sql, list(where.texts.values())

    def write(self, kinds: Mapping[str, str], where: Where | None, empty: Collection[str], target: Path) -> None:
        """Columns as of `read` into a Parquet file, in bounded memory. What is no such value is missing there (`fault`)."""
        casts = self._casts(kinds, empty)
        chosen = [f'({cast})::{_TYPES[kinds[name]]} AS "{name}"' for name, cast in casts.items()]
        sql, texts = self._selection(chosen, where)
        self._fetch(f"SET memory_limit = '{STREAM_MEMORY}'", plain=True)
        self._fetch(f"COPY ({sql}) TO '{target}' (FORMAT parquet)", texts)

    def fault(self, name: str, kind: str, where: Where | None, empty: Collection[str]) -> NoReturn:
        """DataError with the first row of a column that is no such value."""
        cast = self._casts({name: kind}, [name] if name in empty else [])[name]
        texts = where.texts if where else {}
        condition = " AND ".join(f"{self._at(each)} = ?" for each in texts) or "true"
        self._refuse(name, kind, cast, condition, list(texts.values()))

    def _refuse(self, name: str, kind: str, cast: str, condition: str, values: Sequence[object]) -> NoReturn:
        column = self._at(name)
        row, text = self._fetch(
            f"SELECT row, {column} FROM (SELECT row_number() OVER () AS row, * FROM {self._source}) "  # noqa: S608
            f"WHERE {condition} AND ({cast}) IS NULL ORDER BY row LIMIT 1",
            values,
        ).fetchone()
        shown = "empty" if text is None else repr(text if len(text) <= 100 else text[:97] + "...")
        hint = "" if text is None or kind == TEXT else number_hint(text, whole=kind == WHOLE)
        raise DataError(self.path, f"{name} is {shown}, not {_CALLED[kind]}{hint}", int(row))


def number_hint(text: str, *, whole: bool) -> str:
    """What to write instead of a text that is no such number, where that can be told."""
    if _DECIMAL_COMMA.fullmatch(text) and not (_THOUSANDS.fullmatch(text) and text.count(",") > 1):
        return "; write a point, not a comma"
    if _THOUSANDS.fullmatch(text):
        return "; write it without signs between thousands"
    if whole and _is_number(text) and math.isfinite(float(text)):
        exponent = "e" in text.lower()
        return (
            "; write all its digits" if exponent else "; fractions of a unit of time need a smaller unit, down to ts_ns"
        )
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
