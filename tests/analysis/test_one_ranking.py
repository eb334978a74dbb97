"""Whoever is asked what is best gives the same answer: the same winner, the same order, the same front.

Random sessions of every kind, and an order that is computed here from what was drawn, by the words of docs/ranking.md.
ARBD_RANKING_SESSIONS is how many; 500 is the full size.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings

from arbd.analysis import TuningAnalyzer, load_results_from_csv, load_session
from arbd.errors import UsageError
from arbd.search.problem import MetricGoal
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED, FAILED
from tests.analysis.drawn_sessions import Drawn, Expected, Row, point, sessions, written
from tests.conftest import Arbctl

SESSIONS = int(os.environ.get("ARBD_RANKING_SESSIONS", "30"))
# As many as any machine gets through within the time that a test has.
SESSIONS_A_PART = 50
ALL = "99"


def of_summary(document: dict[str, Any]) -> list[int]:
    return [result["iteration"] for result in document["ranking"]]


def check_summaries(arbctl: Arbctl, layout: SpoolLayout, expected: Expected, tmp: Path) -> None:
    goals, first = expected.drawn.goals, expected.drawn.goals[0].name
    assert arbctl("export", "s", "--format", "csv", "--output", tmp / "export.csv")[0] == 0
    for source in (("s",), ("--csv", tmp / "export.csv"), ("--csv", layout.root / "live.csv")):
        code, out, err = arbctl("summary", *source, "--metric", first, "--top-n", ALL, "--json")
        assert (code, err) == (0, "")
        document = json.loads(out)
        assert of_summary(document) == expected.order()
        if expected.results:
            assert document["direction"] == goals[0].direction
            broken = sum(expected.violation(row) > 0 for row in expected.results.values())
            assert document["breaking_constraints"] == broken
        if document.get("winner") is not None:
            assert document["winner"]["iteration"] == expected.best
        whole = json.loads(arbctl("summary", *source, "--top-n", ALL, "--json")[1])
        assert of_summary(whole) == (expected.front() if len(goals) > 1 and expected.drawn.rows else expected.order())
        if len(goals) > 1 and expected.drawn.rows and expected.results:
            assert [result["iteration"] for result in whole["pareto_front"]["results"]] == expected.front()


def check_best_and_watch(arbctl: Arbctl, expected: Expected) -> None:
    goals, best = expected.drawn.goals, expected.best
    code, out, _ = arbctl("best", "s", "--metric", goals[0].name, "--format", "json")
    assert code == (3 if best is None else 0)
    if best is not None:
        params = expected.drawn.params(point(expected.results[best]))
        infinite = {name: str(value) for name, value in params.items() if value in (math.inf, -math.inf)}
        assert json.loads(out) == params | infinite
    if len(goals) > 1:
        code, out, _ = arbctl("best", "s", "--format", "json")
        assert code == (0 if expected.front() else 3)
        if expected.front():
            assert [one["iteration"] for one in json.loads(out)["pareto_front"]] == expected.front()
    (watched,) = json.loads(arbctl("watch", "s", "--once", "--json")[1])["sessions"]
    assert watched["best_iteration"] == best
    compared = json.loads(arbctl("compare", "s", "s", "--metric", goals[0].name, "--json")[1] or "{}")
    if compared:
        assert [session["best_iteration"] for session in compared["sessions"]] == [best, best]


def check_promotion(arbctl: Arbctl, expected: Expected, tmp: Path) -> None:
    """What is judged, shown for a bot, and written for it."""
    first, best = expected.drawn.goals[0].name, expected.best
    code, out, _ = arbctl("verdict", "s", "--metric", first, "--json")
    if expected.results:
        assert (code, json.loads(out)["best_iteration"]) == (0, best)
    promote = ("promote", "s", "--to", tmp / "bot.json", "--metric", first, "--despite-verdict", "of chance", "--json")
    code, out, _ = arbctl(*promote)
    if best is None:
        assert (code in (2, 3), (tmp / "bot.json").exists()) == (True, False)
        return
    shown, chosen = json.loads(out), json.loads(arbctl("best", "s", "--metric", first, "--format", "json")[1])
    assert (shown["provenance"]["iteration"], shown["parameters"]) == (best, chosen)
    assert arbctl(*promote, "--code", shown["code"])[0] == 0
    written = json.loads((tmp / "bot.json").read_text())
    assert (written["provenance"]["iteration"], written["parameters"]) == (best, chosen)


def check_report(arbctl: Arbctl, expected: Expected, tmp: Path) -> None:
    assert arbctl("report", "s", "--output", tmp / "s.html")[0] == 0
    data = json.loads((tmp / "s.html").read_text().partition('id="data">')[2].partition("</script>")[0])
    assert [row["iteration"] for row in data["ranking"]] == expected.order()
    if data["figures"]:
        assert (data["figures"]["best"]["iteration"] or [None])[-1] == expected.best
        pareto = data["figures"]["pareto"]
        if len(expected.drawn.goals) > 1:
            shown = zip(pareto["iteration"], pareto["in_front"], strict=True)
            assert [iteration for iteration, inside in shown if inside] == sorted(expected.front())
            assert pareto["size"] == len(expected.front())


def check_python(layout: SpoolLayout, expected: Expected, tmp: Path) -> None:
    goals, best = expected.drawn.goals, expected.best
    loaded = (
        load_session(layout.root, "s"),
        load_results_from_csv(tmp / "export.csv"),
        load_results_from_csv(layout.root / "live.csv"),
    )
    for results in loaded:
        analyzer = TuningAnalyzer(reversed(results))
        if not expected.results:
            assert analyzer.get_best_params(goals[0].name) is None
            if expected.every:
                assert analyzer.rank_by_metric(goals[0].name) == []
            elif results:
                with pytest.raises(UsageError, match="no completed result has a metric"):
                    analyzer.rank_by_metric(goals[0].name)
            continue
        assert [r.iteration for r in analyzer.rank_by_metric(goals[0].name, 99)] == expected.order()
        assert [r.iteration for r in analyzer.pareto_front()] == (
            expected.front() if len(goals) > 1 else [i for i in sorted(expected.results) if i in expected.front()]
        )
        params = analyzer.get_best_params(goals[0].name)
        told = None if best is None else expected.drawn.params(point(expected.results[best]))
        if results is loaded[0]:
            assert params == told
        else:
            assert (params and params["x"]) == (told and told["x"])
        up = analyzer.rank_by_metric(goals[0].name, 99, ascending=goals[0].minimized)
        assert [r.iteration for r in up] == expected.order()


def check_optuna(arbctl: Arbctl, expected: Expected, tmp: Path) -> None:
    assert arbctl("export", "s", "--format", "optuna", "--output", tmp / "s.journal")[0] == 0
    backend = optuna.storages.journal.JournalFileBackend(str(tmp / "s.journal"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert [d.name.lower() for d in study.directions] == [goal.direction for goal in expected.drawn.goals]
    if len(expected.drawn.goals) > 1:
        front = {trial.user_attrs["iteration"] for trial in study.best_trials}
        assert sorted(front) == sorted(expected.front())
        return
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    able = [trial for trial in complete if all(value <= 0 for value in trial.constraints.values())]
    up = expected.drawn.goals[0].minimized
    ranked = sorted(able, key=lambda trial: (trial.value if up else -trial.value, trial.number))
    count = len(expected.comparable(expected.drawn.goals))
    assert [trial.user_attrs["iteration"] for trial in ranked] == expected.order()[:count]
    if expected.best is not None:
        assert study.best_trial.user_attrs["iteration"] == expected.best


def check_rows(arbctl: Arbctl, expected: Expected, tmp: Path) -> None:
    """The other formats mark the same rows."""
    assert arbctl("export", "s", "--format", "jsonl", "--output", tmp / "s.jsonl")[0] == 0
    documents = [json.loads(line) for line in (tmp / "s.jsonl").read_text().splitlines()]
    feasible = [i for i, row in sorted(expected.every.items()) if expected.violation(row) == 0]
    assert [d["iteration"] for d in documents if d["feasible"]] == feasible
    assert all(d["duplicate_of"] == d["same_as"] and d["budget"] == d["data_share"] for d in documents)
    with (tmp / "export.csv").open() as file:
        table = list(csv.DictReader(file))
    for kind in ("pareto_front", "feasible"):
        rows = sorted(expected.front()) if kind == "pareto_front" else feasible
        if table and kind in table[0]:
            assert [int(row["iteration"]) for row in table if row[kind] == "True"] == rows


@pytest.mark.parametrize("part", range(-(-SESSIONS // SESSIONS_A_PART)))
@settings(
    max_examples=min(SESSIONS, SESSIONS_A_PART), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(drawn=sessions())
def test_everybody_names_the_same_winner_order_and_front(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, part: int, drawn: Drawn
) -> None:
    del part
    tmp = tmp_path_factory.mktemp("session")
    layout = SpoolLayout(tmp / "spool")
    layout.root.mkdir()
    layout.prepare()
    (tmp / "arbd.yaml").write_text("")
    written(layout, drawn)
    arbctl, expected = Arbctl(capsys, layout.root, tmp / "arbd.yaml"), Expected(drawn)
    check_summaries(arbctl, layout, expected, tmp)
    check_best_and_watch(arbctl, expected)
    check_promotion(arbctl, expected, tmp)
    check_report(arbctl, expected, tmp)
    check_python(layout, expected, tmp)
    check_optuna(arbctl, expected, tmp)
    check_rows(arbctl, expected, tmp)


def session_of_everything() -> Drawn:
    """Two goals, a constraint, a retry, a duplicate, a tie, an undefined and an infinite result."""

    def row(iteration: int, m0: float, m1: float, risk: float, **more: Any) -> Row:
        given: dict[str, Any] = {"worker": "a", "epoch": 0, "status": COMPLETED, "budget": 1.0, "original": 0} | more
        return Row(iteration=iteration, metrics={"m0": m0, "m1": m1, "risk": risk}, **given)

    rows = (
        row(1, 2.0, 1.0, 0.0, status=FAILED), row(2, 1.0, 2.0, 0.0), row(3, 1.0, 2.0, 0.0), row(4, 9.0, 0.0, 1.0),
        row(5, math.nan, 0.0, 0.0), row(6, -math.inf, 1.0, 0.0), row(7, 0.0, 0.0, 0.0, original=2),
        row(8, 0.5, 3.0, 0.0), row(1, 2.0, 3.0, 0.0, worker="b", epoch=1),
    )  # fmt: skip
    goals = (MetricGoal("m0", "maximize"), MetricGoal("m1", "minimize"))
    return Drawn(8, goals, 0.5, budgets=False, rows=rows, seen=8, done=True)


def test_whole_processes_agree(layout: SpoolLayout, tmp_path: Path) -> None:
    drawn = session_of_everything()
    written(layout, drawn)
    expected = Expected(drawn)

    def arbctl(*arguments: str | Path) -> dict[str, Any]:
        command = [sys.executable, "-m", "arbd.cli", "--spool", str(layout.root), "--json", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    arbctl("export", "s", "--format", "csv", "--output", tmp_path / "s.csv")
    assert expected.order() == [1, 2, 3, 7, 8, 6, 4, 5]
    for source in (("s",), ("--csv", tmp_path / "s.csv"), ("--csv", layout.root / "live.csv")):
        assert of_summary(arbctl("summary", *source, "--metric", "m0", "--top-n", ALL)) == expected.order()
        assert of_summary(arbctl("summary", *source, "--top-n", ALL)) == expected.front() == [1, 2, 3, 7, 6]
    assert arbctl("watch", "s", "--once")["sessions"][0]["best_iteration"] == 1
    assert arbctl("best", "s", "--metric", "m0", "--format", "json")["x"] == 0.001


def test_tables_of_earlier_versions_rank_by_what_they_say(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    written(layout, session_of_everything())
    arbctl("export", "s", "--format", "csv", "--output", tmp_path / "s.csv")
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))

    def rank(*left_out: str) -> list[int]:
        names = [name for name in rows[0] if not name.startswith(left_out)]
        with (tmp_path / "old.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return of_summary(
            json.loads(arbctl("summary", "--csv", tmp_path / "old.csv", "--metric", "m0", "--top-n", ALL, "--json")[1])
        )

    # A spreadsheet writes it in capitals.
    for row in rows:
        row["feasible"] = row["feasible"].upper()
    # 4 breaks the constraint, which a table of before tells by `feasible` alone, if at all.
    assert rank("direction_", "violation") == [1, 2, 3, 7, 8, 6, 4, 5]
    assert rank("direction_", "violation", "feasible") == [4, 1, 2, 3, 7, 8, 6, 5]
