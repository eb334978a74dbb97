"""`arbctl compare`: sessions side by side."""

from __future__ import annotations

from typing import Any

import click

from arbd.arrays import load as load_numpy
from arbd.cli.app import App, complete_sessions, duration, json_option, pass_app, table
from arbd.cli.complete import complete_metrics
from arbd.errors import UsageError
from arbd.spool.unknown_session import require_sessions


@click.command()
@click.argument("sessions", shell_complete=complete_sessions, nargs=-1, required=True, metavar="SESSION SESSION ...")
@click.option(
    "--metric",
    shell_complete=complete_metrics,
    help="Compare by this metric, by default that of the first session's job.",
)
@click.option("--ascending", is_flag=True, help="The lowest is best. By default the job's direction decides.")
@json_option
@pass_app
def compare(app: App, sessions: tuple[str, ...], metric: str | None, ascending: bool) -> None:
    """Put two or more SESSIONs side by side: what each found, how good its usual result is, what it cost.

    \b
    Examples:
      arbctl compare kimchi-btc-01 kimchi-btc-02
      arbctl compare sobol-1 tpe-1 tpe-2 --metric sharpe --json
    """
    require_sessions(app.layout(), sessions)
    if len(sessions) < 2:
        raise UsageError("name at least two sessions to compare; see `arbctl list`")
    load_numpy()
    from arbd.analysis.comparison import compare_sessions

    name, up, documents, notices = compare_sessions(app.layout().root, sessions, metric, ascending)
    whole = {"metric": name, "direction": "minimize" if up else "maximize", "sessions": documents, "notices": notices}
    app.show(whole, lambda: _text(name, up, documents, notices))


def _text(metric: str, ascending: bool, documents: list[dict[str, Any]], notices: list[str]) -> str:
    from arbd.analysis.text import format_value
    from arbd.search.plan import NOT_RUN_NAMES, PRUNED

    def cell(value: object) -> str:
        return "-" if value is None else format_value(value)

    tenth = "TOP DECILE FROM"
    head = ("SESSION", "STATE", "METHOD", "DONE", "BAD", f"BEST {metric.upper()}", tenth, "MEDIAN", "FOUND AT", "EACH")
    rows = [
        [
            d["session_id"],
            d["state"],
            d["method"],
            f"{d['total_iterations']:,}",
            str(d["total_iterations"] - d["statuses"]["completed"] - d["statuses"].get(NOT_RUN_NAMES[PRUNED], 0)),
            cell(d["best"]),
            cell(d["top_tenth"]),
            cell(d["median"]),
            cell(d["best_iteration"]),
            "-" if d["seconds_each"] is None else _each(d["seconds_each"]),
        ]
        for d in documents
    ]
    names = dict.fromkeys(name for d in documents for name in d["params"])
    params = [
        [name, *(format_value(d["params"][name]) if name in d["params"] else "-" for d in documents)] for name in names
    ]
    lines = [f"by {metric} ({'lowest' if ascending else 'highest'} is best)", table(head, rows)]
    if params:
        lines += ["", "parameters of the best", table(("PARAMETER", *(d["session_id"] for d in documents)), params)]
    return "\n".join([*lines, *(f"note: {notice}" for notice in notices)])


def _each(seconds: float) -> str:
    for unit, scale in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:.0f} {unit}"
    return duration(seconds)
