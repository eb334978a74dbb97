"""Parquet: the table of a session by column."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis.export_format import FRONT, ExportFormat
from arbd.analysis.table import ResultTable
from arbd.arrays import Array
from arbd.atomic_file import whole_file
from arbd.results.cells import time_cells
from arbd.results.columns import RowBatch
from arbd.results.csv_writer import (
    BUDGET,
    DIRECTION_PREFIX,
    FEASIBLE,
    FIXED,
    FOLD,
    METRIC_PREFIX,
    OLD_BUDGET,
    PARAM_PREFIX,
    PHASE,
    VIOLATION,
    status_name,
)
from arbd.results.store_format import ResultGroup
from arbd.search.plan import RUN
from arbd.search.space import ChoiceDimension, Dimension
from arbd.spool.ledger import COMPLETED

# So many rows at a time are in memory.
PART_ROWS = 65_536
MEMORY = "192MB"


def _write(table: ResultTable, output: Path) -> int:
    import duckdb  # noqa: PLC0415 - heavy, and only this format needs it

    with (
        whole_file(output) as path,
        tempfile.TemporaryDirectory(prefix=".arbd-parts-", dir=_parts_folder(path)) as folder,
        contextlib.closing(duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": folder})) as connection,
    ):
        connection.execute("SET enable_progress_bar = false")
        parts: list[str] = []
        for columns in _parts(table):
            connection.register("columns", columns)
            parts.append(_quoted(str(Path(folder, f"{len(parts)}.parquet"))))
            _copy(connection, f"SELECT {', '.join(_selected(columns))} FROM columns", parts[-1], "")  # noqa: S608
            connection.unregister("columns")
        _copy(
            connection,
            f"SELECT * FROM read_parquet([{', '.join(parts)}])",  # noqa: S608
            _quoted(str(path)),
            ", COMPRESSION zstd",
        )
    return len(table)


def _copy(connection: Any, query: str, target: str, more: str) -> None:
    connection.execute(f"COPY ({query}) TO {target} (FORMAT parquet{more})")


def _parts_folder(path: Path) -> Path | None:
    """Beside the file, which is on a disk with room, unless DuckDB would take its name for a pattern."""
    return None if set("*?[") & set(str(path.parent)) else path.parent


def _selected(columns: Mapping[str, Any]) -> Iterator[str]:
    """Texts by name as texts: rows that have none would make another type of them."""
    for name, column in columns.items():
        quoted = '"' + name.replace('"', '""') + '"'
        yield f"CAST({quoted} AS VARCHAR) AS {quoted}" if column.dtype == object else quoted


def _quoted(text: str) -> str:
    """A string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _parts(table: ResultTable) -> Iterator[dict[str, Any]]:
    """The columns of some rows after the other."""
    start = 0
    for group in table.source.groups():
        for at in range(0, len(group.rows), PART_ROWS):
            chosen = slice(at, at + PART_ROWS)
            part = ResultGroup(group.rows.select(chosen), group.worker[chosen], group.workers)
            yield parquet_columns(table, part, start)
            start += len(part.rows)
    if not start:
        yield parquet_columns(table, ResultGroup(table.rows, table.worker, ()), 0)


def parquet_columns(table: ResultTable, group: ResultGroup, start: int) -> dict[str, Any]:
    """The columns of a group, which begins at row `start`, by the names of the CSV form; a metric that a row lacks is NaN."""
    rows, spec = group.rows, table.spec
    n = len(rows)
    origins = rows.origins
    completed = (rows.status == COMPLETED) & (origins >= RUN)
    pairs = zip(rows.status.tolist(), origins.tolist(), strict=True)
    workers = np.array(group.workers, dtype=object)
    fixed = {
        "session_id": np.full(n, table.session_id, dtype=object),
        "worker_id": workers[group.worker] if n else workers[:0],
        "iteration": rows.iteration,
        "status": np.array([status_name(*pair) for pair in pairs], dtype=object),
        "timestamp": np.array(time_cells(rows.ended_ns), dtype=object),
        "duration_s": rows.duration_s,
        "attempt": rows.attempt,
        "error": np.array([rows.errors.get(i, "") for i in rows.iteration.tolist()], dtype=object),
    }
    assert tuple(fixed) == FIXED
    exist = spec.space.active(rows.params)
    params = {PARAM_PREFIX + d.name: _param(d, rows.params[d.name], exist.get(d.name)) for d in spec.space.dimensions}
    nothing = np.full(n, np.nan)
    metrics = {
        METRIC_PREFIX + name: np.where(completed, rows.metrics.get(name, nothing), np.nan)
        for name in table.metric_names
    }
    return {**fixed, **params, **metrics, **_more(table, rows, completed, slice(start, start + n))}


def _param(dimension: Dimension, column: Array, exists: Array | None) -> Array:
    """Values as they are, null where there is none; a choice of several types becomes text, whichever some rows have."""
    absent = np.zeros(len(column), dtype=bool) if exists is None else ~exists
    if isinstance(dimension, ChoiceDimension):
        known = [value for value in dimension.values if value is not None]
        kinds = {type(value) for value in known}
        form = next((form for form in (bool, int, float) if kinds == {form}), object)
        form = float if kinds == {int, float} else form
        text = str if form is object and len(kinds) > 1 else lambda value: value
        values = [(known or [""])[0] if value is None else text(value) for value in dimension.values]
        absent |= np.array([value is None for value in dimension.values])[column]
        column = np.array(values, dtype=form)[column]
    if not absent.any():
        return column
    if column.dtype != object:
        return np.ma.masked_array(column, mask=absent)
    column[absent] = None
    return column


def _more(table: ResultTable, rows: RowBatch, completed: Array, chosen: slice) -> dict[str, Any]:
    """Budget, constraints, phases, directions and the Pareto front, where the job has them."""
    n, spec = len(rows), table.spec
    more: dict[str, Any] = {}
    if table.budget is not None:
        budget = rows.metrics.get(BUDGET, np.full(n, np.nan))
        more |= {OLD_BUDGET: budget, BUDGET: budget}
    if spec.constraints:
        violation = np.zeros(n) if table.violation is None else table.violation[chosen]
        more |= {
            FEASIBLE: np.asarray(table.ranking.feasible)[chosen],
            VIOLATION: np.where(completed, violation, np.nan),
        }
    if spec.validation is not None:
        layout = spec.layout
        places = [layout.stretches[at] for at in layout.indices(rows.iteration).tolist()]
        more[PHASE] = np.array([str(place.phase) for place in places], dtype=object)
        more[FOLD] = np.array([place.fold for place in places], dtype=np.int64)
    more |= {DIRECTION_PREFIX + goal.name: np.full(n, goal.direction, dtype=object) for goal in spec.metrics}
    return more | ({FRONT: np.asarray(table.ranking.in_front)[chosen]} if len(spec.metrics) > 1 else {})


FORMAT = ExportFormat(summary="A table by column, for pandas, polars, DuckDB.", write=_write)
