"""Vendors' CSV files (plain, .gz, .zst, .zip), read by DuckDB into columns of exact numbers."""

from __future__ import annotations

import contextlib
import csv
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError

WHOLE, NUMBER, TIME = "whole", "number", "time"
ROWS = "number of the row"
# What DuckDB makes of a text: NULL where it is not of that kind.
_CASTS = {
    WHOLE: "CASE WHEN regexp_full_match({0}, '\\s*-?[0-9]+\\s*') THEN TRY_CAST({0} AS BIGINT) END",
    NUMBER: "TRY_CAST({0} AS DOUBLE)",
    TIME: "epoch_us(TRY_CAST({0} AS TIMESTAMP)) * 1000",
}
_CALLED = {WHOLE: "a whole number", NUMBER: "a number", TIME: "a UTC time in ISO 8601"}


@dataclass(frozen=True, slots=True)
class Where:
    """Only rows whose columns hold these texts."""

    texts: Mapping[str, str]


class TextTable:
    """A CSV file opened for reading. With a `layout` a file without header is taken to have these columns."""

    def __init__(self, path: Path, layout: Sequence[str] | None = None) -> None:
        import duckdb  # noqa: PLC0415 - heavy

        self.path = path
        self._error = duckdb.Error
        self._closing = contextlib.ExitStack()
        if not path.is_file():
            raise DataError(path, "no such file")
        try:
            self._file = self._closing.enter_context(_unpacked(path))
            self._connection = duckdb.connect(config={"threads": 2})
            self._closing.callback(self._connection.close)
            first = self._first_line()
            has_header = layout is None or not _is_number(first[0])
            names = [cell.strip() for cell in first] if has_header or layout is None else list(layout)
            if len(names) != len(first):
                _refuse_width(path, len(first), names)
            self._column = {name: f"c{i}" for i, name in enumerate(names)}
            columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(names)))
            self._source = (
                f"read_csv(?, header=false, skip={int(has_header)}, auto_detect=false, delim=',', quote='\"', "
                f"escape='\"', columns={{{columns}}}{self._packing()})"
            )
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def _packing(self) -> str:
        return {".gz": ", compression='gzip'", ".zst": ", compression='zstd'"}.get(self._file.suffix, "")

    def _first_line(self) -> list[str]:
        source = (
            "read_csv(?, header=false, auto_detect=false, delim='\\x01', quote='', escape='', "
            f"columns={{'line': 'VARCHAR'}}{self._packing()})"
        )
        line = self._rows(f"SELECT line FROM {source} LIMIT 1").fetchone()  # noqa: S608
        if line is None or not line[0]:
            raise DataError(self.path, "is empty")
        return next(csv.reader([line[0].lstrip("\ufeff")]))

    def _rows(self, sql: str, values: Sequence[object] = ()) -> Any:
        try:
            return self._connection.execute(sql, [str(self._file), *values])
        except self._error as error:
            raise DataError(self.path, "cannot be read: " + str(error).strip().splitlines()[0]) from error

    def require(self, names: Sequence[str], what: str) -> None:
        """DataError unless the file has these columns; `what` is the format that has them."""
        missing = [name for name in names if name not in self._column]
        if missing:
            raise DataError(
                self.path,
                f"no column {', '.join(missing)}; {what} has {', '.join(names)}, this file {', '.join(self._column)}",
            )

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._column

    def distinct(self, name: str) -> list[str]:
        """The texts of a column, each once, sorted."""
        column = self._column[name]
        sql = f"SELECT DISTINCT {column} FROM {self._source} ORDER BY 1"  # noqa: S608
        return [str(row[0]) for row in self._rows(sql).fetchall()]

    def read(
        self, kinds: Mapping[str, str], where: Where | None = None, empty: Collection[str] = ()
    ) -> dict[str, npt.NDArray[Any]]:
        """Columns by name, rows in the order of the file; DataError with the first row that holds something else.

        In the columns of `empty` nothing is NaN. With `where`, column ROWS has the numbers of the rows in the file.
        """
        source = self._source
        texts = dict(where.texts) if where else {}
        condition = " AND ".join(f"{self._column[name]} = ?" for name in texts) or "true"
        casts = {name: _CASTS[kind].format(self._column[name]) for name, kind in kinds.items()}
        casts |= {name: f"CASE WHEN {self._column[name]} IS NULL THEN 'nan' ELSE {casts[name]} END" for name in empty}
        chosen = ", ".join(f"{cast} AS v{i}" for i, cast in enumerate(casts.values()))
        if where:
            chosen += ", number"
            source = f"(SELECT row_number() OVER () AS number, * FROM {source})"  # noqa: S608
        result = self._rows(f"SELECT {chosen} FROM {source} WHERE {condition}", list(texts.values()))  # noqa: S608
        try:
            found = result.fetchnumpy()
        except self._error as error:
            raise DataError(self.path, "cannot be read: " + str(error).strip().splitlines()[0]) from error
        columns: dict[str, npt.NDArray[Any]] = {}
        for i, (name, kind) in enumerate(kinds.items()):
            column = found[f"v{i}"]
            if np.ma.is_masked(column):
                self._refuse(name, kind, casts[name], condition, list(texts.values()))
            columns[name] = np.asarray(column, dtype=np.float64 if kind == NUMBER else np.int64)
        if where:
            columns[ROWS] = np.asarray(found["number"], dtype=np.int64)
        return columns

    def _refuse(self, name: str, kind: str, cast: str, condition: str, values: Sequence[object]) -> None:
        column = self._column[name]
        row, text = self._rows(
            f"SELECT row, {column} FROM (SELECT row_number() OVER () AS row, * FROM {self._source}) "  # noqa: S608
            f"WHERE {condition} AND ({cast}) IS NULL ORDER BY row LIMIT 1",
            values,
        ).fetchone()
        raise DataError(
            self.path, f"{name} is {'empty' if text is None else repr(text)}, not {_CALLED[kind]}", int(row)
        )


def _refuse_width(path: Path, width: int, names: Sequence[str]) -> None:
    raise DataError(path, f"has {width} columns; without a header there are {len(names)}: {', '.join(names)}")


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or the one CSV file in a .zip, unpacked for as long as it is needed."""
    if path.suffix != ".zip":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="arbd-import-") as folder:
        target = Path(folder) / "member.csv"
        try:
            with zipfile.ZipFile(path) as archive:
                members = [name for name in archive.namelist() if name.endswith(".csv")]
                if len(members) != 1:
                    raise DataError(path, f"holds {len(members)} CSV files, not one; unpack it and name those you mean")
                with archive.open(members[0]) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(path, f"is not a zip file that can be read: {error}; download it again") from error
        yield target


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
