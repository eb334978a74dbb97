"""`arbctl summary` and `best`: what they print of sessions and tables of every kind."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from arbd.results.columns import RowBatch
from arbd.results.compaction import compact
from arbd.search.problem import MetricGoal
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import CRASHED, FAILED
from arbd.spool.provenance import Submission
from arbd.spool.standing.calendar import Schedule
from arbd.spool.standing.folder import StandingFolder
from arbd.spool.standing.records import FiredRecord, FireRecord, OpenRecord
from tests.conftest import Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

FILES = Files()
GOALS = (MetricGoal("value", "maximize"), MetricGoal("risk", "minimize"))


def with_metrics(rows: RowBatch, **columns: list[float]) -> RowBatch:
    return replace(rows, metrics={name: np.array(values, dtype=np.float64) for name, values in columns.items()})


def finished(layout: SpoolLayout, name: str, n: int, *batches: RowBatch, bad: int = 0, **job: Any) -> SessionPaths:
    paths = make_session(layout, n, name, **job)
    write_rows(paths, "a", *batches)
    exhaust(paths, n, (n - bad, bad, 0, 0))
    compact(FILES, paths)
    return paths


@pytest.fixture
def front(layout: SpoolLayout) -> SessionPaths:
    """Six results of two objectives: four in the front, one dominated, one that breaks a constraint."""
    rows = with_metrics(rows_of(1, 6), value=[1.0, 2.0, 2.0, 3.0, 1.0, 9.0], risk=[1.0, 2.0, 2.0, 3.0, 3.0, 9.0])
    return finished(layout, "front", 6, rows, metrics=GOALS, constraints=("risk <= 5",))


@pytest.fixture
def plain(layout: SpoolLayout) -> SessionPaths:
    """Seven results, two of them of an iteration before, and three failures of two kinds."""
    good = with_metrics(rows_of(1, 5), value=[3.0, 1.0, 2.0, math.nan, 5.0], other=[1.0, 2.0, 3.0, 4.0, 5.0])
    twice = replace(with_metrics(rows_of(6, 2), value=[math.nan] * 2), origin=np.array([1, 5]))
    failed = replace(rows_of(8, 2, status=FAILED), errors={8: "broken", 9: "broken"})
    crashed = replace(rows_of(10, 1, status=CRASHED), errors={10: "gone\x1b[2J"})
    return finished(layout, "plain", 10, good, twice, failed, crashed, bad=3)


def iterations(document: dict[str, Any]) -> list[int]:
    return [result["iteration"] for result in document["ranking"]]


def test_a_session_is_summarised_in_lines(arbctl: Arbctl, plain: SessionPaths) -> None:
    lines = arbctl("summary", "plain", "--top-n", "3")[1].splitlines()
    assert lines[0] == ("session plain (done, random, seed 1): 10 of 10 iterations: 7 completed, 2 failed, 1 crashed")
    assert lines[1] == "workers: a 10"
    assert lines[2] == "2 are duplicates: their parameters stood before, they have those results and were not run"
    assert lines[3:6] == [
        "note: 1 of 7 results have no number for value, and rank last",
        "",
        "best by value (highest first)",
    ]
    assert [line.split() for line in lines[6:10]] == [
        ["RANK", "ITERATION", "VALUE", "x", "kind"],
        ["1", "5", "5", "0.005", "down"],
        ["2", "7", "5", "0.007", "down"],
        ["3", "1", "3", "0.001", "down"],
    ]
    assert lines[10] == "2 failed, first iteration 8: broken"
    assert lines[11] == r"1 crashed, first iteration 10: gone\u001b[2J"
    assert len(lines) == 12


def test_five_are_shown_unless_asked_and_in_the_order_that_is_asked_for(arbctl: Arbctl, plain: SessionPaths) -> None:
    def shown(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(arbctl("summary", "plain", "--json", *arguments)[1])
        return found

    whole = shown()
    assert (iterations(whole), whole["metric"], whole["direction"]) == ([5, 7, 1, 6, 3], "value", "maximize")
    up = shown("--ascending", "--top-n", "9")
    assert (iterations(up), up["direction"]) == ([2, 3, 1, 6, 5, 7, 4], "minimize")
    assert iterations(shown("--metric", "other", "--top-n", "2")) == [5, 7]
    assert (whole["repeated"], whole["duplicate_iterations"], whole["duplicates"], whole["missing"]) == (2, 2, 0, 0)
    assert whole["objectives"] == [{"metric": "value", "direction": "maximize"}]
    assert (whole["metrics_keys"], whole["param_keys"], whole["unique_sessions"]) == (
        ["other", "value"], ["kind", "x"], 1,
    )  # fmt: skip
    assert "pareto_front" not in whole
    lowest = arbctl("summary", "plain", "--ascending")[1]
    assert "best by value (lowest first)" in lowest


def test_a_front_is_shown_with_its_volume_and_how_many_more_there_are(arbctl: Arbctl, front: SessionPaths) -> None:
    lines = arbctl("summary", "front", "--top-n", "3")[1].splitlines()
    assert lines[2] == "1 results break a constraint and rank last"
    assert lines[4] == "Pareto front of value (maximize), risk (minimize): 4 results"
    # From value 1 and risk 3: one box of one by one.
    assert lines[5] == "hypervolume 1 from the worst values value=1 risk=3"
    assert [line.split() for line in lines[6:10]] == [
        ["ITERATION", "VALUE", "RISK", "x", "kind"],
        ["4", "3", "3", "0.004", "up"],
        ["2", "2", "2", "0.002", "up"],
        ["3", "2", "2", "0.003", "down"],
    ]
    assert lines[10:] == ["(1 more: --top-n)"]
    whole = arbctl("summary", "front", "--top-n", "4")[1]
    assert "more: --top-n" not in whole
    by_one = json.loads(arbctl("summary", "front", "--metric", "risk", "--top-n", "9", "--json")[1])
    assert (iterations(by_one), by_one["direction"]) == ([1, 2, 3, 4, 5, 6], "minimize")
    assert "pareto_front" not in by_one


def test_a_front_of_nothing_is_empty(arbctl: Arbctl, layout: SpoolLayout) -> None:
    rows = with_metrics(rows_of(1, 2), value=[1.0, 2.0], risk=[9.0, 9.0])
    finished(layout, "none", 2, rows, metrics=GOALS, constraints=("risk <= 5",))
    assert arbctl("summary", "none")[1].splitlines()[-1] == "Pareto front of value (maximize), risk (minimize): empty"
    code, _, err = arbctl("best", "none")
    assert (code, "no result keeps every constraint and has every metric" in err) == (3, True)


@pytest.mark.parametrize("session", ["front", "plain"])
def test_a_table_is_summarised_as_its_session(
    arbctl: Arbctl, plain: SessionPaths, front: SessionPaths, tmp_path: Path, session: str
) -> None:
    arbctl("export", session, "--format", "csv", "--output", tmp_path / "t.csv")
    for arguments in ([], ["--metric", "value"], ["--ascending"], ["--top-n", "1"]):
        of_table = arbctl("summary", "--csv", tmp_path / "t.csv", *arguments)[1].splitlines()
        of_session = arbctl("summary", session, *arguments)[1].splitlines()
        assert of_table[0].startswith(f"{tmp_path / 't.csv'}: ")
        counted = sorted(of_session[0].rpartition(": ")[2].split(", "))
        assert sorted(of_table[0].rpartition(": ")[2].split(", ")) == counted
        # Which are duplicates a table does not say.
        assert of_table[1:] == [line for line in of_session[1:] if "are duplicates" not in line]
    of_table = json.loads(arbctl("summary", "--csv", tmp_path / "t.csv", "--json")[1])
    of_session = json.loads(arbctl("summary", session, "--json")[1])
    for key in ("objectives", "breaking_constraints", "worker_iterations", "metric", "direction", "metrics_keys"):
        assert of_table[key] == of_session[key]
    assert of_table["statuses"] == {status: n for status, n in of_session["statuses"].items() if n}
    assert iterations(of_table) == iterations(of_session)
    assert of_table.get("pareto_front") == of_session.get("pareto_front")


def rewritten(path: Path, target: Path, change: Any) -> Path:
    with path.open(newline="") as file:
        rows = [change(dict(row)) for row in csv.DictReader(file)]
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


def test_a_table_that_says_no_direction_needs_to_be_told_the_metric_unless_there_is_one(
    arbctl: Arbctl, plain: SessionPaths, tmp_path: Path
) -> None:
    arbctl("export", "plain", "--format", "csv", "--output", tmp_path / "t.csv")

    def old(row: dict[str, str]) -> dict[str, str]:
        return {name: cell for name, cell in row.items() if not name.startswith("direction_")}

    path = rewritten(tmp_path / "t.csv", tmp_path / "old.csv", old)
    code, _, err = arbctl("summary", "--csv", path)
    assert (code, "name the metric to rank by with --metric: other, value" in err) == (2, True)
    assert iterations(json.loads(arbctl("summary", "--csv", path, "--metric", "value", "--json")[1])) == [5, 7, 1, 6, 3]
    renamed = rewritten(
        path, tmp_path / "pnl.csv", lambda row: {n.replace("_value", "_pnl"): c for n, c in row.items()}
    )
    assert json.loads(arbctl("summary", "--csv", renamed, "--json")[1])["metric"] == "pnl"
    single = rewritten(path, tmp_path / "one.csv", lambda row: {n: c for n, c in row.items() if n != "metric_value"})
    assert json.loads(arbctl("summary", "--csv", single, "--json")[1])["metric"] == "other"


def test_a_table_with_a_direction_that_is_none_is_refused_with_its_row(
    arbctl: Arbctl, plain: SessionPaths, tmp_path: Path
) -> None:
    arbctl("export", "plain", "--format", "csv", "--output", tmp_path / "t.csv")
    path = rewritten(tmp_path / "t.csv", tmp_path / "bad.csv", lambda row: row | {"direction_value": "up"})
    code, _, err = arbctl("summary", "--csv", path)
    assert (code, "row 1: direction_value is maximize or minimize, not 'up'" in err) == (2, True)


def test_tables_of_two_sessions_of_opposite_directions_are_not_ranked_together(
    arbctl: Arbctl, plain: SessionPaths, tmp_path: Path
) -> None:
    arbctl("export", "plain", "--format", "csv", "--output", tmp_path / "t.csv")

    def other(row: dict[str, str]) -> dict[str, str]:
        odd = int(row["iteration"]) % 2
        return row | ({"session_id": "t", "direction_value": "minimize"} if odd else {})

    path = rewritten(tmp_path / "t.csv", tmp_path / "two.csv", other)
    code, _, err = arbctl("summary", "--csv", path)
    assert (code, "opposite directions of 'value'" in err) == (2, True)
    assert arbctl("summary", "--csv", path, "--ascending")[0] == 0


def test_one_of_a_session_and_a_table_is_named(arbctl: Arbctl, tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    for arguments in ([], ["s", "--csv", str(tmp_path / "t.csv")]):
        code, _, err = arbctl("summary", *arguments)
        assert (code, "name either a SESSION or --csv FILE" in err) == (2, True)


def test_best_prints_the_parameters_in_the_form_that_is_asked_for(
    arbctl: Arbctl, plain: SessionPaths, layout: SpoolLayout
) -> None:
    assert yaml.safe_load(arbctl("best", "plain")[1]) == {"x": 0.005, "kind": "down"}
    assert json.loads(arbctl("best", "plain", "--format", "json")[1]) == {"x": 0.005, "kind": "down"}
    assert arbctl("best", "plain", "--format", "env")[1].splitlines() == ["PARAM_X=0.005", "PARAM_KIND=down"]
    assert json.loads(arbctl("best", "plain", "--json")[1])["x"] == 0.005
    assert json.loads(arbctl("best", "plain", "--ascending", "--json")[1])["x"] == 0.002
    finished(layout, "fixed", 2, rows_of(1, 2), fixed={"fee": 3})
    assert json.loads(arbctl("best", "fixed", "--json")[1]) == {"fee": 3, "x": 0.002, "kind": "up"}


def test_best_of_several_objectives_is_the_front_unless_one_is_named(arbctl: Arbctl, front: SessionPaths) -> None:
    printed = arbctl("best", "front", "--json")[1]
    assert printed.endswith("}\n")
    assert not printed.endswith("\n\n")
    document = json.loads(printed)
    assert [one["iteration"] for one in document["pareto_front"]] == [4, 2, 3, 1]
    assert document["pareto_front"][0] == {
        "iteration": 4, "metrics": {"value": 3.0, "risk": 3.0}, "params": {"x": 0.004, "kind": "up"},
    }  # fmt: skip
    assert (document["hypervolume"], document["reference"]) == (1.0, {"value": 1.0, "risk": 3.0})
    assert "hypervolume_left_out" not in document
    assert json.loads(arbctl("best", "front", "--metric", "value", "--json")[1])["x"] == 0.004
    assert json.loads(arbctl("best", "front", "--metric", "risk", "--json")[1])["x"] == 0.001
    code, _, err = arbctl("best", "front", "--format", "env")
    assert (code, "does not fit into variables" in err) == (2, True)


def test_there_is_no_best_where_nothing_completed_or_has_a_number(arbctl: Arbctl, layout: SpoolLayout) -> None:
    make_session(layout, 3, "fresh")
    code, _, err = arbctl("best", "fresh")
    assert (code, "no iteration is completed yet" in err) == (3, True)
    finished(layout, "nan", 2, with_metrics(rows_of(1, 2), value=[math.nan] * 2))
    code, _, err = arbctl("best", "nan")
    assert (code, "no result has a number for value" in err) == (3, True)
    finished(layout, "broken", 2, rows_of(1, 2), constraints=("value > 9",))
    code, _, err = arbctl("best", "broken")
    assert (code, "every result breaks a constraint (value > 9)" in err) == (3, True)
    code, _, err = arbctl("best", "nan", "--metric", "nothing")
    assert (code, "has no metric 'nothing'; metrics are: value" in err) == (2, True)


def test_a_session_of_a_standing_job_says_what_it_advises(arbctl: Arbctl, layout: SpoolLayout) -> None:
    finished(layout, "night-1", 3, rows_of(1, 3), labels={"standing": "night"})
    folder, now_ns = StandingFolder(FILES, layout, "night"), 1_774_656_000 * 10**9
    FILES.make_folder(layout.standing)
    FILES.make_folder(folder.path)
    begun = OpenRecord(schedule=Schedule(), submission=Submission(user="anna"), digest="d", wall_ns=now_ns)
    fire = FireRecord(
        due="1", due_ns=now_ns, after_ns=now_ns, session="night-1", cause="new data", digest="d", by="a", wall_ns=now_ns
    )
    with FILES.lock(folder.lock, 5.0):
        folder.append([begun, fire, FiredRecord(session="night-1", wall_ns=now_ns)])
    answer = json.loads(arbctl("standing", "show", "night", "--json")[1])["answer"]
    told = json.loads(arbctl("summary", "night-1", "--json")[1])
    assert told["standing"] == answer
    line = f"standing: {answer['advice']}: {answer['reason']} (`arbctl standing show night`)"
    assert line in arbctl("summary", "night-1")[1].splitlines()
