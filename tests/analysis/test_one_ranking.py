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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbd.analysis import TuningAnalyzer, load_results_from_csv, load_session
from arbd.daemon.side.live_csv import LiveTable
from arbd.errors import UsageError
from arbd.job.stored import read_spec
from arbd.job.validation import Change, FoldWindows, Stress, ValidationSpec
from arbd.results.columns import RowBatch
from arbd.results.compaction import compact
from arbd.search.plan import PRUNED, SKIPPED
from arbd.search.problem import MetricGoal
from arbd.search.space import ChoiceDimension, Condition, FloatDimension, SearchSpace, Value
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import COMPLETED, CRASHED, FAILED
from tests.conftest import Arbctl
from tests.spool.sessions import exhaust, make_session, write_rows

FILES = Files()
SESSIONS = int(os.environ.get("ARBD_RANKING_SESSIONS", "30"))
VALUES = [-math.inf, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, math.inf, math.nan]
BUDGETS = [1 / 9, 1 / 3, 1.0]
KINDS: list[tuple[Value, Value]] = [
    ("up", "down"), (None, 1.5), (math.inf, -math.inf), (True, 1), (None, "null"), ("", "nan"), (0, "=1+1"),
]  # fmt: skip
ALL = "99"


@dataclass(frozen=True)
class Row:
    """One row as a worker wrote it; `metrics` count where it completed. `at` is its point, where that is another's."""

    worker: str
    epoch: int
    iteration: int
    status: int
    metrics: Mapping[str, float]
    budget: float
    original: int
    at: int = 0


@dataclass(frozen=True)
class Drawn:
    """A session, and where in the list of rows its live table was looked at."""

    n: int
    goals: tuple[MetricGoal, ...]
    constraint: float | None
    budgets: bool
    rows: tuple[Row, ...]
    seen: int
    done: bool
    kinds: tuple[Value, Value] = ("up", "down")
    conditional: bool = False
    search_n: int = 0
    began_with: int = 0

    @property
    def space(self) -> SearchSpace:
        """`y` is there where `kind` is the first of its values, or everywhere."""
        dimensions = FloatDimension("x", 0.0, 1.0), ChoiceDimension("kind", self.kinds), FloatDimension("y", 0.0, 1.0)
        return SearchSpace(dimensions, (Condition("y", "kind", self.kinds[:1]),) if self.conditional else ())

    @property
    def validation(self) -> ValidationSpec | None:
        """What the iterations after the search are run for: neighbours, and trials under other conditions."""
        rest = self.n - self.search_n
        if not self.search_n or not rest:
            return None
        stresses = (Stress("other", (Change("x", "x", 2.0),)),) if rest % 2 == 0 else ()
        finalists = rest // 2 if stresses else 0
        return ValidationSpec(
            self.search_n, folds=(FoldWindows(()),), finalists=finalists, neighbours=rest - finalists, stresses=stresses
        )

    def params(self, at: int) -> dict[str, Value]:
        """Of the point `at`."""
        known: dict[str, Value] = {"x": at / 1000, "kind": self.kinds[at % 2]}
        return known | ({} if self.conditional and at % 2 else {"y": at / 2000})


