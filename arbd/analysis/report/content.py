"""What a report says of a session, as one plain document that the page's script draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arbd.analysis.failures import grouped_failures
from arbd.analysis.report import figures, winner
from arbd.analysis.report.curves import intermediate_values
from arbd.analysis.table import ResultTable
from arbd.plain_json import shown_parameters, text_of
from arbd.results.cells import iso_utc
from arbd.results.result import TuningResult
from arbd.search.ordering import improvements
from arbd.search.space import ChoiceDimension, Dimension

RANKED = 500


def report_content(
    table: ResultTable,
    metric: str,
    ascending: bool,
    job: str,
    verdict: dict[str, Any] | None = None,
    *,
    verdict_text: str = "",
    ranked: int = RANKED,
    equity: Callable[[ResultTable, TuningResult], dict[str, Any] | None] = lambda table, winner: None,
) -> dict[str, Any]:
    """Everything on the page, `verdict` being that of the winner. Figures are of completed rows; failures are of all.

    `verdict_text` stands where there is no verdict; `ranked` is how many rows are listed.
    `equity` gives what `arbd.analysis.report.winner.equity` does.
    """
    completed = np.flatnonzero(table.ranking.completed)
    document = _about(table, metric, ascending) | {
        "job": job,
        "figures": None,
        "verdict": verdict,
        "verdict_text": verdict_text,
        "headline": [],
        "neighbours": [],
        "traded": None,
        "winner": None,
        "ranking": [],
    }
    if not len(completed):
        return document
    order = table.rank(metric, ranked, ascending)
    best = table.results(order)
    ended = table.source.fixed("ended_ns")
    return document | {
        "figures": _figures(table, metric, ascending, completed),
        "headline": winner.headline(table, best[0], metric),
        "neighbours": winner.neighbours(table, order[0], metric),
        "traded": winner.traded(table),
        "winner": equity(table, best[0]),
        "ranking": [_ranked(result) for result in best],
        "undefined": int(np.isnan(table.source.metric(metric)[completed]).sum()),
        "first_ended": iso_utc(int(ended.min())),
        "last_ended": iso_utc(int(ended.max())),
    }


def figure_values(table: ResultTable, metric: str) -> dict[str, Any] | None:
    """The numbers behind the figures of a metric; None where nothing is completed."""
    completed = np.flatnonzero(table.ranking.completed)
    if not len(completed) or table.column(metric) is None:
        return None
    return _figures(table, metric, table.ranking.ascending(metric), completed)


def _about(table: ResultTable, metric: str, ascending: bool) -> dict[str, Any]:
    """What there is to say without any result."""
    spec = table.spec
    return {
        "session_id": table.session_id,
        "state": table.state.label(),
        "method": spec.method,
        "seed": spec.seed,
        "objective": str(spec.objective),
        "iterations": spec.n,
        "searched": own_search_size(table),
        "rows": len(table),
        "statuses": table.counts(),
        "worker_iterations": table.worker_counts(),
        "duplicates": table.state.duplicates,
        "notices": [*spec.notices, *([table.missing_text] if table.missing else [])],
        "metric": metric,
        "metrics": [{"name": goal.name, "direction": goal.direction} for goal in spec.metrics],
        "ascending": ascending,
        "fixed": shown_parameters(spec.fixed),
        "dimensions": [_dimension(dimension) for dimension in spec.space.dimensions],
        "failures": grouped_failures(table),
        "timeline": figures.timelines(table),
        "digests": dict(spec.digests),
    }


def own_search_size(table: ResultTable) -> int:
    """How many iterations the session's own search has; the others judge it."""
    spec = table.spec
    return spec.n if spec.validation is None else spec.layout.stretches[0].last


def _ranked(result: TuningResult) -> dict[str, Any]:
    return {
        "iteration": result.iteration,
        "worker": result.worker_id,
        "duration_s": result.duration_s,
        "attempt": result.attempt,
        "params": shown_parameters(result.params),
        "metrics": dict(result.metrics),
        "feasible": result.violation <= 0,
    }


def _figures(table: ResultTable, metric: str, ascending: bool, completed: Any) -> dict[str, Any]:
    dimensions = table.spec.space.dimensions
    values = table.source.metric(metric)[completed]
    columns = {d.name: table.source.param(d.name)[completed] for d in dimensions}
    exist = table.spec.space.active(columns)
    iteration = table.source.fixed("iteration")[completed]
    losses = table.ranking.loss(metric, ascending)[completed]
    comparable = table.ranking.comparable(metric, ascending)[completed]
    feasible = table.ranking.feasible[completed]
    chosen = figures.sample(losses)
    best = table.ranking.best(metric, ascending)
    first = None if best is None else int(np.searchsorted(completed, best))
    changed = improvements(np.where(comparable, losses, np.nan))
    shares = figures.importance(dimensions, columns, values, exist)
    better = figures.better_half_importance(dimensions, columns, np.where(comparable, losses, np.nan), exist)
    told = [str(one["name"]) for one in shares[: figures.CONTOUR_PARAMETERS]]
    return {
        "drawn": len(chosen),
        "of": len(completed),
        "iteration": iteration[chosen].tolist(),
        "values": values[chosen].tolist(),
        "params": {name: _values(name, column, chosen, exist) for name, column in columns.items()},
        # 0 for what counts, 1 for what breaks a constraint, 2 for what ran on a part of the data.
        "state": np.where(feasible, np.where(comparable | np.isnan(losses), 0, 2), 1)[chosen].tolist(),
        "winner": None
        if first is None
        else {
            "iteration": int(iteration[first]),
            "value": float(values[first]),
            "params": {name: _values(name, column, [first], exist)[0] for name, column in columns.items()},
        },
        "best": {"iteration": iteration[changed].tolist(), "values": values[changed].tolist()},
        "distribution": figures.distribution(values),
        "importance": [{**one, "better": better[one["name"]]} for one in shares],
        "contours": figures.contours(dimensions, columns, values, told, first, exist),
        "pareto": _pareto(table, completed),
        "intermediate": intermediate_values(table),
    }


def _values(name: str, column: Any, rows: Any, exist: Mapping[str, Any]) -> list[Any]:
    """Of some rows; None where the parameter does not exist."""
    values: list[Any] = column[rows].tolist()
    if name not in exist:
        return values
    return [value if there else None for value, there in zip(values, exist[name][rows].tolist(), strict=True)]


def _pareto(table: ResultTable, completed: Any) -> dict[str, Any] | None:
    """The first two objectives against each other, and the front of all of them; None for a session of one."""
    goals = [goal for goal in table.spec.metrics if goal.name in table.metric_names][:2]
    if len(goals) < 2:
        return None
    values = [table.source.metric(goal.name)[completed] for goal in goals]
    front = np.flatnonzero(table.ranking.in_front[completed])
    losses = table.ranking.loss(goals[0].name)[completed]
    shown = np.unique(np.concatenate([figures.sample(losses), front[: figures.POINTS]]))
    iteration = table.source.fixed("iteration")[completed]
    return {
        "names": [goal.name for goal in goals],
        "directions": [goal.direction for goal in goals],
        "size": len(front),
        "iteration": iteration[shown].tolist(),
        "x": values[0][shown].tolist(),
        "y": values[1][shown].tolist(),
        "in_front": np.isin(shown, front).tolist(),
        "state": np.where(table.ranking.feasible[completed][shown], 0, 1).tolist(),
    }


def _dimension(dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, ChoiceDimension):
        return {"name": dimension.name, "values": [text_of(value) for value in dimension.values]}
    return {"name": dimension.name, "low": dimension.low, "high": dimension.high, "log": dimension.log}
