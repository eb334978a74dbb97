"""A session whose parameters exist only under conditions: what its objective gets, and what every output says."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from arbd.analysis.report.content import report_content
from arbd.analysis.table import load_table
from arbd.api.session import Session
from arbd.paper.objective import PaperObjective
from arbd.results.csv_reader import load_results_from_csv
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl
from tests.jobs import write_job
from tests.paper.markets import random_quotes

SPACE: dict[str, Any] = {
    "strategy": {"type": "choice", "values": ["plain", "band"]},
    "window": {"type": "float", "bounds": [0, 1], "when": {"strategy": "band"}},
    "depth": {"type": "int", "bounds": [1, 3], "when": {"strategy": ["band"]}},
    "side": {"type": "choice", "values": ["both", "one"], "when": {"depth": [2, 3]}},
}
OBJECTIVE = """
def one(params):
    expected = {"strategy"} if params["strategy"] == "plain" else {"strategy", "window", "depth"}
    if params.get("depth", 1) > 1: expected.add("side")
    if set(params) != expected: raise ValueError(sorted(params))
    return {"value": float(len(params)) - params.get("window", 0.5)}
"""
BATCH = (
    OBJECTIVE
    + """
import numpy as np
def evaluate_batch(columns):
    values = []
    for strategy, window, depth, side in zip(*(columns[n] for n in ("strategy", "window", "depth", "side"))):
        given = {"strategy": strategy, "window": window, "depth": depth, "side": side}
        params = {n: v for n, v in given.items() if v is not None and v == v}
        values.append(one(params)["value"])
    return {"value": np.array(values)}
"""
)
N = 40


def existing(params: Mapping[str, Any]) -> set[str]:
    names = {"strategy"} | ({"window", "depth"} if params["strategy"] == "band" else set())
    return names | ({"side"} if params.get("depth", 1) > 1 else set())


@pytest.fixture(params=["one", "batch"])
def session(request: pytest.FixtureRequest, arbctl: Arbctl, objectives: Path, tmp_path: Path) -> str:
    # Modules of different tests have different names: this process loads each once.
    (objectives / f"branches_{request.param}.py").write_text(OBJECTIVE if request.param == "one" else BATCH)
    job = write_job(tmp_path / "job.yaml", f"branches_{request.param}:one", N, space=SPACE, results={"csv": True})
    code, _, err = arbctl("run", job, "--session-id", "s")
    assert code == 0, err
    return "s"


def test_the_objective_gets_what_exists_and_so_does_every_output(
    arbctl: Arbctl, layout: SpoolLayout, session: str, tmp_path: Path
) -> None:
    found = [
        json.loads(line) for line in arbctl("export", session, "--format", "jsonl", "--output", "-")[1].splitlines()
    ]
    assert [row["status"] for row in found] == ["completed"] * N
    assert all(set(row["params"]) == existing(row["params"]) for row in found)
    assert {len(row["params"]) for row in found} == {1, 3, 4}

    for table in (layout.session(session).results_csv, tmp_path / "out.csv"):
        if not table.exists():
            assert arbctl("export", session, "--format", "csv", "--output", table)[0] == 0
        with table.open(newline="") as stream:
            cells = list(csv.DictReader(stream))
        assert [{n for n in SPACE if row[f"param_{n}"]} for row in cells] == [set(row["params"]) for row in found]
        assert [dict(result.params) for result in load_results_from_csv(table)] == [row["params"] for row in found]

    assert arbctl("export", session, "--format", "msgpack", "--output", tmp_path / "out.msgpack")[0] == 0
    with (tmp_path / "out.msgpack").open("rb") as stream:
        assert [row["params"] for row in msgpack.Unpacker(stream)] == [row["params"] for row in found]

    duckdb = pytest.importorskip("duckdb")
    assert arbctl("export", session, "--format", "parquet", "--output", tmp_path / "out.parquet")[0] == 0
    columns = ", ".join(f"param_{name}" for name in SPACE)
    rows = duckdb.sql(f"SELECT {columns} FROM '{tmp_path / 'out.parquet'}' ORDER BY iteration").fetchall()
    assert [{n: v for n, v in zip(SPACE, row, strict=True) if v is not None} for row in rows] == [
        row["params"] for row in found
    ]

    for form in ("summary", "best"):
        code, out, err = arbctl(form, session)
        assert (code, "nan" in out, "None" in out) == (0, False, False), (out, err)
    assert json.loads(arbctl("best", session, "--format", "json")[1]) in [row["params"] for row in found]

    results = Session(layout.root, session).results
    assert results.to_pandas()["window"].isna().tolist() == ["window" not in row["params"] for row in found]
    plain = results._plain()
    assert [v for v in plain["depth"] if v is not None] == [
        r["params"]["depth"] for r in found if "depth" in r["params"]
    ]
    assert plain["side"] == [row["params"].get("side") for row in found]
    report_draws_what_exists(layout, session)
    code, out, err = arbctl("replay", session, "1")
    assert code == 0, out + err


def report_draws_what_exists(layout: SpoolLayout, session: str) -> None:
    content = report_content(load_table(layout.root, session), "value", False, "")
    figures = content["figures"]
    for name in SPACE:
        drawn = [value is not None for value in figures["params"][name]]
        rows = {row["iteration"]: name in row["params"] for row in content["ranking"]}
        assert drawn == [rows[iteration] for iteration in figures["iteration"]]
    shares = {one["name"]: one["share"] for one in figures["importance"]}
    # Among the sets that have a window it explains nearly all but what the number of parameters does.
    assert shares["window"] > 0.1
    assert shares["strategy"] > 0.5
    for contour in figures["contours"]:
        have = [row for row in content["ranking"] if {contour["x"], contour["y"]} <= row["params"].keys()]
        assert sum(mean is not None for mean in contour["means"]) <= len(have)


@pytest.mark.parametrize("session", ["one"], indirect=True)
def test_a_session_goes_on_from_one_with_conditions_and_from_its_table(
    arbctl: Arbctl, layout: SpoolLayout, session: str, objectives: Path, tmp_path: Path
) -> None:
    assert arbctl("export", session, "--format", "csv", "--output", tmp_path / "past.csv")[0] == 0
    for name, source in (("from-session", session), ("from-table", str(tmp_path / "past.csv"))):
        job = write_job(tmp_path / "job.yaml", "branches_one:one", 4, space=SPACE, method="tpe")
        code, _, err = arbctl("run", job, "--session-id", name, "--set", f"tuning.start_from={source}")
        assert code == 0, err
    rows = [load_table(layout.root, name).rows.params for name in ("from-session", "from-table")]
    assert all(np.array_equal(rows[0][name], rows[1][name]) for name in SPACE)


def test_the_engine_has_its_default_where_a_parameter_does_not_exist() -> None:
    objective = PaperObjective([random_quotes(1, 200)], {})
    columns = {"min_spread_pct": [0.1, None, 0.3], "max_hold_s": np.array([5.0, 6.0, 7.0])}
    together, _ = objective.evaluate_batch(columns)
    alone = [
        objective.evaluate({name: column[at] for name, column in columns.items() if column[at] is not None})[0]
        for at in range(3)
    ]
    for name, values in together.items():
        assert np.array_equal(values, [each[name] for each in alone], equal_nan=True)
