"""Parquet: the table of a session by column."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis.export_format import ExportFormat, more_columns
from arbd.analysis.table import ResultTable
from arbd.atomic_file import whole_file
from arbd.results.cells import iso_utc
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


def _write(table: ResultTable, output: Path) -> int:
    import duckdb  # noqa: PLC0415 - heavy, and only this format needs it

    columns = parquet_columns(table)
    with whole_file(output) as path, contextlib.closing(duckdb.connect()) as connection:
        connection.register("columns", columns)
        target = str(path).replace("'", "''")
        connection.execute(f"COPY (SELECT * FROM columns) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")  # noqa: S608
    return len(table)


def parquet_columns(table: ResultTable) -> dict[str, Any]:
    """The table's columns by the names of the CSV form; a metric that a row does not have is NaN."""
    rows = table.rows
    n = len(rows)
    fixed = {
        "session_id": np.full(n, table.session_id, dtype=object),
        "worker_id": np.array(table.workers, dtype=object)[table.worker] if n else np.empty(0, dtype=object),
        "iteration": rows.iteration,
        "status": np.array(
            [status_name(*pair) for pair in zip(rows.status.tolist(), rows.origins.tolist(), strict=True)], dtype=object
        ),
        "timestamp": np.array([iso_utc(ns) for ns in rows.ended_ns.tolist()], dtype=object),
        "duration_s": rows.duration_s,
        "attempt": rows.attempt,
        "error": np.array([rows.errors.get(i, "") for i in rows.iteration.tolist()], dtype=object),
    }
    assert tuple(fixed) == FIXED
    params = {PARAM_PREFIX + name: np.asarray(values) for name, values in _decoded(table).items()}
    absent = ~table.completed
    metrics = {METRIC_PREFIX + name: np.where(absent, np.nan, column) for name, column in rows.metrics.items()}
    budget = table.budget
    more: dict[str, Any] = {} if budget is None else {OLD_BUDGET: rows.metrics[BUDGET], BUDGET: rows.metrics[BUDGET]}
    if table.spec.constraints:
        violation = np.zeros(n) if table.violation is None else table.violation
        more |= {FEASIBLE: table.ranking.feasible, VIOLATION: np.where(absent, np.nan, violation)}
    if table.spec.validation is not None:
        layout = table.spec.layout
        places = [layout.stretches[at] for at in layout.indices(rows.iteration).tolist()]
        more[PHASE] = np.array([str(place.phase) for place in places], dtype=object)
        more[FOLD] = np.array([place.fold for place in places], dtype=np.int64)
    more |= {DIRECTION_PREFIX + goal.name: np.full(n, goal.direction, dtype=object) for goal in table.spec.metrics}
    more |= {name: np.array(column, dtype=bool) for name, column in more_columns(table).items()}
    return {**fixed, **params, **metrics, **more}


def _decoded(table: ResultTable) -> dict[str, Any]:
    """Parameters by name; null where a row does not have one."""
    found = table.spec.space.decode(dict(table.rows.params))
    for name, exists in table.spec.space.active(table.rows.params).items():
        column = np.asarray(found[name], dtype=object)
        if column.dtype == object and not isinstance(found[name], list):
            column = table.rows.params[name].astype(object)
            column[~exists] = None
        found[name] = column
    return found


FORMAT = ExportFormat(summary="A table by column, for pandas, polars, DuckDB.", write=_write)
