"""What a new search starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arbd.analysis import TuningAnalyzer, load_results_from_csv
from arbd.analysis.export import export_session
from arbd.errors import DataError
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.results.warm_start import past_reader
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

TABLE = """session_id,worker_id,iteration,status,timestamp,duration_s,attempt,error,param_code,param_x,metric_value
s,w,1,completed,,0.1,1,,1,0.25,5.0
s,w,2,completed,,0.1,1,,05,0.5,6.0
s,w,3,completed,,0.1,1,,2,0.75,7.0
"""
JOB = """
objective: {python: 'm:f'}
metric: value
tuning:
  method: tpe
  max_iterations: 20
  start_from: first.csv
  search_space:
    code: {type: choice, values: ['1', '05', 2]}
    x: {type: float, bounds: [0, 1]}
"""


def test_choices_that_are_texts_and_read_as_numbers_come_back_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "first.csv").write_text(TABLE)
    (tmp_path / "m.py").write_text("def f(params):\n    return {'value': params['x']}\n")
    read = past_reader(SpoolLayout(tmp_path / "spool"))
    spec = resolve_job(parse_job(JOB, "job.yaml"), base_dirs=[tmp_path], session_id="next", past=read)
    assert spec.past is not None
    assert [point["code"] for point in spec.past.points] == ["1", "05", 2]


def test_choices_that_a_table_writes_alike_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "first.csv").write_text(TABLE)
    (tmp_path / "m.py").write_text("def f(params):\n    return {'value': params['x']}\n")
    job = JOB.replace("['1', '05', 2]", "['2', '05', 2]")
    read = past_reader(SpoolLayout(tmp_path / "spool"))
    spec = resolve_job(parse_job(job, "job.yaml"), base_dirs=[tmp_path], session_id="next", past=read)
    assert spec.past is not None
    assert [point["code"] for point in spec.past.points] == ["05"]
    assert "1 have a choice that the table does not tell from another and are left out" in spec.notices[0]


@pytest.fixture
def halved(layout: SpoolLayout) -> SpoolLayout:
    """A session over shares of the data: of a ninth and of all, one of each worked and one failed."""
    paths = make_session(layout, 4, "halved", method="successive_halving", generation_size=2)
    rows = rows_of(1, 4)
    rows = replace(
        rows,
        status=np.array([0, FAILED, 0, FAILED], dtype=np.uint8),
        metrics={"value": np.array([9.0, np.nan, 2.0, np.nan]), "budget": np.array([1 / 9, 1 / 9, 1.0, 1.0])},
        errors={2: "broken", 4: "broken"},
    )
    write_rows(paths, "a", rows)
    exhaust(paths, 4, (2, 2, 0, 0))
    return layout


@pytest.mark.parametrize("source", ["halved", "halved.csv"])
def test_what_failed_on_a_share_of_the_data_failed_on_that_share(
    halved: SpoolLayout, tmp_path: Path, source: str
) -> None:
    if source.endswith(".csv"):
        assert export_session(halved.root, "halved", "csv", tmp_path / source) == 4
    found = past_reader(halved)(source, [tmp_path])
    assert [(result.budget, bool(result.metrics)) for result in found] == [
        (1 / 9, True), (1 / 9, False), (1.0, True), (1.0, False),
    ]  # fmt: skip


def test_a_table_ranks_results_of_more_of_the_data_first(halved: SpoolLayout, tmp_path: Path) -> None:
    export_session(halved.root, "halved", "csv", tmp_path / "t.csv")
    analyzer = TuningAnalyzer(load_results_from_csv(tmp_path / "t.csv"))
    assert [result.iteration for result in analyzer.rank_by_metric("value")] == [3, 1]


def test_a_budget_that_is_none_is_refused_with_its_row(halved: SpoolLayout, tmp_path: Path) -> None:
    export_session(halved.root, "halved", "csv", tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace(",1.0,maximize", ",1.5,maximize"))
    with pytest.raises(DataError, match=r"t\.csv, row 3: a budget is above 0 and at most 1, not 1\.5"):
        load_results_from_csv(tmp_path / "t.csv")
