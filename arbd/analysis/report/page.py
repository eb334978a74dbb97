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
from arbd.analysis.report.content import report_content
from arbd.analysis.table import load_table
from arbd.analysis.verdict import verdict_line
from arbd.atomic_file import check_output, whole_file
from arbd.errors import UsageError
from arbd.spool.layout import SpoolLayout

JOB_BYTES = 1 << 20


def write_report(spool: Path, session_id: str, output: Path, metric: str | None, ascending: bool) -> int:
    """Write the page of a session, finished or still running; its size in bytes. It appears whole, by rename."""
    check_output(output)
    table = load_table(spool, session_id)
    name = metric or table.spec.metrics[0].name
    if table.metric_names and name not in table.metric_names:
        known = ", ".join(table.metric_names)
        raise UsageError(f"session {session_id} has no metric {name!r}; metrics are: {known}")
    up = table.ranking.ascending(name, ascending or None)
    layout = SpoolLayout(spool)
    job = layout.files().read(layout.session(session_id).job, limit=JOB_BYTES).decode(errors="replace")
    _, verdict = verdict_line(spool, table, name)
    page = render(report_content(table, name, up, job, verdict)).encode()
    with whole_file(output) as path:
        path.write_bytes(page)
    return len(page)


def render(content: dict[str, Any]) -> str:
    """The page."""
    parts = {name: (resources.files(__package__) / name).read_text() for name in ("page.html", "page.css", "page.js")}
    data = json.dumps(_finite(content | {"version": __version__}), ensure_ascii=True, allow_nan=False)
    for mark, value in (
        ("{{style-digest}}", _digest(parts["page.css"])),
        ("{{script-digest}}", _digest(parts["page.js"])),
        ("{{style}}", parts["page.css"]),
        ("{{script}}", parts["page.js"]),
        # Last, so that nothing is replaced within it. Inside JSON, \u003c is the same text.
        ("{{data}}", data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")),
    ):
        parts["page.html"] = parts["page.html"].replace(mark, value, 1)
    return parts["page.html"]


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _finite(value: Any) -> Any:
    """JSON has no NaN: an undefined number is null."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
