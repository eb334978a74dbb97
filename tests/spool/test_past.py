"""What a new search starts from."""

from __future__ import annotations

from pathlib import Path

from arbd.spool.layout import SpoolLayout
from arbd.spool.past import past_reader
from arbd.tuning.jobfile import parse_job
from arbd.tuning.resolve import resolve_job

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
