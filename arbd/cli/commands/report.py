"""`arbctl report`: a session as one page for people."""

from __future__ import annotations

from pathlib import Path

import click

from arbd.arrays import load as load_numpy
from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.complete import complete_metrics


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option("--output", type=click.Path(path_type=Path), help="The file, by default SESSION.html here.")
@click.option("--metric", shell_complete=complete_metrics, help="The metric of the figures, by default the job's own.")
@click.option("--ascending", is_flag=True, help="The lowest is best. By default the job's direction decides.")
@json_option
@pass_app
def report(app: App, session: str, output: Path | None, metric: str | None, ascending: bool) -> None:
    """Write SESSION as one HTML file that works offline: history, parameters, importance, failures, ranking, job.

    \b
    Examples:
      arbctl report kimchi-btc-01
      arbctl report kimchi-btc-01 --metric sharpe --output sharpe.html
    """
    load_numpy()
    from arbd.analysis.report.page import write_report

    target = output or Path(f"{session}.html")
    size = write_report(app.layout().root, session, target, metric, ascending, app.config().cache_dir)
    app.show(
        {"session_id": session, "output": str(target), "bytes": size}, lambda: f"{target} ({size / 1024:,.0f} KiB)"
    )