@st.composite
def sessions(draw: st.DrawFn) -> Drawn:
    n = draw(st.integers(1, 9))
    names = [f"m{i}" for i in range(draw(st.sampled_from([1, 1, 2, 3])))]
    goals = tuple(MetricGoal(name, draw(st.sampled_from(["maximize", "minimize"]))) for name in names)
    budgets = draw(st.booleans())
    search_n = draw(st.integers(1, n)) if draw(st.integers(0, 2)) == 0 else 0
    done = draw(st.booleans())
    rows: list[Row] = []
    evaluated: list[int] = []
    points: dict[int, int] = {}
    for iteration in range(1, n + 1):
        if not done and draw(st.integers(0, 4)) == 0:
            continue
        kind = draw(st.sampled_from(["run", "run", "run", "again", "duplicate", "infeasible", "skipped", "pruned"]))
        original = draw(st.sampled_from(evaluated)) if kind == "duplicate" and evaluated else 0
        original = {"infeasible": -1, "skipped": SKIPPED}.get(kind, original)
        # A set that does well on little data is run on more of it.
        again = draw(st.sampled_from(evaluated)) if kind == "again" and evaluated else 0
        at = points[iteration] = points.get(original or again, iteration)
        if original == 0 and (not search_n or iteration <= search_n):
            evaluated.append(iteration)
        keys = draw(st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=3))
        for worker, epoch in sorted(keys):
            of_row = draw(st.sampled_from([0, PRUNED])) if kind == "pruned" else original
            # What was not run, or ended by its reports, did not fail.
            status = COMPLETED if of_row else draw(st.sampled_from([COMPLETED, COMPLETED, FAILED, CRASHED]))
            metrics = {name: draw(st.sampled_from(VALUES)) for name in [*names, "risk"]}
            budget = draw(st.sampled_from(BUDGETS)) if budgets else 1.0
            rows.append(Row(worker, epoch, iteration, status, metrics, budget, of_row, at))
    constraint = draw(st.sampled_from([None, None, 0.5, -2.0]))
    return Drawn(
        n, goals, constraint, budgets, tuple(rows), draw(st.integers(0, len(rows))), done,
        kinds=draw(st.sampled_from(KINDS)), conditional=draw(st.booleans()), search_n=search_n,
        began_with=0 if search_n else draw(st.integers(0, n - 1)),
    )  # fmt: skip


def point(row: Row) -> int:
    """Duplicates have the parameters of their original."""
    return row.at or (row.original if row.original > 0 else row.iteration)


def batches(rows: list[Row], names: list[str], space: SearchSpace) -> dict[tuple[str, int], RowBatch]:
    """The rows of each worker and epoch."""
    found: dict[tuple[str, int], RowBatch] = {}
    for key in sorted({(row.worker, row.epoch) for row in rows}):
        own = sorted((r for r in rows if (r.worker, r.epoch) == key), key=lambda r: r.iteration)
        # Whether a row has a result at all is its status; what a duplicate has is its original's.
        results = [row.status == COMPLETED and row.original == 0 for row in own]
        metrics = {
            name: np.array([r.metrics[name] if has else math.nan for r, has in zip(own, results, strict=True)])
            for name in [*names, "risk"]
        }
        metrics["budget"] = np.array([row.budget for row in own])
        found[key] = RowBatch(
            iteration=np.array([row.iteration for row in own]),
            status=np.array([row.status for row in own], dtype=np.uint8),
            ended_ns=np.full(len(own), 1_700_000_000_000_000_000),
            duration_s=np.full(len(own), 0.5),
            attempt=np.ones(len(own), dtype=np.int32),
            epoch=np.full(len(own), key[1], dtype=np.int32),
            params=space.settled(
                {
                    "x": np.array([point(row) / 1000 for row in own]),
                    "kind": np.array([point(row) % 2 for row in own]),
                    "y": np.array([point(row) / 2000 for row in own]),
                }
            ),
            metrics=metrics,
            errors={row.iteration: "broken" for row in own if row.status != COMPLETED},
            origin=np.array([row.original for row in own]),
        )
    return found


