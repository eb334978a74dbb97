"""`arbctl summary` and `arbctl best`: what the search found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from arbd.cli.app import App, complete_sessions, json_option, pass_app, plain, table
from arbd.cli.numerics import import_numpy
from arbd.errors import NotFoundError, UsageError

import_numpy()

from arbd.analysis.text import format_value  # noqa: E402
from arbd.tuning.result import TuningResult  # noqa: E402


@dataclass(frozen=True, slots=True)
class _View:
    """What a summary shows, from a session or from a table."""

    title: str
    metric: str
    ascending: bool
    facts: dict[str, Any]
    ranking: list[TuningResult]
    failures: list[dict[str, Any]]
    notices: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        return {
            **self.facts,
            "metric": self.metric,
            "direction": "minimize" if self.ascending else "maximize",
            "ranking": [result.to_plain() for result in self.ranking],
            "failures": self.failures,
            "notices": list(self.notices),
        }


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="A results table instead of a session.")
@click.option("--metric", help="Rank by this metric, by default the job's own.")
@click.option("--top-n", default=5, show_default=True, type=click.IntRange(1), help="How many to show.")
@click.option("--ascending", is_flag=True, help="Lowest first. By default the job's direction decides.")
@json_option
@pass_app
def summary(
    app: App, session: str | None, csv_path: Path | None, metric: str | None, top_n: int, ascending: bool
) -> None:
    """Rank the results of SESSION, finished or still running, or of a CSV table.

    \b
    Examples:
      arbctl summary kimchi-btc-01
      arbctl summary kimchi-btc-01 --metric sharpe --top-n 10
      arbctl summary --csv results.csv --metric max_drawdown --ascending
    """
    if (session is None) == (csv_path is None):
        raise UsageError("name either a SESSION or --csv FILE; see `arbctl list` for the sessions")
    view = (
        _of_session(app, session, metric, top_n, ascending)
        if session is not None
        else _of_csv(csv_path, metric, top_n, ascending)
    )
    app.show(view.document(), lambda: _text(view))


def _of_session(app: App, session: str, metric: str | None, top_n: int, ascending: bool) -> _View:
    from arbd.analysis.failures import grouped_failures
    from arbd.analysis.table import load_table

    loaded = load_table(app.layout().root, session)
    goal = next((g for g in loaded.spec.metrics if g.name == (metric or g.name)), None)
    name = metric or loaded.spec.metrics[0].name
    up = ascending or (goal is not None and goal.direction == "minimize")
    facts = {
        "session_id": session,
        "state": loaded.state.label(),
        "method": loaded.spec.method,
        "seed": loaded.spec.seed,
        "iterations": loaded.spec.n,
        "total_iterations": len(loaded),
        "total_workers": len(loaded.worker_counts()),
        "unique_sessions": 1,
        "statuses": loaded.counts(),
        "worker_iterations": loaded.worker_counts(),
        "metrics_keys": sorted(loaded.metric_names),
        "param_keys": sorted(loaded.spec.space.names),
        "workers": sorted(loaded.workers),
        "sessions": [session],
        "duplicates": loaded.state.duplicates,
    }
    ranking = loaded.results(loaded.rank(name, top_n, up)) if loaded.counts()["completed"] else []
    return _View(f"session {session}", name, up, facts, ranking, grouped_failures(loaded), loaded.spec.notices)


def _of_csv(csv_path: Path | None, metric: str | None, top_n: int, ascending: bool) -> _View:
    from arbd.analysis import TuningAnalyzer, load_results_from_csv

    assert csv_path is not None
    results = load_results_from_csv(csv_path)
    analyzer = TuningAnalyzer(results)
    facts = analyzer.summarize()
    keys = facts["metrics_keys"]
    name = metric or ("pnl" if "pnl" in keys else keys[0] if len(keys) == 1 else "")
    if not name:
        raise UsageError(f"{csv_path}: name the metric to rank by with --metric: {', '.join(keys) or 'there is none'}")
    facts["worker_iterations"] = {w: sum(r.worker_id == w for r in results) for w in facts["workers"]}
    errors: dict[tuple[str, str], list[int]] = {}
    for result in results:
        if result.status != "completed":
            errors.setdefault((result.status, result.error), []).append(result.iteration)
    failures = [{"status": s, "error": e, "count": len(i), "first_iteration": min(i)} for (s, e), i in errors.items()]
    ranking = analyzer.rank_by_metric(name, top_n, ascending) if facts["statuses"].get("completed") else []
    return _View(str(csv_path), name, ascending, facts, ranking, failures)


def _text(view: _View) -> str:
    facts = view.facts
    statuses = ", ".join(f"{count:,} {name}" for name, count in facts["statuses"].items() if count)
    of = f" of {facts['iterations']:,}" if "iterations" in facts else ""
    state = f" ({facts['state']}, {facts['method']}, seed {facts['seed']})" if "state" in facts else ""
    lines = [f"{view.title}{state}: {facts['total_iterations']:,}{of} iterations: {statuses or 'none yet'}"]
    shares = ", ".join(f"{name} {count:,}" for name, count in sorted(facts["worker_iterations"].items()))
    lines.append(f"workers: {shares or 'none yet'}")
    lines += [f"note: {notice}" for notice in view.notices]
    if view.ranking:
        lines += ["", f"best by {view.metric} ({'lowest' if view.ascending else 'highest'} first)", _ranking(view)]
    for failure in view.failures:
        lines.append(
            f"{failure['count']} {failure['status']}, first iteration {failure['first_iteration']}: {failure['error']}"
        )
    return "\n".join(lines)


def _ranking(view: _View) -> str:
    params = list(view.ranking[0].params)
    head = ["RANK", "ITERATION", view.metric.upper(), *params]
    rows = [
        [
            str(rank),
            str(result.iteration),
            format_value(result.metrics.get(view.metric, float("nan"))),
            *(format_value(result.params[name]) for name in params),
        ]
        for rank, result in enumerate(view.ranking, 1)
    ]
    return table(head, rows)


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option("--metric", help="By this metric, by default the job's own.")
@click.option("--ascending", is_flag=True, help="The lowest is best. By default the job's direction decides.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["yaml", "json", "env"]),
    default="yaml",
    show_default=True,
    help="How to print.",
)
@json_option
@pass_app
def best(app: App, session: str, metric: str | None, ascending: bool, form: str) -> None:
    """The winning parameters of SESSION, those that were fixed included, to feed a bot.

    \b
    Examples:
      arbctl best kimchi-btc-01 > params.yaml
      arbctl best kimchi-btc-01 --metric sharpe --format json
      eval "$(arbctl best kimchi-btc-01 --format env)"
    """
    from arbd.analysis.table import load_table

    loaded = load_table(app.layout().root, session)
    if not loaded.counts()["completed"]:
        raise NotFoundError(f"session {session} has no completed iteration yet: see `arbctl status {session}`")
    name = metric or loaded.spec.metrics[0].name
    minimized = any(goal.name == name and goal.direction == "minimize" for goal in loaded.spec.metrics)
    result = loaded.results(loaded.rank(name, 1, ascending or minimized))[0]
    params = {**loaded.spec.fixed, **result.params}
    click.echo(_encoded(params, "json" if app.as_json else form), nl=False)


def _encoded(params: dict[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(plain(params), indent=2) + "\n"
    if form == "env":
        import shlex

        return "".join(f"{name.upper()}={shlex.quote(str(value))}\n" for name, value in params.items())
    import yaml

    return str(yaml.safe_dump(plain(params), sort_keys=False))
