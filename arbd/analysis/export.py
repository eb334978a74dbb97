"""A session's results in formats that other programs read."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from arbd.analysis.table import ResultTable, load_table
from arbd.atomic_file import check_output, whole_file
from arbd.errors import NotFoundError, UsageError
from arbd.results.csv_writer import FIXED, METRIC_PREFIX, PARAM_PREFIX, SHARE, csv_lines, iso_utc, status_name

FORMATS = ("csv", "parquet", "jsonl", "msgpack", "optuna")


def export_session(spool: Path, session_id: str, form: str, output: Path) -> int:
    """Write all results of a session, finished or still running, to `output`; the number of rows.

    The file appears whole, by rename. `-` is standard output, for csv, jsonl and msgpack. NotFoundError, after all that
    there is has been written, when recorded results are missing.
    """
    if str(output) != "-":
        check_output(output)
    table = load_table(spool, session_id, blocks=form == "msgpack")
    rows = _write(table, form, output)
    if table.missing:
        raise NotFoundError(f"session {session_id}: {rows:,} rows are in {output}, but {table.missing_text}")
    return rows


def _write(table: ResultTable, form: str, output: Path) -> int:
    if form == "optuna":
        from arbd.analysis.optuna_storage import write_storage  # noqa: PLC0415 - needed by this format alone

        return write_storage(table, output)
    if form == "parquet":
        if str(output) == "-":
            raise UsageError("parquet needs a file: --output FILE")
        _write_parquet(table, output)
        return len(table)
    chunks = {"csv": _csv, "jsonl": _jsonl, "msgpack": _msgpack}[form](table)
    if str(output) == "-":
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    else:
        with whole_file(output) as path, path.open("wb") as file:
            file.writelines(chunks)
    return len(table)


def _csv(table: ResultTable) -> Iterator[bytes]:
    return csv_lines(table.spec, table.session_id, table.source.groups(), more_columns(table))


def more_columns(table: ResultTable) -> dict[str, list[bool]]:
    """`pareto_front` of a session with several objectives, `feasible` of one with constraints."""
    more: dict[str, list[bool]] = {}
    if len(table.spec.metrics) > 1:
        more["pareto_front"] = table.in_front().tolist()
    if table.spec.constraints:
        more["feasible"] = (table.completed & ~table.breaking).tolist()
    return more


def _documents(table: ResultTable) -> Iterator[dict[str, Any]]:
    more = more_columns(table)
    for position, result in enumerate(table.results(range(len(table)))):
        document = result.to_plain() | {name: column[position] for name, column in more.items()}
        reports = table.rows.reports.get(result.iteration)
        if reports:
            document["reports"] = [list(step) for step in reports]
        if table.rows.blocks is not None:
            document["blocks"] = table.rows.blocks[position].tolist()
        yield document


def _jsonl(table: ResultTable) -> Iterator[bytes]:
    for document in _documents(table):
        yield (json.dumps(_finite(document), ensure_ascii=False) + "\n").encode()


def _finite(value: Any) -> Any:
    """JSON has no NaN: an undefined number is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _msgpack(table: ResultTable) -> Iterator[bytes]:
    """A plain stream of one map per row, as `msgpack.Unpacker` reads it."""
    for document in _documents(table):
        yield bytes(msgpack.packb(document))


def _write_parquet(table: ResultTable, output: Path) -> None:
    import duckdb  # noqa: PLC0415 - heavy, and only this format needs it

    columns = parquet_columns(table)
    with whole_file(output) as path, contextlib.closing(duckdb.connect()) as connection:
        connection.register("columns", columns)
        target = str(path).replace("'", "''")
        connection.execute(f"COPY (SELECT * FROM columns) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")  # noqa: S608


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
    params = {
        PARAM_PREFIX + name: np.asarray(values) for name, values in table.spec.space.decode(dict(rows.params)).items()
    }
    absent = ~table.completed
    metrics = {METRIC_PREFIX + name: np.where(absent, np.nan, column) for name, column in rows.metrics.items()}
    shares = {SHARE: rows.metrics["budget"]} if table.spec.has_shares and "budget" in rows.metrics else {}
    more = {name: np.array(column, dtype=bool) for name, column in more_columns(table).items()}
    return {**fixed, **params, **metrics, **shares, **more}
