"""`arbctl best`: the winning parameters."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from arbd.arrays import load as load_numpy
from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.complete import complete_metrics
from arbd.errors import NotFoundError, UsageError
from arbd.plain_json import as_plain, text_of
from arbd.terminal_text import escape_line

load_numpy()

from arbd.analysis.activity import require_trades  # noqa: E402
from arbd.analysis.failures import why_no_best  # noqa: E402

if TYPE_CHECKING:
    from arbd.analysis.table import ResultTable


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option("--metric", shell_complete=complete_metrics, help="By this metric, by default the job's own.")
@click.option("--ascending", is_flag=True, help="The lowest is best. By default the job's direction decides.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["yaml", "json", "env"]),
    default="yaml",
    show_default=True,
    help="How to print.",
)
@click.option("--anyway", is_flag=True, help="Also where the best result made no trade.")
@click.option(
    "--robust", is_flag=True, help="Of the finalists that survive test and stress, the one on the best plateau."
)
@json_option
@pass_app
def best(app: App, session: str, metric: str | None, ascending: bool, form: str, anyway: bool, robust: bool) -> None:
    """The winning parameters of SESSION, those that were fixed included, to feed a bot.

    With several metrics: all results of the Pareto front, unless --metric names one.

    \b
    Examples:
      arbctl best kimchi-btc-01 > params.yaml
      arbctl best kimchi-btc-01 --metric sharpe --format json
      arbctl best kimchi-btc-01 --robust
      eval "$(arbctl best kimchi-btc-01 --format env)"; echo "$PARAM_MIN_SPREAD_PCT"
    """
    from arbd.analysis.table import load_table

    loaded = load_table(app.layout().root, session, blocks=robust)
    name = metric or loaded.spec.metrics[0].name
    if not loaded.counts()["completed"]:
        raise _no_best(loaded, why_no_best(loaded, name))
    if metric is None and len(loaded.spec.metrics) > 1 and not robust:
        _show_front(app, loaded, form, anyway=anyway)
        return
    up = loaded.ranking.ascending(name, ascending or None)
    if metric is None and (why := why_no_best(loaded, name, up)):
        raise _no_best(loaded, why)
    first = loaded.rank(name, 1, up)
    if why := why_no_best(loaded, name, up):
        raise _no_best(loaded, why)
    winner = first
    if robust:
        first = _robust(loaded, name)
    (result,) = loaded.results(first)
    require_trades(loaded, [result], anyway=anyway)
    params = {**loaded.spec.fixed, **result.params}
    line = _verdict_line(app, loaded, metric, judged=up == loaded.ranking.ascending(name))
    if line:
        of_another = (
            f" (of the single best, iteration {loaded.results(winner)[0].iteration})" if first != winner else ""
        )
        # Beside the parameters, not among them: those go to a bot.
        click.echo(escape_line(line + of_another), err=True)
    click.echo(_encoded(params, "json" if app.as_json else form), nl=False)


def _no_best(loaded: ResultTable, why: str) -> NotFoundError:
    return NotFoundError(f"session {loaded.session_id}: {why}: see `arbctl summary {loaded.session_id}`")


def _verdict_line(app: App, loaded: ResultTable, metric: str | None, *, judged: bool) -> str:
    """What is said of the winner; of the other end of a ranking nothing can be."""
    if not judged:
        return "verdict: none, as verdicts are on the best in the job's own direction"
    from arbd.analysis.verdict import verdict_line

    return verdict_line(app.layout().root, loaded, metric)[0]


def _robust(loaded: ResultTable, metric: str) -> list[int]:
    from arbd.analysis.robust import robust_choice

    found = robust_choice(loaded, metric)
    click.echo(escape_line(found.text(metric)), err=True)
    return [found.position]


def _variable(name: str) -> str:
    """A parameter's name as a shell's variable that means nothing to a shell or a program."""
    return "PARAM_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())


def _show_front(app: App, loaded: ResultTable, form: str, *, anyway: bool) -> None:
    """All results of a Pareto front: which of them is best is for a person to say."""
    front = loaded.ranking.front()
    if not front.positions:
        raise NotFoundError(f"session {loaded.session_id}: no result keeps every constraint and has every metric")
    names = [goal.name for goal in loaded.spec.metrics]
    results = loaded.results(front.positions)
    require_trades(loaded, results, anyway=anyway)
    points = [
        {
            "iteration": result.iteration,
            "metrics": {name: result.metrics[name] for name in names},
            "params": {**loaded.spec.fixed, **result.params},
        }
        for result in results
    ]
    document: dict[str, Any] = {"hypervolume": front.hypervolume}
    if front.left_out:
        document["hypervolume_left_out"] = front.left_out
    document |= {"reference": dict(front.reference), "pareto_front": points}
    click.echo(_encoded(document, "json" if app.as_json else form), nl=False)


def _encoded(params: dict[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(as_plain({"params": params})["params"], indent=2) + "\n"
    if form == "env":
        import shlex

        if "pareto_front" in params:
            raise UsageError("a Pareto front does not fit into variables: choose one of its metrics with --metric")
        names = [_variable(name) for name in params]
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise UsageError(f"several parameters would be the variable {', '.join(twice)}: use --format json or yaml")
        return "".join(
            f"{_variable(name)}={shlex.quote(escape_line(text_of(value)))}\n" for name, value in params.items()
        )
    from arbd import strict_yaml

    return strict_yaml.dump(as_plain({"params": params}, float)["params"])
