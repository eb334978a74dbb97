"""One iteration as a page: edges with thresholds, entries, exits, equity and drawdown, with zoom. One file, works offline."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from arbd.analysis.charts.one_file import one_file
from arbd.analysis.replay import Replay
from arbd.analysis.run_series import run_series
from arbd.analysis.trades import MarketRun
from arbd.atomic_file import whole_file
from arbd.plain_json import shown_parameters

# Into how many parts the time is cut: what a file can zoom into, and what keeps it light.
STRETCHES = 2_000


def write_run_page(done: Replay, runs: Sequence[MarketRun], path: Path) -> None:
    """Write the page, the file whole by rename."""
    with whole_file(path) as new:
        new.write_text(run_page(done, runs), encoding="utf-8")


def run_page(done: Replay, runs: Sequence[MarketRun]) -> str:
    """The page as HTML."""
    row = done.recorded
    content = {
        "session_id": row.session_id,
        "iteration": row.iteration,
        "worker": row.worker_id,
        "ended": row.timestamp,
        "equal": done.equal,
        "differences": [each.metric for each in done.differences],
        "params": shown_parameters(row.params),
        "fixed": shown_parameters({n: value for n, value in done.spec.fixed.items() if n not in row.params}),
        "metrics": dict(done.metrics),
        "stretches": STRETCHES,
        "markets": [run_series(each).cut(stretches=STRETCHES) for each in runs],
    }
    script = (resources.files(__package__) / "run_page.js").read_text(encoding="utf-8")
    return one_file("arbd: one iteration", script, content)
