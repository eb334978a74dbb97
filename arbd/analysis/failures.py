"""What went wrong in a session, each kind of error once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from arbd.analysis.activity import TRADES
from arbd.analysis.table import ResultTable
from arbd.results.missing_metrics import missing_metric
from arbd.results.ranking import Ranking
from arbd.spool.ledger import COMPLETED, STATUS_NAMES

MAX_KINDS = 10
MAX_KINDS_IN_A_LINE = 3
# What differs from one iteration to the next in the same words: numbers, addresses of objects.
_VARIES = re.compile(r"0x[0-9a-f]+|[-+]?(?:\d[\d,_]*\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)


def grouped_failures(table: ResultTable) -> list[dict[str, Any]]:
    """The most frequent errors by status and text: status, error, count, first_iteration."""
    if table.source.counts[COMPLETED] == table.source.n:
        return []
    status = table.source.fixed("status")
    bad = np.flatnonzero(status != COMPLETED)
    errors = table.source.errors()
    iterations = table.source.fixed("iteration")[bad].tolist()
    return by_kind(
        (STATUS_NAMES[kind], errors.get(iteration, ""), iteration)
        for kind, iteration in zip(status[bad].tolist(), iterations, strict=True)
    )


def numbers_notice(ranking: Ranking, metric_names: Collection[str]) -> str:
    """How many completed results have no number for a metric that the job optimises, which ranks them last; "" else.

    Where there are trades, a metric that is undefined without them is NaN and no fault: there it is told only where no
    result has a number.
    """
    completed = ranking.completed
    of, told = int(completed.sum()), []
    for goal in ranking.goals:
        values = ranking.columns.column(goal.name)
        without = 0 if values is None else int(np.isnan(values[completed]).sum())
        if without and without == of:
            told.append(f"no result has a number for {goal.name}: all {of:,} are nan")
        elif without and TRADES not in metric_names:
            told.append(f"{without:,} of {of:,} results have no number for {goal.name}, and rank last")
    return "; ".join(told)


def why_no_best(table: ResultTable, metric: str, ascending: bool | None = None) -> str:
    """Why no result is the best by a metric, its direction that of the job or `ascending`; "" where one is."""
    n = len(table)
    if not table.source.counts[COMPLETED]:
        if table.missing:
            return table.missing_text
        return failures_text(table) if n else "no iteration is completed yet"
    if metric not in table.metric_names:
        return missing_metric(table.spec, table.metric_names) or f"no result has the metric {metric}"
    if table.ranking.best(metric, ascending) is not None:
        return ""
    position = next(iter(table.rank(metric, 1, ascending)), None)
    if position is not None and not table.ranking.feasible[position]:
        return f"every result breaks a constraint ({'; '.join(table.spec.constraints)})"
    return f"no result has a number for {metric}"


def failures_text(table: ResultTable) -> str:
    """How many iterations failed, and the most frequent errors of them in one line."""
    kinds = grouped_failures(table)
    failed = table.source.n - table.source.counts[COMPLETED]
    told = [f"{kind['error'] or kind['status']} ({kind['count']:,} times)" for kind in kinds[:MAX_KINDS_IN_A_LINE]]
    return f"{failed:,} of {table.source.n:,} iterations did not complete: {'; '.join(told)}"


def by_kind(failures: Iterable[tuple[str, str, int]]) -> list[dict[str, Any]]:
    """The most frequent kinds of (status, error, iteration): errors in the same words, whatever their numbers, are one kind.

    The error of each kind is that of its first iteration.
    """
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for status, error, iteration in failures:
        found.setdefault((status, _VARIES.sub("#", error)), []).append((iteration, error))
    kinds = sorted(found.items(), key=lambda kind: (-len(kind[1]), min(kind[1])))[:MAX_KINDS]
    return [
        {"status": status, "error": min(ones)[1], "count": len(ones), "first_iteration": min(ones)[0]}
        for (status, _), ones in kinds
    ]
