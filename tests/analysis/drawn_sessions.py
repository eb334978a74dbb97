"""Random sessions of every kind as their workers wrote them, and what docs/ranking.md says of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from arbd.daemon.side.live_csv import LiveTable
from arbd.job.aggregation import BLOCKS, MARKETS, NEIGHBOURHOOD, ONE_EVALUATION, Aggregation, RobustRule
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
from tests.spool.sessions import exhaust, make_session, write_rows

FILES = Files()
VALUES = [-math.inf, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, math.inf, math.nan]
BUDGETS = [1 / 9, 1 / 3, 1.0]
RULES = (
    None, None, RobustRule(BLOCKS, "worst", 0.0, 8), RobustRule(MARKETS, "median", 0.5),
    RobustRule(NEIGHBOURHOOD, "quantile", 0.25),
)  # fmt: skip
KINDS: list[tuple[Value, Value]] = [
    ("up", "down"), (None, 1.5), (math.inf, -math.inf), (True, 1), (None, "null"), ("", "nan"), (0, "=1+1"),
]  # fmt: skip


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
    aggregation: Aggregation = ONE_EVALUATION

    @property
    def metric_names(self) -> list[str]:
        """What a row has: what the objective returned, what was made of it, and what the constraint is on."""
        raw = [goal.name for goal in self.aggregation.raw(self.goals)]
        return [*raw, *self.aggregation.added(self.goals), "risk"]

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
    aggregation = Aggregation(draw(st.sampled_from([1, 1, 3])), draw(st.sampled_from(RULES)))
    if aggregation.robust is not None:
        goals = tuple(map(aggregation.robust.robust, goals))
    names = list(dict.fromkeys([*names, *aggregation.added(goals)]))
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
        began_with=0 if search_n else draw(st.integers(0, n - 1)), aggregation=aggregation,
    )  # fmt: skip


def point(row: Row) -> int:
    """Duplicates have the parameters of their original."""
    return row.at or (row.original if row.original > 0 else row.iteration)


def batches(rows: list[Row], drawn: Drawn) -> dict[tuple[str, int], RowBatch]:
    """The rows of each worker and epoch."""
    found: dict[tuple[str, int], RowBatch] = {}
    for key in sorted({(row.worker, row.epoch) for row in rows}):
        own = sorted((r for r in rows if (r.worker, r.epoch) == key), key=lambda r: r.iteration)
        # Whether a row has a result at all is its status; what a duplicate has is its original's.
        results = [row.status == COMPLETED and row.original == 0 for row in own]
        metrics = {
            name: np.array([r.metrics[name] if has else math.nan for r, has in zip(own, results, strict=True)])
            for name in drawn.metric_names
        }
        metrics["budget"] = np.array([row.budget for row in own])
        found[key] = RowBatch(
            iteration=np.array([row.iteration for row in own]),
            status=np.array([row.status for row in own], dtype=np.uint8),
            ended_ns=np.full(len(own), 1_700_000_000_000_000_000),
            duration_s=np.full(len(own), 0.5),
            attempt=np.ones(len(own), dtype=np.int32),
            epoch=np.full(len(own), key[1], dtype=np.int32),
            params=drawn.space.settled(
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
    validation = drawn.validation
    judged: dict[str, Any] = {"validation": validation, "generation_size": drawn.search_n}
    paths = make_session(
        layout, drawn.n, metrics=drawn.goals, method="successive_halving" if drawn.budgets else "random",
        constraints=() if drawn.constraint is None else (f"risk <= {drawn.constraint}",), space=drawn.space,
        began_with=drawn.began_with, aggregation=drawn.aggregation, **({} if validation is None else judged),
    )  # fmt: skip
    times = iter(range(0, 10**9, 10**6))
    table = LiveTable(FILES, paths, read_spec(FILES, paths), clock=lambda: float(next(times)))
    for number, rows in enumerate((drawn.rows[: drawn.seen], drawn.rows[drawn.seen :])):
        for (worker, epoch), batch in batches(list(rows), drawn).items():
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
