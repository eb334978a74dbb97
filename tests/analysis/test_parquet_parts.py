"""Parquet by parts: whatever some rows of a part lack, columns have one type, and values are those of the CSV form."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from arbd.analysis.export import export_session
from arbd.analysis.formats import parquet
from arbd.results.compaction import compact
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

SPACE = SearchSpace(
    (
        FloatDimension("x", 0.0, 1.0),
        IntDimension("level", 0, 9),
        ChoiceDimension("kind", (1, "up", 2.5)),
        ChoiceDimension("size", (1, 2.5)),
        ChoiceDimension("text", ("a,b", 'say "no"')),
    )
)


@pytest.mark.parametrize("part_rows", [1, 3, 1_000])
@pytest.mark.parametrize("folder", ["plain", "with [brackets] and 'quotes'*"])
def test_parts_make_the_table_of_the_csv_form(
    layout: SpoolLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_rows: int, folder: str
) -> None:
    monkeypatch.setattr(parquet, "PART_ROWS", part_rows)
    paths = make_session(layout, 8, space=SPACE)
    iteration = np.arange(1, 9)
    params = {
        "x": iteration / 8,
        "level": iteration % 10,
        "kind": iteration % 3,
        "size": iteration % 2,
        "text": iteration % 2,
    }
    rows = replace(rows_of(1, 5), params={name: column[:5] for name, column in params.items()})
    failed = replace(rows_of(6, 3, status=FAILED), params={name: column[5:] for name, column in params.items()})
    write_rows(paths, "a", rows, failed)
    exhaust(paths, 8, (5, 3, 0, 0))
    compact(Files(), paths)
    (tmp_path / folder).mkdir()
    files = [tmp_path / folder / f"out.{form}" for form in ("parquet", "csv")]
    for file in files:
        export_session(layout.root, paths.session_id, file.suffix[1:], file)
    assert sorted(os.listdir(tmp_path / folder)) == ["out.csv", "out.parquet"]
    (tmp_path / "plain.parquet").write_bytes(files[0].read_bytes())
    (tmp_path / "plain.csv").write_bytes(files[1].read_bytes())
    found = duckdb.sql(f"SELECT * FROM '{tmp_path}/plain.parquet'")
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    kinds = [types[f"param_{name}"] for name in ("x", "level", "kind", "size", "text")]
    assert kinds == ["DOUBLE", "BIGINT", "VARCHAR", "DOUBLE", "VARCHAR"]
    names = [name for name in found.columns if name not in ("metric_value", "error")]
    listed = ", ".join(names)
    csv = duckdb.sql(f"SELECT {listed} FROM read_csv('{tmp_path}/plain.csv', all_varchar=true)").fetchall()
    same = duckdb.sql(
        f"SELECT {', '.join(f'CAST({n} AS VARCHAR)' for n in names)} FROM '{tmp_path}/plain.parquet'"
    ).fetchall()
    whole = [
        tuple("1.0" if (n, v) == ("param_size", "1") else v for n, v in zip(names, row, strict=True)) for row in csv
    ]
    assert same == whole
