"""What the page shows of one session, of several beside each other, and the best of each, as JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from arbd.analysis.best_so_far import BestSoFar
from arbd.analysis.comparison import compare_sessions
from arbd.analysis.report.content import report_content
from arbd.analysis.report.curves import own_values
from arbd.analysis.report.page import job_text
from arbd.analysis.table import ResultTable, load_table
from arbd.analysis.verdict import verdict_line
from arbd.errors import ArbdError, NotFoundError, UsageError
from arbd.job.stored import read_spec
from arbd.plain_json import as_plain, shown_parameters
from arbd.search.ordering import improvements
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.unknown_session import unknown_session

RANKED = 200
MAX_COMPARED = 8
MAX_CURVE_POINTS = 2_000
MAX_BESTS = 200


def as_json(value: Any) -> bytes:
    """A document as it goes to a browser."""
    return json.dumps(as_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def stamp_of(layout: SpoolLayout, session_id: str) -> Hashable:
    """What changes whenever a session has other results; NotFoundError without such a session."""
    files, paths = layout.files(), layout.session(session_id)
    looks = [files.look(path) for path in (paths.ledger, paths.results)]
    if looks[0] is None:
        raise unknown_session(files, paths)
    return tuple((found.size, found.mtime_ns, found.inode) for found in looks if found is not None)


def session_body(layout: SpoolLayout, session_id: str, metric: str | None) -> bytes:
    """What the report says of a session, while it runs too. UsageError for a metric that it does not have."""
    table = load_table(layout.root, session_id)
    name = metric or table.spec.metrics[0].name
    if metric and table.metric_names and metric not in table.metric_names:
        raise UsageError(f"session {session_id} has no metric {metric!r}; metrics are: {', '.join(table.metric_names)}")
    line, verdict = verdict_line(layout.root, table, name)
    content = report_content(
        table,
        name,
        table.ranking.ascending(name),
        job_text(layout.root, session_id),
        verdict,
        verdict_text="" if verdict else line,
        ranked=RANKED,
    )
    content["all_metrics"] = table.metric_names
    content["is_paper"] = table.spec.objective.kind == "paper"
    return as_json(content)


def compared_body(layout: SpoolLayout, session_ids: Sequence[str], metric: str | None) -> bytes:
    """Sessions beside each other, each with the curve of its best so far."""
    name, ascending, documents, notices = compare_sessions(layout.root, session_ids, metric, ascending=False)
    for document in documents:
        document["curve"] = _curve(load_table(layout.root, document["session_id"]), name, ascending)
    return as_json({"metric": name, "ascending": ascending, "sessions": documents, "notices": notices})


def _curve(table: ResultTable, metric: str, ascending: bool) -> dict[str, Any]:
    values = table.column(metric)
    if values is None:
        return {"iteration": [], "values": []}
    comparable = table.ranking.comparable(metric, ascending)
    changed = improvements(np.where(comparable, table.ranking.loss(metric, ascending), np.nan))[-MAX_CURVE_POINTS:]
    return {"iteration": table.source.fixed("iteration")[changed].tolist(), "values": values[changed].tolist()}


class Bests:
    """The best result of each session that somebody looks at, read incrementally while it goes on."""

    def __init__(self, layout: SpoolLayout) -> None:
        self._layout = layout
        self._files: Files = layout.files()
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Hashable, dict[str, Any], tuple[SessionQueue, BestSoFar] | None]] = {}

    def body(self, session_ids: Sequence[str]) -> bytes:
        """By session: metric, value, iteration. What cannot be read has a reason instead."""
        found = {}
        with self._lock:
            for session_id in session_ids:
                try:
                    found[session_id] = self._best(session_id)
                except (ArbdError, OSError) as error:
                    found[session_id] = {"reason": str(error)}
            while len(self._known) > MAX_BESTS:
                del self._known[next(iter(self._known))]
        return as_json(found)

    def _best(self, session_id: str) -> dict[str, Any]:
        stamp = stamp_of(self._layout, session_id)
        known = self._known.pop(session_id, None)
        if known is not None and known[0] == stamp:
            self._known[session_id] = known
            return known[1]
        if known is not None and known[2] is not None:
            queue, best = known[2]
        else:
            paths = self._layout.session(session_id)
            queue = SessionQueue(self._files, paths)
            best = BestSoFar(self._files, paths, read_spec(self._files, paths))
        best.look(queue.refresh())
        document = {"metric": best.metric, "value": best.value, "iteration": best.iteration or None}
        self._known[session_id] = (stamp, document, None if queue.state.over else (queue, best))
        return document


def recorded_row(layout: SpoolLayout, session_id: str, iteration: int) -> Mapping[str, Any]:
    """The recorded row of an iteration; NotFoundError where there is none yet."""
    table = load_table(layout.root, session_id)
    numbers = table.source.fixed("iteration")
    at = int(np.searchsorted(numbers, iteration))
    if at == len(numbers) or numbers[at] != iteration:
        raise NotFoundError(f"session {session_id} has no result of iteration {iteration} (yet)")
    (row,) = table.results([at])
    return {
        "session_id": session_id,
        "iteration": row.iteration,
        "iterations": table.spec.n,
        "status": row.status,
        "worker": row.worker_id,
        "ended": row.timestamp,
        "duration_s": row.duration_s,
        "attempt": row.attempt,
        "error": row.error,
        "feasible": row.violation <= 0,
        "budget": row.budget,
        "duplicate_of": row.duplicate_of or None,
        "params": shown_parameters(row.params),
        "fixed": shown_parameters(table.spec.fixed),
        "metrics": dict(row.metrics),
        "metric": table.spec.metrics[0].name,
        "reports": own_values(row),
        "is_paper": table.spec.objective.kind == "paper",
    }
