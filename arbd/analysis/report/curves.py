"""The numbers behind the figure of intermediate values: what iterations told on their way, and which of them were pruned.

A sample of bounded size: the best iterations, the pruned ones and the others, each evenly by iteration, each thinned to so
many points, its first and its last one among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arbd.analysis.table import ResultTable
from arbd.arrays import Array
from arbd.results.result import TuningResult
from arbd.search.plan import NOT_RUN_NAMES, PRUNED
from arbd.search.pruning import Report
from arbd.spool.ledger import COMPLETED

BEST_LINES = 10
LINES = 30
LINE_POINTS = 60
# Iterations that are asked for their values to find so many that told any.
ASKED = 400


def intermediate_values(table: ResultTable) -> dict[str, Any] | None:
    """Lines to draw, the best iteration's first; None where nothing was told on the way.

    `metric` is the one that the job optimises first, of which the values are; `pruned` is how many were pruned in all.
    """
    if not table.source.has_reports:
        return None
    goal = table.spec.metrics[0]
    losses = table.ranking.loss(goal.name)
    ordinary, pruned = np.flatnonzero(table.completed), _pruned(table)
    best = ordinary[np.argsort(losses[ordinary], kind="stable")][:BEST_LINES]
    asked = {"best": best, "completed": _evenly(ordinary, ASKED), "pruned": _evenly(pruned, ASKED)}
    reports = table.source.reports(np.unique(np.concatenate(list(asked.values()))).tolist())
    numbers = table.source.fixed("iteration")
    lines: dict[int, dict[str, Any]] = {}
    for kind, positions in asked.items():
        told = [int(number) for number in numbers[positions].tolist() if reports.get(int(number))]
        for number in told if kind == "best" else _evenly(np.array(told, dtype=np.int64), LINES).tolist():
            lines.setdefault(number, {"iteration": number, "kind": kind, **_points(reports[number])})
    if not lines:
        return None
    winner = table.ranking.best(goal.name, None)
    return {
        "metric": goal.name,
        "ascending": goal.direction == "minimize",
        "winner": None if winner is None else int(numbers[winner]),
        "pruned": len(pruned),
        "lines": list(lines.values()),
    }


def _pruned(table: ResultTable) -> Array:
    """Positions of the iterations that ended before their time; those that repeat one have no values of their own."""
    origin = table.source.origin()
    if origin is None:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero((table.source.fixed("status") == COMPLETED) & (origin == PRUNED))


def _evenly(positions: Array, count: int) -> Array:
    if len(positions) <= count:
        return positions
    return positions[np.linspace(0, len(positions) - 1, count).astype(np.int64)]


def own_values(result: TuningResult) -> dict[str, Any] | None:
    """Those of one iteration as a line; None where it told none."""
    kind = "pruned" if result.status == NOT_RUN_NAMES[PRUNED] else "completed"
    return {"iteration": result.iteration, "kind": kind, **_points(result.reports)} if result.reports else None


def _points(reports: Sequence[Report]) -> dict[str, Any]:
    # Of several values at a step the first one counts, as where they are compared.
    by_step = dict(reversed(reports))
    steps = np.array(sorted(by_step), dtype=np.int64)
    kept = _evenly(steps, LINE_POINTS).tolist()
    return {"steps": kept, "values": [by_step[step] for step in kept], "of": len(steps)}
