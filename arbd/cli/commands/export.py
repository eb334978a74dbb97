"""`arbctl export`: results for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.part_name import PartName

if TYPE_CHECKING:
    from arbd.analysis.export_format import ExportFormat
    from arbd.registry import Registry


def _formats() -> Registry[ExportFormat]:
    from arbd.analysis.formats import FORMATS

    return FORMATS


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option(
    "--format",
    "form",
    required=True,
    type=PartName(_formats),
    help="What to write.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Where to; `-` is standard output.")
@json_option
@pass_app
def export(app: App, session: str, form: str, output: Path) -> None:
    """Write all results of SESSION, finished or still running: every parameter and every metric.

    \b
    Examples:
      arbctl export kimchi-btc-01 --format csv --output results.csv
      arbctl export kimchi-btc-01 --format parquet --output results.parquet
      arbctl export kimchi-btc-01 --format jsonl --output - | head -1
      arbctl export kimchi-btc-01 --format optuna --output kimchi.log && optuna-dashboard kimchi.log
    """
    from arbd.analysis.export import export_session

    rows = export_session(app.layout().root, session, form, output)
    if str(output) != "-":
        app.show({"session_id": session, "rows": rows, "output": str(output)}, lambda: f"{rows:,} rows in {output}")
