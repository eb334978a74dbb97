"""Parquet files by DuckDB: the columns that are wanted, any rows of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from arbd.errors import DataError
from arbd.named_file import NamedFile
from arbd.paper.market.column_names import check_names, none_of
from arbd.paper.market.quotes import WHOLE
from arbd.paper.market.texttable import MAX_ROWS, connect
from arbd.paper.market.times import TIME_UNITS

_ROW = "file_row_number"


# Types of whole numbers that would come as floats, which cannot tell a nanosecond of today from the next.
_WIDE = ("HUGEINT", "UHUGEINT", "DECIMAL", "BIGNUM")


def _chosen(name: str, kind: str) -> str:
    if name in (*TIME_UNITS, *WHOLE) and kind.startswith(_WIDE):
        return f'CAST("{name}" AS VARCHAR) AS "{name}"'
    return f'"{name}"'


class ParquetTable:
    """A Parquet file opened for reading; DataError when it is none, or has none of the columns of `what`."""

    def __init__(self, file: NamedFile, wanted: Sequence[str], what: str, memory_limit: str | None = None) -> None:
        self._file = file
        self._connection = connect(memory_limit)
        try:
            with self._told():
                self._open(wanted, what)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _open(self, wanted: Sequence[str], what: str) -> None:
        file = self._file
        source = "read_parquet(?, hive_partitioning=false, filename=false)"
        schema = self._connection.execute("SELECT name FROM parquet_schema(?)", [file.place]).fetchall()
        stored = [str(row[0]) for row in schema]
        # Columns are named only if they are among ours.
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {source}", [file.place]).fetchall()  # noqa: S608
        names = [str(row[0]) for row in described]
        given = [name for name in names if name in wanted]
        for name in given:
            if stored.count(name) > 1:
                raise DataError(
                    file.path, f"has {stored.count(name)} columns {name}: which one counts? rename the others"
                )
        if not given:
            raise DataError(file.path, none_of(wanted, names, what))
        check_names(wanted, names, file.path)
        counted = self._connection.execute(f"SELECT count(*) FROM {source}", [file.place])  # noqa: S608
        self.n = int(counted.fetchone()[0])
        if self.n > MAX_ROWS:
            raise DataError(file.path, f"has more than {MAX_ROWS:,} rows, the maximum: split it")
        kinds = {str(row[0]): str(row[1]) for row in described}
        self._chosen = ", ".join(_chosen(name, kinds[name]) for name in given)
        # Row groups outside of a range of this number are not read; a file may have a column that is called so.
        self._numbered = _ROW not in (name.lower() for name in names)

    def rows(self, start: int, count: int) -> dict[str, Any]:
        """Some rows in the order of the file, as DuckDB gives them: arrays, masked where there are none."""
        if self._numbered:
            source = f"read_parquet(?, hive_partitioning=false, filename=false, {_ROW}=true)"
            which, values = f"WHERE {_ROW} >= ? AND {_ROW} < ?", [start, start + count]
        else:
            source = "read_parquet(?, hive_partitioning=false, filename=false)"
            which, values = "LIMIT ? OFFSET ?", [count, start]
        with self._told():
            sql = f"SELECT {self._chosen} FROM {source} {which}"  # noqa: S608
            found: dict[str, Any] = self._connection.execute(sql, [self._file.place, *values]).fetchnumpy()
        return found

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        import duckdb  # noqa: PLC0415 - heavy

        try:
            yield
        except (duckdb.Error, MemoryError) as error:
            memory = isinstance(error, MemoryError | duckdb.OutOfMemoryException)
            reason = (
                "needs more memory than there is: split it" if memory else "is not Parquet, or broken: write it again"
            )
            raise DataError(self._file.path, reason) from None
