"""The report as one HTML file: markup, style, script and data, nothing fetched, nothing of the data executed.

Session ids, parameters, error texts and the job are as untrusted as the jobs were. They travel as JSON in a block
that no browser executes, with every `<` escaped, and the script puts them on the page as text alone. A content
security policy names the digests of the one style and the one script, so nothing else on the page can run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

from arbd import __version__
from arbd.analysis import charts
from arbd.analysis.report.content import report_content
from arbd.analysis.report.winner import equity
from arbd.analysis.table import load_table
from arbd.analysis.verdict import verdict_line
from arbd.atomic_file import check_output, whole_file
from arbd.errors import UsageError
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
    said: dict[str, Any] = finite(content)
    return said


def job_text(spool: Path, session_id: str) -> str:
    """The job file as it was submitted."""
    layout = SpoolLayout(spool)
    return layout.files().read(layout.session(session_id).job, limit=JOB_BYTES).decode(errors="replace")


def render(content: dict[str, Any]) -> str:
    """The page."""
    own = {name: (resources.files(__package__) / name).read_text() for name in ("page.html", "page.js")}
    return one_file(own["page.html"], own["page.js"], content | {"version": __version__})


def one_file(page: str, own_script: str, content: dict[str, Any]) -> str:
    """A page that works offline: a template with the charts' style and script, a script of its own, and its data."""
    style, code = charts.asset(charts.STYLE), f"{charts.script()}\n{own_script}"
    data = json.dumps(finite(content), ensure_ascii=True, allow_nan=False)
    for mark, value in (
        ("{{style-digest}}", _digest(style)),
        ("{{script-digest}}", _digest(code)),
        ("{{style}}", style),
        ("{{script}}", code),
        # Last, so that nothing is replaced within it. Inside JSON, \u003c is the same text.
        ("{{data}}", data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")),
    ):
        page = page.replace(mark, value, 1)
    return page


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def finite(value: Any) -> Any:
    """`value` as JSON can hold it. JSON has no NaN: an undefined number is null."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
