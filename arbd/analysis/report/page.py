"""The report as one HTML file that works offline: see `arbd.analysis.charts.one_file`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from arbd.analysis.charts.one_file import one_file
from arbd.analysis.report.content import report_content
from arbd.analysis.report.winner import equity
from arbd.analysis.table import load_table
from arbd.analysis.verdict import verdict_line
from arbd.atomic_file import check_output, whole_file
from arbd.errors import UsageError
from arbd.plain_json import as_plain
from arbd.registry import hint
from arbd.spool.layout import SpoolLayout

JOB_BYTES = 1 << 20


def write_report(
    spool: Path, session_id: str, output: Path, metric: str | None, ascending: bool, cache_dir: Path | None = None
) -> int:
    """Write the page of a session, finished or still running; its size in bytes. It appears whole, by rename."""
    check_output(output)
    page = render(session_content(spool, session_id, metric, ascending, cache_dir=cache_dir)).encode()
    with whole_file(output) as path:
        path.write_bytes(page)
    return len(page)


def session_content(
    spool: Path, session_id: str, metric: str | None, ascending: bool, *, cache_dir: Path | None = None
) -> dict[str, Any]:
    """What is said of a session, as JSON can hold it: the winner's verdict and equity too.

    NotFoundError without such a session, UsageError for a metric that it does not have.
    """
    table = load_table(spool, session_id)
    name = metric or table.spec.metrics[0].name
    if table.metric_names and name not in table.metric_names:
        known = ", ".join(table.metric_names)
        raise UsageError(
            f"session {session_id} has no metric {name!r}; {hint(name, table.metric_names)}metrics are: {known}"
        )
    up = table.ranking.ascending(name, ascending or None)
    line, verdict = verdict_line(spool, table, name)
    content = report_content(
        table,
        name,
        up,
        job_text(spool, session_id),
        verdict,
        verdict_text="" if verdict else line,
        equity=lambda found, winner: equity(found, winner, cache_dir),
    )
    said: dict[str, Any] = as_plain(content)
    return said


def job_text(spool: Path, session_id: str) -> str:
    """The job file as it was submitted."""
    layout = SpoolLayout(spool)
    return layout.files().read(layout.session(session_id).job, limit=JOB_BYTES).decode(errors="replace")


def render(content: dict[str, Any]) -> str:
    """The page."""
    return one_file("arbd report", (resources.files(__package__) / "report.js").read_text(encoding="utf-8"), content)
