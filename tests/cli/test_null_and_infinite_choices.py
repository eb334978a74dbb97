"""null and infinite numbers as values of a choice: the same value for the objective and in every output."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import msgpack
import pytest
import yaml

from arbd.analysis.report.content import report_content
from arbd.analysis.table import load_table
from arbd.api.session import Session
from arbd.api.study import Study
from arbd.errors import UsageError
from arbd.results.csv_reader import load_results_from_csv
from arbd.search.samplers import built_in
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl
from tests.jobs import write_job

VALUES = [None, math.inf, -math.inf, 1.5, "none", True]
# What CSV, shell variables, tables and pages say of each; JSON says it of infinite numbers, and null of null.
TEXTS = ["null", "inf", "-inf", "1.5", "none", "True"]
OBJECTIVE = f"""
inf = float("inf")
VALUES = {VALUES!r}
def objective(params):
    at = [(type(value), value) for value in VALUES].index((type(params["stop"]), params["stop"]))
    return {{"value": float(at)}}
"""


@pytest.fixture
def session(arbctl: Arbctl, objectives: Path, tmp_path: Path) -> str:
    (objectives / "stops.py").write_text(OBJECTIVE)
    space = {"stop": {"type": "choice", "values": VALUES}}
    job = write_job(tmp_path / "job.yaml", "stops:objective", len(VALUES), space=space, method="grid")
    code, _, err = arbctl("run", job, "--session-id", "s")
    assert code == 0, err
    return "s"


def test_every_output_has_the_same_value(arbctl: Arbctl, layout: SpoolLayout, session: str, tmp_path: Path) -> None:
    for name in ("csv", "jsonl", "msgpack"):
        assert arbctl("export", session, "--format", name, "--output", tmp_path / f"out.{name}")[0] == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        cells = [(row["param_stop"], row["metric_value"]) for row in csv.DictReader(stream)]
    assert cells == [(text, repr(float(at))) for at, text in enumerate(TEXTS)]
    with (tmp_path / "out.msgpack").open("rb") as stream:
        assert [row["params"]["stop"] for row in msgpack.Unpacker(stream)] == VALUES
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    in_json = [None, "inf", "-inf", 1.5, "none", True]
    assert [row["params"]["stop"] for row in lines] == in_json
    read = [result.params["stop"] for result in load_results_from_csv(tmp_path / "out.csv")]
    assert list(map(repr, read)) == list(map(repr, VALUES))
    assert Session(layout.root, session).results.columns["stop"] == VALUES

    for at, text in enumerate(TEXTS):
        shown = json.loads(arbctl("replay", session, str(at + 1), "--json")[1], parse_constant=pytest.fail)
        assert shown["params"] == {"stop": in_json[at]}
        assert f"stop = {text}\n" in arbctl("replay", session, str(at + 1))[1]
    content = report_content(load_table(layout.root, session), "value", False, "")
    assert content["dimensions"][0]["values"] == TEXTS
    assert [row["params"]["stop"] for row in content["ranking"]] == ["null" if v is None else v for v in in_json][::-1]


@pytest.mark.parametrize("at", range(3))
def test_the_best_is_told_in_every_form(arbctl: Arbctl, objectives: Path, tmp_path: Path, at: int) -> None:
    (objectives / "stops.py").write_text(OBJECTIVE)
    space = {"stop": {"type": "choice", "values": [VALUES[at]]}}
    job = write_job(
        tmp_path / "job.yaml", "stops:objective", 1, space=space, method="grid", fixed={"limit": VALUES[at]}
    )
    assert arbctl("run", job, "--session-id", "s")[0] == 0
    expected = {"limit": VALUES[at], "stop": VALUES[at]}
    assert yaml.safe_load(arbctl("best", "s", "--format", "yaml")[1]) == expected
    found = json.loads(arbctl("best", "s", "--format", "json")[1], parse_constant=pytest.fail)
    assert {name: value if value is None else float(value) for name, value in found.items()} == expected
    assert arbctl("best", "s", "--format", "env")[1] == f"PARAM_LIMIT={TEXTS[at]}\nPARAM_STOP={TEXTS[at]}\n"
    assert TEXTS[at] in arbctl("summary", "s")[1]
    code, out, err = arbctl("validate", job)
    assert (code, TEXTS[at] in out) == (0, True), err


def test_a_search_goes_on_from_its_table(arbctl: Arbctl, session: str, tmp_path: Path) -> None:
    assert arbctl("export", session, "--format", "csv", "--output", tmp_path / "past.csv")[0] == 0
    space = {"stop": {"type": "choice", "values": VALUES}}
    job = write_job(tmp_path / "next.yaml", "stops:objective", 2, space=space, method="tpe")
    code, out, err = arbctl("validate", job, "--set", f"tuning.start_from={tmp_path / 'past.csv'}")
    assert code == 0, err
    assert f"starts from {len(VALUES)} results" in out


@pytest.mark.parametrize("method", built_in(learns=True) + built_in(learns=False))
def test_every_method_asks_for_them_and_constraints_know_them(method: str) -> None:
    fields: dict[str, Any] = {"search_space": {"stop": {"type": "choice", "values": VALUES}}, "metric": "loss"}
    study = Study(method=method, constraints=["stop != 1.5"], direction="minimize", seed=2, **fields)
    seen = set()
    for _ in range(12):
        try:
            trial = study.ask()
        except UsageError:
            # A grid of six, of which one may not run, has no more.
            assert method == "grid"
            break
        seen.add(repr(trial.params["stop"]))
        study.tell(trial, {"loss": float(len(repr(trial.params["stop"])))})
    assert seen <= set(map(repr, VALUES)) - {"1.5"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("[null, null]", "a value stands twice"),
        ("[.nan, 1]", "nan is no value that a choice can have"),
        ("[{a: 1}]", "must be a number, a string, true, false or null"),
    ],
)
def test_a_mistake_is_one_line(arbctl: Arbctl, tmp_path: Path, values: str, said: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(
        "objective: {python: 'samples:add'}\n"
        f"tuning: {{method: random, max_iterations: 4, search_space: {{x: {{type: choice, values: {values}}}}}}}\n"
    )
    code, _, err = arbctl("validate", job)
    assert code == 2
    assert said in err
    assert len([line for line in err.splitlines() if "search_space" in line]) == 1
