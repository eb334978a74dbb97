"""`arbctl summary`: what the search found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.arrays import load as load_numpy
from arbd.cli.app import App, complete_sessions, json_option, pass_app, table
from arbd.cli.complete import complete_metrics
from arbd.cli.typed_file import TypedFile
from arbd.errors import UsageError, VersionError
from arbd.terminal_text import escape_line
from arbd.values import dataclass

load_numpy()

from arbd.analysis.activity import trades_notice  # noqa: E402
from arbd.analysis.text import format_pairs, format_value  # noqa: E402
from arbd.results.missing_metrics import missing_metric  # noqa: E402
from arbd.results.result import TuningResult  # noqa: E402
from arbd.search.plan import NOT_RUN_NAMES, PRUNED  # noqa: E402

if TYPE_CHECKING:
    from arbd.analysis.budgets import Agreement
    from arbd.analysis.expected_value import ExpectedValue
    from arbd.analysis.table import ResultTable
    from arbd.results.ranking import Front

# What a trader asks next, shown beside the metric where there is such.
BESIDE = ("trades", "sharpe", "max_drawdown")


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
    front: dict[str, Any] | None = None
    verdict_line: str = ""
    verdict: dict[str, Any] | None = None
    agreement: Sequence[str] = ()
    # Metrics that belong to the job's own: what these are made of, and their errors.
    beside: Sequence[str] = ()
    worth: str = ""

    def document(self) -> dict[str, Any]:
        return {
            **self.facts,
            "metric": self.metric,
            "direction": "minimize" if self.ascending else "maximize",
            "ranking": [result.to_plain() for result in self.ranking],
            "failures": self.failures,
            **({} if self.front is None else {"pareto_front": self.front}),
            "notices": list(self.notices),
            **({} if self.verdict is None else {"verdict": self.verdict}),
        }


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option("--csv", "csv_path", type=TypedFile(), help="A results table instead of a session.")
@click.option("--metric", shell_complete=complete_metrics, help="Rank by this metric, by default the job's own.")
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
    from arbd.analysis.budgets import agreements, budget_notices
    from arbd.analysis.expected_value import expected_value
    from arbd.analysis.failures import grouped_failures, numbers_notice
    from arbd.analysis.slots import slots_notice
    from arbd.analysis.table import load_table
    from arbd.analysis.verdict import verdict_line

    loaded = load_table(app.layout().root, session)
    ranking, name = loaded.ranking, metric or loaded.spec.metrics[0].name
    aggregation = loaded.spec.aggregation
    up = ranking.ascending(name, ascending or None)
    agreeing = agreements(loaded)
    worth = expected_value(loaded)
    facts = _facts(loaded, agreeing, worth)
    # A metric that was asked for by name and is not there is an error; of the job's own, a notice tells.
    completed = loaded.counts()["completed"]
    is_ranked = completed and (metric is not None or name in loaded.metric_names)
    best = loaded.results(loaded.rank(name, top_n, up)) if is_ranked else []
    facts["code"], mixed = _code(app, loaded)
    notices = [*loaded.spec.notices, *_versions_notice(app, loaded), *mixed]
    notices += [loaded.missing_text] if loaded.missing else []
    notices += [
        *budget_notices(loaded),
        *slots_notice(loaded),
        *filter(None, [trades_notice(loaded), numbers_notice(ranking, loaded.metric_names)]),
    ]
    notices += filter(None, [missing_metric(loaded.spec, loaded.metric_names) if completed else ""])
    front = None
    if len(loaded.spec.metrics) > 1 and metric is None:
        found = ranking.front()
        front = _front_document(found, loaded.results(found.positions))
        best = loaded.results(found.positions[:top_n])
    failures = grouped_failures(loaded)
    is_judged = is_ranked and front is None
    line, verdict = verdict_line(app.layout().root, loaded, metric) if is_judged else ("", None)
    line, agreement = line + _standing(app, loaded, facts), [str(found) for found in agreeing]
    made_of = [] if aggregation.is_plain else [goal.name for goal in aggregation.raw(loaded.spec.metrics)]
    beside = [*made_of, *aggregation.added(loaded.spec.metrics)]
    told = "" if worth is None or not is_ranked else str(worth)
    return _View(
        f"session {session}", name, up, facts, best, failures, notices, front, line, verdict, agreement, beside, told
    )


def _facts(loaded: ResultTable, agreeing: Sequence[Agreement], worth: ExpectedValue | None) -> dict[str, Any]:
    """What a summary says of a session, beside its ranking."""
    return {
        "session_id": loaded.session_id,
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
        "sessions": [loaded.session_id],
        "duplicates": loaded.state.duplicates,
        "missing": loaded.missing,
        "stopped": loaded.state.stopped,
        "repeated": loaded.duplicates,
        "duplicate_iterations": loaded.duplicates,
        "constraints": list(loaded.spec.constraints),
        "breaking_constraints": int((loaded.ranking.completed & ~loaded.ranking.feasible).sum()),
        "objectives": [{"metric": goal.name, "direction": goal.direction} for goal in loaded.spec.metrics],
        "budget_agreement": [found.to_plain() for found in agreeing],
        "winner": None if worth is None else worth.to_plain(),
    }


def _standing(app: App, loaded: ResultTable, facts: dict[str, Any]) -> str:
    """What a session says for the standing job that made it, as another line; '' for any other."""
    from arbd.analysis.standing import answer_of

    answer = answer_of(app.layout().root, loaded)
    if answer is None:
        return ""
    facts["standing"] = answer.document()
    return f"\nstanding: {answer.advice}: {answer.reason} (`arbctl standing show {loaded.spec.labels['standing']}`)"


def _front_document(front: Front, results: Sequence[TuningResult]) -> dict[str, Any]:
    return {
        "size": len(front.positions),
        "hypervolume": front.hypervolume,
        "hypervolume_left_out": front.left_out,
        "reference": dict(front.reference),
        "results": [result.to_plain() for result in results],
    }


def _code(app: App, loaded: ResultTable) -> tuple[list[dict[str, Any]], list[str]]:
    """Which code made how many of the results, and a notice where that is more than one."""
    from arbd.analysis.code import code_shares, is_mixed, mixed_text
    from arbd.job.code import expected_parts
    from arbd.results.session_code import SessionCode

    layout = app.layout()
    code = SessionCode(layout.files(), layout.session(loaded.session_id), expected_parts(loaded.spec))
    shares = code_shares(code, loaded.source.code_counts)
    mixed = [mixed_text(loaded.session_id, shares)] if is_mixed(shares) else []
    return [share.document() for share in shares], mixed


def _versions_notice(app: App, loaded: ResultTable) -> list[str]:
    """Which generations were computed with other libraries than the session began with."""
    if not loaded.spec.sampler_versions:
        return []
    from arbd.results.generations import published_up_to, read_generation

    layout = app.layout()
    files, paths = layout.files(), layout.session(loaded.session_id)
    told = dict(loaded.spec.sampler_versions)
    for number in range(1, published_up_to(files, paths) + 1):
        try:
            found = dict(read_generation(files, paths, number).versions)
        except VersionError as error:
            # The rows say all that is summarised; only with what they were suggested is not known.
            return [f"generation {number} cannot be read: {error}"]
        if found != told:
            others = ", ".join(f"{name} {version}" for name, version in found.items() if told.get(name) != version)
            return [
                f"from generation {number} on suggestions came from {others}: another run may differ in the last bits"
            ]
    return []


def _of_csv(csv_path: Path | None, metric: str | None, top_n: int, ascending: bool) -> _View:
    from arbd.analysis import TuningAnalyzer, load_results_from_csv
    from arbd.analysis.failures import by_kind, numbers_notice
    from arbd.results.ranking import Ranking, ResultColumns

    assert csv_path is not None
    results = load_results_from_csv(csv_path)
    analyzer = TuningAnalyzer(results)
    facts = analyzer.summarize()
    keys, goals = facts["metrics_keys"], analyzer.objectives()
    name = metric or (goals[0].name if goals else "pnl" if "pnl" in keys else keys[0] if len(keys) == 1 else "")
    if not name and keys:
        raise UsageError(f"{csv_path}: name the metric to rank by with --metric: {', '.join(keys)}")
    columns = ResultColumns(results)
    ranking = Ranking(goals, columns)
    facts["objectives"] = [{"metric": goal.name, "direction": goal.direction} for goal in goals]
    facts["breaking_constraints"] = int((ranking.completed & ~ranking.feasible).sum())
    facts["worker_iterations"] = {w: sum(r.worker_id == w for r in results) for w in facts["workers"]}
    failures = by_kind(
        (result.status, result.error, result.iteration)
        for result in results
        if result.status not in ("completed", NOT_RUN_NAMES[PRUNED])
    )
    best = analyzer.rank_by_metric(name, top_n, ascending or None) if facts["statuses"].get("completed") else []
    front = None
    if len(goals) > 1 and metric is None and len(facts["sessions"]) == 1:
        found = ranking.front()
        chosen = [columns.results[position] for position in found.positions]
        front, best = _front_document(found, chosen), chosen[:top_n]
    up = ranking.ascending(name, ascending or None)
    notices = [*filter(None, [numbers_notice(ranking, keys)])]
    return _View(str(csv_path), name, up, facts, best, failures, notices, front=front)


def _text(view: _View) -> str:
    facts = view.facts
    statuses = ", ".join(f"{count:,} {name}" for name, count in facts["statuses"].items() if count)
    of = f" of {facts['iterations']:,}" if "iterations" in facts else ""
    state = f" ({facts['state']}, {facts['method']}, seed {facts['seed']})" if "state" in facts else ""
    lines = [f"{view.title}{state}: {facts['total_iterations']:,}{of} iterations: {statuses or 'none yet'}"]
    shares = ", ".join(f"{name} {count:,}" for name, count in sorted(facts["worker_iterations"].items()))
    lines.append(f"workers: {shares or 'none yet'}")
    if facts.get("stopped"):
        lines.append(f"stopped early: {facts['stopped']}")
    if facts.get("repeated"):
        lines.append(
            f"{facts['repeated']:,} are duplicates: their parameters stood before, they have those results and were not run"
        )
    if facts.get("breaking_constraints"):
        lines.append(f"{facts['breaking_constraints']:,} results break a constraint and rank last")
    if view.agreement:
        lines.append(f"rank correlation of budgets: {'; '.join(view.agreement)}")
    lines += [f"note: {notice}" for notice in view.notices]
    if view.front is not None:
        lines += ["", *_front_lines(view)]
    elif view.ranking:
        lines += ["", f"best by {view.metric} ({'lowest' if view.ascending else 'highest'} first)", _ranking(view)]
        lines += [view.worth] if view.worth else []
    for failure in view.failures:
        lines.append(
            f"{failure['count']} {failure['status']}, first iteration {failure['first_iteration']}: {escape_line(failure['error'])}"
        )
    if view.verdict_line:
        lines += ["", view.verdict_line.strip()]
    return "\n".join(lines)


def _front_lines(view: _View) -> list[str]:
    front, goals = view.front or {}, view.facts["objectives"]
    names = ", ".join(f"{goal['metric']} ({goal['direction']})" for goal in goals)
    if not front["size"]:
        return [f"Pareto front of {names}: empty"]
    corner = format_pairs(front["reference"])
    lines = [
        f"Pareto front of {names}: {front['size']:,} results",
        f"hypervolume left out: {front['hypervolume_left_out']}"
        if front["hypervolume_left_out"]
        else f"hypervolume {format_value(front['hypervolume'])} from the worst values {corner}",
    ]
    metrics = [goal["metric"] for goal in goals]
    params = list(dict.fromkeys(name for result in view.ranking for name in result.params))
    rows = [
        [
            str(result.iteration),
            *(format_value(result.metrics[name]) for name in metrics),
            *(format_value(result.params.get(name, "")) for name in params),
        ]
        for result in view.ranking
    ]
    lines.append(table(["ITERATION", *(name.upper() for name in metrics), *params], rows))
    if len(view.ranking) < front["size"]:
        lines.append(f"({front['size'] - len(view.ranking):,} more: --top-n)")
    return lines


def _ranking(view: _View) -> str:
    params = list(dict.fromkeys(name for result in view.ranking for name in result.params))
    known = view.ranking[0].metrics
    beside = [name for name in dict.fromkeys((*view.beside, *BESIDE)) if name != view.metric and name in known]
    head = ["RANK", "ITERATION", view.metric.upper(), *(name.upper() for name in beside), *params]
    rows = [
        [
            str(rank),
            str(result.iteration),
            *(format_value(result.metrics.get(name, float("nan"))) for name in (view.metric, *beside)),
            *(format_value(result.params.get(name, "")) for name in params),
        ]
        for rank, result in enumerate(view.ranking, 1)
    ]
    return table(head, rows)
