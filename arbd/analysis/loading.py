"""Results from where they are kept: a table in CSV, or a session in a spool."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from arbd.errors import DataError
from arbd.spool.csvfile import FIXED, METRIC_PREFIX, PARAM_PREFIX
from arbd.tuning.result import TuningResult

_REQUIRED = ("session_id", "worker_id", "iteration", "status")


def load_results_from_csv(csv_path: str | Path) -> list[TuningResult]:
    """Read a results table as arbd writes it. DataError names the file and the row that is wrong.

    Parameters become int or float where they read as numbers, True and False where they say so, text otherwise.
    """
    path = Path(csv_path)
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


def _result(path: Path, number: int, row: Mapping[str | None, str | None]) -> TuningResult:
    if None in row or None in row.values():
        raise DataError(path, "has another number of cells than the first line has columns", number)
    cells = {str(name): str(cell) for name, cell in row.items()}
    try:
        return TuningResult(
            session_id=cells["session_id"],
            worker_id=cells["worker_id"],
            iteration=int(cells["iteration"]),
            params={n.removeprefix(PARAM_PREFIX): _value(c) for n, c in cells.items() if n.startswith(PARAM_PREFIX)},
            metrics={
                n.removeprefix(METRIC_PREFIX): float(c) for n, c in cells.items() if n.startswith(METRIC_PREFIX) and c
            },
            timestamp=cells.get("timestamp", ""),
            status=cells["status"],
            duration_s=float(cells.get("duration_s") or "nan"),
            attempt=int(cells.get("attempt") or 1),
            error=cells.get("error", ""),
        )
    except ValueError as error:
        raise DataError(path, f"{error}", number) from error


def _value(cell: str) -> float | int | str | bool:
    if cell in ("True", "False"):
        return cell == "True"
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def load_session(spool: str | Path, session_id: str) -> list[TuningResult]:
    """All results of a session, finished or still running, sorted by iteration. NotFoundError when there is none."""
    from arbd.analysis.table import load_table  # noqa: PLC0415 - CSV readers need no numpy

    table = load_table(Path(spool), session_id)
    return table.results(range(len(table)))


__all__ = ["FIXED", "load_results_from_csv", "load_session"]
