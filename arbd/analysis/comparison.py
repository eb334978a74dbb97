"""Sessions side by side: what each found, how much of it, and whether they asked the same question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis.table import ResultTable, load_table
from arbd.errors import UsageError
from arbd.registry import hint
from arbd.validation.quantiles import quantile


def compare_sessions(
    spool: Path, session_ids: Sequence[str], metric: str | None, ascending: bool
) -> tuple[str, bool, list[dict[str, Any]], list[str]]:
    """The metric, whether its lowest is best, a document for each session, and what makes them incomparable."""
    tables = [load_table(spool, session_id) for session_id in session_ids]
    goals = tables[0].spec.metrics
    name = metric or goals[0].name
    if not any(name in table.metric_names for table in tables):
        known = ", ".join(sorted({known for table in tables for known in table.metric_names}))
        raise UsageError(
            f"none of these sessions has a metric {name!r}; {hint(name, known.split(', '))}metrics are: {known or 'none yet'}"
        )
    up = tables[0].ranking.ascending(name, ascending or None)
    return name, up, [_document(table, name, up) for table in tables], _notices(tables)


def _document(table: ResultTable, metric: str, ascending: bool) -> dict[str, Any]:
    spec, counts = table.spec, table.counts()
    document: dict[str, Any] = {
        "session_id": table.session_id,
        "state": table.state.label(),
        "method": spec.method,
        "seed": spec.seed,
        "iterations": spec.n,
        "total_iterations": len(table),
        "statuses": counts,
        "best": None,
        "best_iteration": None,
        "median": None,
        "top_tenth": None,
        "seconds_each": None,
        "params": {},
    }
    if not counts["completed"] or metric not in table.metric_names:
        return document
    comparable = table.ranking.comparable(metric, ascending)
    values = table.source.metric(metric)[comparable if comparable.any() else table.ranking.completed]
    values = values[~np.isnan(values)]
    position = table.ranking.best(metric, ascending)
    if len(values):
        document["median"] = quantile(values, 0.5)
        document["top_tenth"] = quantile(values, 0.1 if ascending else 0.9)
    document["seconds_each"] = float(np.median(table.source.fixed("duration_s")[table.completed]))
    if position is None:
        return document
    (best,) = table.results([position])
    return document | {
        "best": best.metrics[metric],
        "best_iteration": best.iteration,
        "params": {**spec.fixed, **best.params},
    }


def _notices(tables: Sequence[ResultTable]) -> list[str]:
    """What makes the numbers of these sessions another question's answers."""
    first = tables[0].spec
    notices = [f"{table.session_id}: {table.missing_text}" for table in tables if table.missing]
    for table in tables[1:]:
        spec = table.spec
        differing = [
            what
            for what, a, b in (
                ("objective", first.objective, spec.objective),
                ("data or code", _contents(first.digests), _contents(spec.digests)),
                ("fixed parameters", dict(first.fixed), dict(spec.fixed)),
                ("searched parameters", first.space.names, spec.space.names),
            )
            if a != b
        ]
        if differing:
            notices.append(f"{table.session_id} differs from {tables[0].session_id} in its {', '.join(differing)}")
    return notices


def _contents(digests: Any) -> list[str]:
    """The same files under other names are the same files."""
    return sorted(str(digest) for digest in digests.values())