def written(layout: SpoolLayout, drawn: Drawn) -> SessionPaths:
    """The session in the spool, and beside it `live.csv`, its live table as it stood before it was done."""
    names, validation = [goal.name for goal in drawn.goals], drawn.validation
    judged: dict[str, Any] = {"validation": validation, "generation_size": drawn.search_n}
    paths = make_session(
        layout, drawn.n, metrics=drawn.goals, method="successive_halving" if drawn.budgets else "random",
        constraints=() if drawn.constraint is None else (f"risk <= {drawn.constraint}",), space=drawn.space,
        began_with=drawn.began_with, **({} if validation is None else judged),
    )  # fmt: skip
    times = iter(range(0, 10**9, 10**6))
    table = LiveTable(FILES, paths, read_spec(FILES, paths), clock=lambda: float(next(times)))
    for number, rows in enumerate((drawn.rows[: drawn.seen], drawn.rows[drawn.seen :])):
        for (worker, epoch), batch in batches(list(rows), names, drawn.space).items():
            write_rows(paths, worker, batch, slot=f"{number}.{epoch}")
        table._not_before_s = 0.0
        table.update()
    paths.results_csv.rename(layout.root / "live.csv")
    if drawn.done:
        exhaust(paths, drawn.n)
        compact(FILES, paths)
    return paths


class Expected:
    """What docs/ranking.md says of a session, computed from what was drawn alone."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        place = {id(row): number for number, row in enumerate(drawn.rows)}
        winning: dict[int, Row] = {}
        for row in drawn.rows:
            first_look = place[id(row)] < drawn.seen
            rank = (-row.epoch, row.status != COMPLETED, row.worker, not first_look)
            other = winning.get(row.iteration)
            if other is None or rank < (
                -other.epoch, other.status != COMPLETED, other.worker, not place[id(other)] < drawn.seen,
            ):  # fmt: skip
                winning[row.iteration] = row
        self.every: dict[int, Row] = {}
        for iteration, row in winning.items():
            source = winning.get(row.original) if row.original > 0 else row
            if source is not None and source.status == COMPLETED and min(row.original, source.original) >= 0:
                self.every[iteration] = Row(
                    row.worker, row.epoch, iteration, COMPLETED, source.metrics, source.budget, row.original, point(row)
                )
        # What judges the winner competes with nobody.
        last = drawn.n if drawn.validation is None else drawn.search_n
        self.results = {iteration: row for iteration, row in self.every.items() if iteration <= last}

    def violation(self, row: Row) -> float:
        if self.drawn.constraint is None:
            return 0.0
        risk = row.metrics["risk"]
        return math.inf if math.isnan(risk) else max(0.0, risk - self.drawn.constraint)

    def loss(self, row: Row, goal: MetricGoal) -> float:
        return row.metrics[goal.name] if goal.direction == "minimize" else -row.metrics[goal.name]

    def order(self) -> list[int]:
        goal = self.drawn.goals[0]

        def key(row: Row) -> tuple[float, ...]:
            loss, violation = self.loss(row, goal), self.violation(row)
            if math.isnan(loss):
                return (2, -row.budget, 0.0, 0.0, row.iteration)
            return (int(violation > 0), -row.budget, violation, loss, row.iteration)

        return [row.iteration for row in sorted(self.results.values(), key=key)]

    def comparable(self, goals: tuple[MetricGoal, ...]) -> list[int]:
        able = [
            row for row in self.results.values()
            if self.violation(row) == 0 and not any(math.isnan(self.loss(row, goal)) for goal in goals)
        ]  # fmt: skip
        most = max((row.budget for row in able), default=0.0)
        return [row.iteration for row in able if row.budget == most]

    @property
    def best(self) -> int | None:
        return self.order()[0] if self.comparable(self.drawn.goals[:1]) else None

    def front(self) -> list[int]:
        goals = self.drawn.goals
        points = {i: [self.loss(self.results[i], goal) for goal in goals] for i in self.comparable(goals)}
        front = [
            i for i, own in points.items()
            if not any(all(a <= b for a, b in zip(o, own, strict=True)) and o != own for o in points.values())
        ]  # fmt: skip
        return sorted(front, key=lambda i: (points[i][0], i))


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


@pytest.mark.timeout(300 + 10 * SESSIONS)
@settings(
    max_examples=SESSIONS, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(drawn=sessions())
def test_everybody_names_the_same_winner_order_and_front(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, drawn: Drawn
) -> None:
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
