"""Quotes from files: CSV (plain, gzip, zstd) and Parquet through DuckDB, NPZ through NumPy. The suffix decides."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.paper.market.quotes import COLUMNS, WHOLE, Quotes, build_quotes, check_shapes

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".npz")
# Other names and units in which files give the time: how many nanoseconds one is.
TIME_UNITS = {"ts_ns": 1, "ts_us": 1_000, "ts_ms": 1_000_000, "ts_s": 1_000_000_000}
TIME_NAMES = (*TIME_UNITS, "ts")


def read_quotes(path: Path, on_bad_rows: str = "refuse") -> tuple[Quotes, int]:
    """Quotes of a file, and how many bad rows were dropped; DataError with file, row and reason.

    Columns: `ts_ns` (or `ts_us`, `ts_ms`, `ts_s`, or `ts` in ISO 8601), `bid_a`, `ask_a`, `bid_b`, `ask_b`;
    optional are sizes, `fx`, `age_a_ns`, `age_b_ns` and `block`. Others are ignored. Rows keep their order.
    """
    path = Path(path)
    return build_quotes(read_columns(path, COLUMNS, "quotes"), path, on_bad_rows)


def read_columns(path: Path, names: Sequence[str], what: str) -> dict[str, npt.NDArray[Any]]:
    """The columns of `names` that a file has, and `ts_ns`; DataError calls what was looked for `what`."""
    suffix = suffix_of(path)
    if not path.is_file():
        raise DataError(path, "no such file")
    wanted = (*names, *TIME_NAMES)
    columns = _read_npz(path, wanted) if suffix == ".npz" else _read_table(path, suffix, wanted, what)
    return _with_time(columns, path)


def suffix_of(path: Path) -> str:
    """Which of `SUFFIXES` a file has; DataError for any other."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise DataError(path, f"cannot be told apart by its suffix; known are {', '.join(SUFFIXES)}")


def _read_npz(path: Path, wanted: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if name in wanted}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(path, f"not an NPZ file of plain arrays: {error}") from error
    check_shapes(found, path)
    return {name: _numbers(column, name, path) for name, column in found.items()}


def _read_table(path: Path, suffix: str, wanted: Sequence[str], what: str) -> dict[str, npt.NDArray[Any]]:
    import duckdb  # noqa: PLC0415 - heavy, and cached columns need no reader

    connection = duckdb.connect(config={"threads": 2})
    try:
        source = (
            "read_parquet(?)"
            if suffix == ".parquet"
            else f"read_csv(?, header=true, all_varchar=true{_packed(suffix)})"
        )
        # The file's name is bound, and columns are named only if they are among ours.
        described = connection.execute(f"DESCRIBE SELECT * FROM {source}", [str(path)]).fetchall()  # noqa: S608
        names = [row[0] for row in described]
        given = [name for name in names if name in wanted]
        if not given:
            raise DataError(path, f"has none of the columns of {what}; it has {', '.join(names[:20])}")
        chosen = ", ".join(f'"{name}"' for name in given)
        found = connection.execute(f"SELECT {chosen} FROM {source}", [str(path)]).fetchnumpy()  # noqa: S608
    except duckdb.Error as error:
        raise DataError(path, _first_sentence(error), _row_in(error)) from error
    finally:
        connection.close()
    return {name: _numbers(column, name, path) for name, column in found.items()}


def _packed(suffix: str) -> str:
    return {".csv.gz": ", compression='gzip'", ".csv.zst": ", compression='zstd'"}.get(suffix, "")


def _first_sentence(error: Exception) -> str:
    return "cannot be read: " + str(error).strip().splitlines()[0]


def _row_in(error: Exception) -> int | None:
    line = re.search(r"CSV Error on Line: (\d+)", str(error))
    return int(line.group(1)) - 1 if line else None


def _numbers(column: Any, name: str, path: Path) -> npt.NDArray[Any]:
    """A column as numbers (`ts` stays what it is); DataError names the first row that holds none."""
    values = np.asarray(column)
    if isinstance(column, np.ma.MaskedArray) and np.ma.is_masked(column):
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
                what = "whole number" if kind is np.int64 else "number"
                raise DataError(path, f"{name} is {shown}, not a {what}", row) from None
        raise


def _all_whole(values: npt.NDArray[Any]) -> bool:
    """Whether numbers are whole and fit into 64 bits with a sign."""
    if values.dtype.kind == "f":
        return bool(((values == np.rint(values)) & (np.abs(values) < 2.0**63)).all())
    return values.dtype.kind == "i" or not len(values) or int(values.max()) <= np.iinfo(np.int64).max


def _whole(value: Any) -> int:
    """A number or text as a whole number; ValueError where that would lose something."""
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


def _with_time(columns: dict[str, npt.NDArray[Any]], path: Path) -> dict[str, npt.NDArray[Any]]:
    """The columns with `ts_ns` made from whatever the file gives."""
    given = [name for name in TIME_NAMES if name in columns]
    if len(given) != 1:
        raise DataError(path, f"needs one time column of {', '.join(TIME_NAMES)}; it has {', '.join(given) or 'none'}")
    name = given[0]
    values = columns.pop(name)
    if name == "ts":
        columns["ts_ns"] = _parsed_times(values, path)
    else:
        if values.dtype.kind not in "iu":
            raise DataError(path, f"{name} holds {values.dtype}, not whole numbers")
        limit = np.iinfo(np.int64).max // TIME_UNITS[name]
        beyond = np.flatnonzero((values > limit) | (values < -limit))
        if len(beyond):
            raise DataError(path, f"{name} holds times beyond the year 2262", int(beyond[0]) + 1)
        columns["ts_ns"] = values.astype(np.int64) * TIME_UNITS[name]
    return columns


def _parsed_times(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int64]:
    if values.dtype.kind == "M":
        times = values.astype("datetime64[ns]")
        # A time out of range comes back as another one, NaT as none.
        lost = np.flatnonzero(np.isnat(values) | (times.astype(values.dtype) != values))
        if len(lost):
            raise DataError(path, _no_time(values[lost[0]]), int(lost[0]) + 1)
        return times.astype(np.int64)
    parsed = np.empty(len(values), dtype=np.int64)
    for row, text in enumerate(values.tolist()):
        try:
            parsed[row] = _nanoseconds(str(text).strip())
        except ValueError as error:
            raise DataError(path, _no_time(text), row + 1) from error
    return parsed


def _nanoseconds(text: str) -> int:
    """A time in ISO 8601; ValueError for what is none, or does not fit."""
    plain = text.replace(" ", "T").removesuffix("Z").removesuffix("+00:00")
    # Words such as NaT and now are times to NumPy, and a time out of range comes back as another one.
    if not plain[:1].isdigit():
        raise ValueError(text)
    time = np.datetime64(plain)
    exact = time.astype("datetime64[ns]")
    if exact.astype(time.dtype) != time:
        raise ValueError(text)
    return int(exact.astype(np.int64))


def _no_time(value: object) -> str:
    return f"ts is {str(value)!r}, not a UTC time in ISO 8601 to the nanosecond, from 1678 to 2262"
