"""Reads a results table in CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from arbd.errors import DataError
from arbd.results.csv_writer import METRIC_PREFIX, PARAM_PREFIX, SHARE, plain_text
from arbd.results.result import TuningResult

_REQUIRED = ("session_id", "worker_id", "iteration", "status")


def load_results_from_csv(csv_path: str | Path) -> list[TuningResult]:
    """Read a results table as arbd writes it. DataError names the file and the row that is wrong.

    Parameters become int or float where they read as numbers, True and False where they say so, text otherwise.
    """
    return [result for result, _ in read_table(Path(csv_path))]


def read_table(path: Path) -> list[tuple[TuningResult, dict[str, str]]]:
    """The same, each result with its parameters as they are written."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            missing = [name for name in _REQUIRED if name not in names]
            if missing:
                raise DataError(path, f"no column {', '.join(missing)}; is it a results table of arbd?")
            return [_result(path, number, row) for number, row in enumerate(reader, 1)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(path, f"cannot be read as a table: {reason}") from error


def _result(path: Path, number: int, row: Mapping[str | None, str | None]) -> tuple[TuningResult, dict[str, str]]:
    if None in row or None in row.values():
        raise DataError(path, "has another number of cells than the first line has columns", number)
    cells = {str(name): str(cell) for name, cell in row.items()}
    params = {name.removeprefix(PARAM_PREFIX): cell for name, cell in cells.items() if name.startswith(PARAM_PREFIX)}
    try:
        result = TuningResult(
            session_id=cells["session_id"],
            worker_id=cells["worker_id"],
            iteration=int(cells["iteration"]),
            params={name: _value(cell) for name, cell in params.items()},
            metrics={
                n.removeprefix(METRIC_PREFIX): float(c) for n, c in cells.items() if n.startswith(METRIC_PREFIX) and c
            },
            timestamp=cells.get("timestamp", ""),
            status=cells["status"],
            duration_s=float(cells.get("duration_s") or "nan"),
            attempt=int(cells.get("attempt") or 1),
            error=_text(cells.get("error", "")),
            data_share=_share(cells.get(SHARE) or "1.0"),
        )
    except ValueError as error:
        raise DataError(path, f"{error}", number) from error
    return result, {name: _text(cell) for name, cell in params.items()}


def _share(cell: str) -> float:
    share = float(cell)
    if not 0.0 < share <= 1.0:
        raise ValueError(f"a share of the data is above 0 and at most 1, not {cell}")
    return share


def _text(cell: str) -> str:
    marked = plain_text(cell)
    return cell if marked is None else marked


def _value(cell: str) -> float | int | str | bool:
    marked = plain_text(cell)
    if marked is not None:
        return marked
    if cell in ("True", "False"):
        return cell == "True"
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell
