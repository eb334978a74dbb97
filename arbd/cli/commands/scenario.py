"""`arbctl scenario`: scenario files, run and judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.analysis.text import format_value
from arbd.cli.app import App, json_option, pass_app
from arbd.cli.typed_file import TypedFile
from arbd.errors import UsageError

if TYPE_CHECKING:
    from arbd.paper.scenario_run import ScenarioReport


@click.command()
@click.argument("files", nargs=-1, required=True, type=TypedFile())
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Override an engine parameter.")
@json_option
@pass_app
def scenario(app: App, files: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Run scenario FILES with the paper engine and check their expected outcomes; exit 1 if any does not hold.

    \b
    Examples:
      arbctl scenario etc/scenarios/*.yaml
      arbctl scenario etc/scenarios/profitable_spread.yaml --set slippage_bps=20
    """
    from arbd.paper.scenario import load_scenario
    from arbd.paper.scenario_run import run_scenario

    params = parameters(overrides)
    reports = [run_scenario(load_scenario(path), params) for path in files]
    documents = [_document(path, report) for path, report in zip(files, reports, strict=True)]
    app.show({"scenarios": documents}, lambda: "\n".join(_text(p, r) for p, r in zip(files, reports, strict=True)))
    if not all(report.ok for report in reports):
        raise click.exceptions.Exit(1)


def parameters(overrides: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` texts as engine parameters, the values read as YAML scalars."""
    from arbd import strict_yaml

    params: dict[str, Any] = {}
    for item in overrides:
        name, separator, text = item.partition("=")
        if not separator or not name:
            raise UsageError(f"--set {item!r}: expected NAME=VALUE")
        params[name.strip()] = strict_yaml.parse(text, f"--set {name}").value
    return params


def _document(path: Path, report: ScenarioReport) -> dict[str, Any]:
    checks = [{"name": c.name, "expected": c.expected, "actual": c.actual, "holds": c.holds} for c in report.checks]
    return {"file": str(path), "name": report.name, "ok": report.ok, "checks": checks, "metrics": dict(report.metrics)}


def _text(path: Path, report: ScenarioReport) -> str:
    lines = [f"{'ok     ' if report.ok else 'BROKEN '} {report.name} ({path})"]
    for check in report.checks:
        mark = "holds" if check.holds else "DOES NOT HOLD"
        lines.append(f"  {check.name}: expected {check.expected}, got {format_value(check.actual)}: {mark}")
    shown = ("pnl", "trades", "win_rate", "total_fees", "max_drawdown")
    values = ", ".join(f"{name} {format_value(report.metrics[name])}" for name in shown if name in report.metrics)
    return "\n".join([*lines, f"  {values}"])
