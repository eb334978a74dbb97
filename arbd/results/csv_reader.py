"""Reads a results table in CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from arbd.errors import DataError
from arbd.named_file import NamedFile, opened
from arbd.plain_json import NULL
from arbd.results.csv_writer import (
    BUDGET,
    DIRECTION_PREFIX,
    FEASIBLE,
    FOLD,
    METRIC_PREFIX,
    OLD_BUDGET,
    PARAM_PREFIX,
    PHASE,
    VIOLATION,
    plain_text,
)
from arbd.results.result import TuningResult
from arbd.search.space import Value

FEWER = "export the best of them (`arbctl export`), and name that table"
DELIMITERS = (",", ";", "\t")
MAX_HEADER_CHARS = 1 << 20
_REQUIRED = ("session_id", "worker_id", "iteration", "status")
_TEXTS = ("session_id", "worker_id", "status", "timestamp", "error")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
# What pandas calls the column of row numbers that it writes.
_INDEX = re.compile(r"|index|Unnamed: \d+")


def load_results_from_csv(csv_path: str | Path) -> list[TuningResult]:
    """Read a results table as arbd writes it. DataError names the file and the row that is wrong.

    Parameters become int or float where they read as numbers, True, False and null where they say so, text otherwise; an
    empty cell is a parameter that the row does not have. The table may have gone through a spreadsheet or pandas: cells
    separated by what the first line separates them by, a byte order mark, integers as 1.0, decimal commas beside
    semicolons, an index column, empty lines.

    Results carry the directions and constraints of their job, where the table has them (`direction_...`, `feasible`).
    """
    return [result for result, _ in read_table(Path(csv_path))]


def read_table(file: Path | NamedFile, max_rows: int | None = None) -> list[tuple[TuningResult, dict[str, str]]]:
    """The same, each result with its parameters as they are written; DataError when there are more than `max_rows`."""
    with opened(file) as named, named.stream() as stream:
        path = named.path
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        try:
            dialect, names = _first_line(text, path)
            rows = csv.reader(text, delimiter=dialect, strict=True)
            found: list[tuple[TuningResult, dict[str, str]]] = []
            for number, cells in enumerate((cells for cells in rows if any(cells)), 1):
                if max_rows is not None and number > max_rows:
                    raise DataError(path, f"has more than {max_rows:,} results, the maximum: {FEWER}")
                if len(cells) != len(names):
                    raise DataError(
                        path,
                        f"has another number of cells ({len(cells)}) than the first line has columns ({len(names)})",
                        number,
                    )
                row = {name: cell for name, cell in zip(names, cells, strict=True) if name}
                found.append(_result(path, number, _with_points(row) if dialect == ";" else row))
        except UnicodeDecodeError:
            raise DataError(path, "cannot be read as a table: it is not UTF-8 text, save it as CSV in UTF-8") from None
        except (OSError, csv.Error, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise DataError(path, f"cannot be read as a table: {reason}") from error
        return found


def _first_line(text: io.TextIOWrapper, path: Path) -> tuple[str, list[str]]:
    """What separates cells, and the names of the columns, empty for those of no interest."""
    line = text.readline(MAX_HEADER_CHARS)
    if len(line) == MAX_HEADER_CHARS:
        raise DataError(
            path, f"has a first line of more than {MAX_HEADER_CHARS:,} characters; is it a results table of arbd?"
        )
    cells = {delimiter: next(csv.reader([line], delimiter=delimiter), []) for delimiter in DELIMITERS}
    delimiter = max(cells, key=lambda each: len(cells[each]))
    names = [cell.strip() for cell in cells[delimiter]]
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise DataError(path, f"no column {', '.join(missing)}; is it a results table of arbd?")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            path, f"has {names.count(twice)} columns {twice}: which one counts? rename or remove the others"
        )
    return delimiter, ["" if _INDEX.fullmatch(name) else name for name in names]


def _with_points(row: Mapping[str, str]) -> dict[str, str]:
    """Numbers as they are written where a comma is the decimal sign, and the semicolon separates cells."""
    return {
        name: cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) and name not in _TEXTS else cell
        for name, cell in row.items()
    }


def _result(path: Path, number: int, cells: Mapping[str, str]) -> tuple[TuningResult, dict[str, str]]:
    params = {name.removeprefix(PARAM_PREFIX): cell for name, cell in cells.items() if name.startswith(PARAM_PREFIX)}
    try:
        result = TuningResult(
            session_id=_text(cells["session_id"]),
            worker_id=_text(cells["worker_id"]),
            iteration=_whole("iteration", cells["iteration"]),
            params={name: _value(cell) for name, cell in params.items() if cell},
            metrics={
                n.removeprefix(METRIC_PREFIX): _number(n, c)
                for n, c in cells.items()
                if n.startswith(METRIC_PREFIX) and c
            },
            timestamp=cells.get("timestamp", ""),
            status=cells["status"],
            duration_s=_number("duration_s", cells.get("duration_s") or "nan"),
            attempt=_whole("attempt", cells.get("attempt") or "1"),
            error=_text(cells.get("error", "")),
            duplicate_of=_whole("duplicate_of", cells.get("duplicate_of") or "0"),
            budget=_budget(cells.get(BUDGET) or cells.get(OLD_BUDGET) or "1.0"),
            violation=_violation(cells) if cells["status"] == "completed" else 0.0,
            directions={
                n.removeprefix(DIRECTION_PREFIX): _direction(n, c)
                for n, c in cells.items()
                if n.startswith(DIRECTION_PREFIX) and c
            },
            phase=cells.get(PHASE) or "search",
            fold=_whole(FOLD, cells.get(FOLD) or "0"),
        )
    except ValueError as error:
        raise DataError(path, str(error), number) from None
    return result, {name: _text(cell) for name, cell in params.items()}


def _number(name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{name} is {cell[:100]!r}, not a number") from None


def _whole(name: str, cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        number = _number(name, cell)
        if not number.is_integer():
            raise ValueError(f"{name} is {cell[:100]!r}, not an integer") from None
        return int(number)


def _budget(cell: str) -> float:
    budget = _number(BUDGET, cell)
    if not 0.0 < budget <= 1.0:
        raise ValueError(f"a budget is above 0 and at most 1, not {cell}")
    return budget


def _violation(cells: Mapping[str, str]) -> float:
    """By how much a result breaks its constraints; tables of earlier versions tell no more than whether it does."""
    if cells.get(VIOLATION):
        return _number(VIOLATION, cells[VIOLATION])
    return float("inf") if cells.get(FEASIBLE, "").lower() in ("false", "0") else 0.0


def _direction(name: str, cell: str) -> str:
    if cell not in ("maximize", "minimize"):
        raise ValueError(f"{name} is maximize or minimize, not {cell!r}")
    return cell


def _text(cell: str) -> str:
    marked = plain_text(cell)
    return cell if marked is None else marked


def _value(cell: str) -> Value:
    marked = plain_text(cell)
    if marked is not None:
        return marked
    if cell == NULL:
        return None
    if cell in ("True", "False", "TRUE", "FALSE"):
        return cell in ("True", "TRUE")
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell
