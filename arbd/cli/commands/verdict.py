"""`arbctl verdict`: is the winner of a session skill or luck?"""

from __future__ import annotations

from typing import Any

import click

from arbd.arrays import load as load_numpy
from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.complete import complete_metrics


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option(
    "--metric", shell_complete=complete_metrics, help="Judge the winner by this metric, by default the job's own."
)
@json_option
@pass_app
def verdict(app: App, session: str, metric: str | None) -> None:
    """Say whether the winner of SESSION is skill or luck: the verdict, the rule behind it, what would change it.

    \b
    Examples:
      arbctl verdict kimchi-btc-01
      arbctl verdict kimchi-btc-01 --metric sharpe
      arbctl verdict kimchi-btc-01 --json

    It needs the return blocks that sessions of the paper engine keep, and runs nothing again. What was held out, stress,
    neighbours and null searches are told where the job asked for them (`validation:`).
    """
    load_numpy()
    from arbd.analysis.verdict import session_verdict

    found = session_verdict(app.layout().root, session, metric)
    document = found.document()
    app.show(document, lambda: "\n".join(_text(document)))


def _text(found: dict[str, Any]) -> list[str]:
    lines = [f"session {found['session_id']}: {found['verdict'].upper()}", f"  {found['rule']}"]
    lines += [f"  {reason}" for reason in found["reasons"]]
    rows = [(name, text) for name, text in _numbers(found) if text]
    if rows:
        lines.append("")
    width = max((len(name) for name, _ in rows), default=0)
    lines += [f"{name.ljust(width)}  {text}" for name, text in rows]
    reasons: dict[str, list[str]] = {}
    for name, reason in found["missing"].items():
        reasons.setdefault(reason, []).append(name)
    lines += [""] if reasons else []
    return lines + [f"not computed: {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _numbers(found: dict[str, Any]) -> list[tuple[str, str]]:
    from arbd.analysis.text import format_value

    def number(value: float | None, form: str = ".3g") -> str:
        return "" if value is None else format(value, form)

    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}"

    best = "" if found["best_iteration"] is None else f"iteration {found['best_iteration']}"
    effective = (
        "" if found["effective_trials"] is None else f", as varied as {found['effective_trials']:,.1f} independent ones"
    )
    trials = f"{found['trials']:,}{effective}; {found['trials_on_data']:,} on the same data"
    spa, pbo, plateau = found["spa"], found["pbo"], found["plateau"]
    steps = found["min_track_record_steps"]
    return [
        ("winner", best and f"{best}, {found['metric']} {format_value(found['best'])}"),
        ("trials", trials),
        ("Sharpe", _beside(number(found["sharpe"]), number(found["luck_line"]), found)),
        ("probabilistic Sharpe", share(found["psr"])),
        ("deflated Sharpe", share(found["dsr"]) + _severe(found["dsr"])),
        ("minimum track record", "" if steps is None else f"{steps:,} steps of the equity grid{_there_are(found)}"),
        ("superior ability", "" if spa is None or spa["p_winner"] is None else _superior(spa)),
        ("backtest overfitting", _overfitting(pbo)),
        ("plateau", "" if plateau is None else _plateau(plateau)),
        ("out of sample", "" if found["out_of_sample"] is None else _out_of_sample(found)),
        ("degradation", "" if found["out_of_sample"] is None else _degradation(found["out_of_sample"])),
        ("null searches", _nulls(found["null_searches"])),
        *((f"stress: {line['name']}", _stress(line, found["metric"])) for line in found["stress"]),
    ]


def _p(value: float) -> str:
    """A p-value, which is never 0."""
    return f"{value:.3f}" if value >= 0.0015 else f"{value:.2g}"


def _there_are(found: dict[str, Any]) -> str:
    return "" if found["blocks"] is None else f"; there are {sum(found['blocks']['steps']):,}"


def _severe(dsr: float | None) -> str:
    """Beside a good verdict a small number would read as a contradiction."""
    return "" if dsr is None or dsr >= 0.5 else "; sets that lose raise its bar too, and no verdict rests on it"


def _out_of_sample(found: dict[str, Any]) -> str:
    from arbd.analysis.text import format_value

    test = found["out_of_sample"]
    won = "" if test["folds_won"] is None else f"{test['folds_won']} of {test['folds']} folds won; "
    folds = won if test["folds"] > 1 else ""
    money = "" if test["metric"] is None else f"{found['metric']} {format_value(test['metric'])}, "
    t = "no t" if test["t"] is None else f"t {test['t']:.2f}"
    sharpe = "" if test["sharpe"] is None else f", Sharpe {test['sharpe']:.3g} {found['sharpe_unit']}"
    p = "" if test["p"] is None else f", p {_p(test['p'])}"
    return f"{folds}{money}{t}{sharpe}{p}"


def _degradation(test: dict[str, Any]) -> str:
    found = test["degradation"]["rank_correlation"]
    if found is None:
        return ""
    return f"rank correlation {found:.2f} of {len(test['degradation']['finalists'])} finalists, in and out of sample"


def _nulls(found: dict[str, Any]) -> str:
    if found["p"] is None:
        return ""
    least = 1 / (1 + found["k"])
    told = ", the least that so many can tell" if found["p"] < 1.5 * least else ""
    return f"p {_p(found['p'])} by Sharpe, of {found['k']} markets without an edge{told}"


def _stress(line: dict[str, Any], metric: str) -> str:
    from arbd.analysis.text import format_value

    best = "no result" if line["best"] is None else f"{metric} {format_value(line['best'])}"
    kept = "" if line["kept"] is None else f", {line['kept']:.0%} of it"
    above = "" if line["above_zero"] is None else f"; {line['above_zero']} of {line['finalists']} finalists above 0"
    breaking = f"; {line['break_constraints']} break a constraint" if line["break_constraints"] else ""
    return f"{best}{kept}{above}{breaking}"


def _beside(sharpe: str, luck: str, found: dict[str, Any]) -> str:
    """The metric `sharpe` is of single grid steps, and another number."""
    blocks = f" of returns in {len(found['blocks']['steps'])} blocks" if found["blocks"] else ""
    beside = f"; the best of as many without skill: {luck}" if luck else ""
    return f"{sharpe} {found['sharpe_unit']}{blocks}{beside}" if sharpe else ""


def _superior(spa: dict[str, Any]) -> str:
    superior = spa["superior"]
    many = "none can be told from luck" if not superior else f"{len(superior):,} can be told from luck"
    return f"p {_p(spa['p_winner'])} of the winner, {_p(spa['p_best'])} of the best; {many}"


def _overfitting(pbo: dict[str, Any]) -> str:
    if pbo["value"] is None:
        return ""
    error = "" if pbo["se"] is None else f" +- {pbo['se']:.2f}"
    valid = "" if pbo["valid"] else f"; NOT VALID: {pbo['reason']}"
    return f"PBO {pbo['value']:.2f}{error}, the choice loses in {pbo['p_loss']:.0%} of {pbo['combinations']:,} splits{valid}"


def _plateau(plateau: dict[str, Any]) -> str:
    count = plateau["neighbours"]
    around = f"{count} sets around the winner" if plateau["around"] == "winner" else f"the {count} nearest trials"
    return (
        f"median of {around} is {plateau['ratio']:.0%} of the winner, their 10th "
        f"percentile {plateau['floor']:.0%} (up to {plateau['reach']:.0%} of a range away)"
    )
