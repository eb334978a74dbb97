"""`arbctl standing`: standing jobs, what they answer, and what a person does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from arbd.analysis.standing_documents import answered, standing_documents
from arbd.analysis.text import format_pairs
from arbd.arrays import load as load_numpy
from arbd.cli.app import App, json_option, pass_app
from arbd.cli.commands.control import reason_option
from arbd.cli.standing_jobs import standing_table
from arbd.errors import ArbdError
from arbd.spool.control import this_user
from arbd.spool.standing.folder import ACTS, act, find_standing, standing_names
from arbd.spool.standing.records import FireRecord
from arbd.terminal_text import escape_line

if TYPE_CHECKING:
    from arbd.analysis.standing import Comparison


def complete_standing(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of standing jobs for the shell."""
    root = ctx.find_root().params
    app = App(root.get("config"), root.get("spool"), as_json=False)
    try:
        layout = app.layout()
        names = standing_names(layout.files(), layout)
    except (ArbdError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


name_argument = click.argument("name", shell_complete=complete_standing)


@click.group()
def standing() -> None:
    """Jobs that make a session each night, or when their data changed: is the current setting still good?

    A job file with a `schedule:` is one; `arbctl submit` takes it. See docs/standing.md.
    """


@standing.command("list")
@click.option("--all", "show_all", is_flag=True, help="Removed ones too.")
@json_option
@pass_app
def list_(app: App, show_all: bool) -> None:
    """All standing jobs: when they last made a session, when they are due next, what is wrong."""
    layout = app.layout()
    documents = standing_documents(layout.files(), layout, show_all=show_all)
    app.show({"standing": documents}, lambda: standing_table(documents) if documents else "no standing jobs")


@standing.command()
@name_argument
@click.option("--session", help="The answer of this session, by default of the last one that is done.")
@json_option
@pass_app
def show(app: App, name: str, session: str | None) -> None:
    """Is the current setting still good? The standing setting beside the winner of the last session, and what to do.

    The standing setting is what was promoted last (`arbctl promote`) of this job's sessions, or to the file that
    `schedule: {promoted_to: FILE}` names; as long as there is none, the winner of the session before.

    \b
    Examples:
      arbctl standing show kimchi-btc
      arbctl standing show kimchi-btc --session kimchi-btc-2026-11-30 --json
    """
    load_numpy()
    layout = app.layout()
    document, fire, found = answered(find_standing(layout.files(), layout, name), session)
    app.show(document, lambda: "\n".join(map(escape_line, _lines(document, fire, found))))


def _lines(document: dict[str, Any], fire: FireRecord | None, found: Comparison | None) -> list[str]:
    lines = [
        f"{document['name']}: {document['state']}, {document['schedule']}, of {document['owner'] or 'nobody known'}",
        f"last fired  {document['last_fired'] or 'never'}"
        + (f": {document['last_session']} ({document['last_session_state']})" if document["last_session"] else ""),
        f"next due    {document['next_due'] or ('when its data change' if 'data' in document['schedule'] else '-')}",
        *(f"{key:<12}{document[key]}" for key in ("waits", "trouble") if document[key]),
    ]
    if (since := document["promoted_since"]) is not None:
        lines += [
            "",
            (
                f"promoted    iteration {since['iteration']} of {since['session']} at {since['at']}, after the session that answers "
                "began: the next one says how it does"
            ),
        ]
    lines += ["", *(answer_lines(fire, found) if fire is not None and found is not None else [document["no_answer"]])]
    if document["fires"]:
        lines += ["", "sessions"]
        for each in document["fires"]:
            more = [f"starts from {each['starts_from']}"] if each["starts_from"] else []
            told = "; ".join([each["cause"], *more, *each["notes"]])
            lines.append(f"  {each['session_id']}  {each['state']}  by {each['worker']} at {each['when']}: {told}")
    for each in document["history"]:
        why = f": {each['reason']}" if each["reason"] else ""
        lines.append(f"{each['what']} by {each['user']} on {each['host']} at {each['when']}{why}")
    return lines


def answer_lines(fire: FireRecord, found: Comparison) -> list[str]:
    """The answer for people, what to do first."""
    metric, setting, now = found.metric, fire.setting, found.now
    lines = [f"{found.advice.upper()}: {found.reason}"]
    if setting is not None and now is not None:
        origin = "promoted" if setting.kind == "promoted" else "not promoted; the winner of the session before"
        then = "" if setting.value is None else f", {setting.metric} {setting.value:.6g} there"
        lines.append(f"standing    iteration {setting.iteration} of {setting.session} ({origin}){then}")
        lines.append(
            f"  now       {_value(metric, now.value)}{_evidence(now)}" if now.value is not None else f"  {now.missing}"
        )
    best = found.verdict
    lines.append(f"winner      iteration {best.best_iteration} of {found.session_id}: {_value(metric, best.best)}")
    lines.append(f"  verdict   {best.judgement.verdict}: {best.judgement.rule}")
    if found.held_out is not None:
        standing_value, winner_value = found.held_out
        lines.append(f"held out    standing {standing_value:.6g}, winner {winner_value:.6g}")
    if found.winner_params and not found.is_winner:
        lines.append(f"  is        {format_pairs(found.winner_params)}")
    return lines


def _value(metric: str, value: float | None) -> str:
    return f"{metric} -" if value is None else f"{metric} {value:.6g}"


def _evidence(now: Any) -> str:
    parts = []
    if now.p is not None:
        parts.append(f"p {now.p:.3g} that it earns nothing")
    elif now.missing:
        parts.append(now.missing)
    if now.days:
        of = "on the" if now.on_fresh else "on all days;"
        parts.append(f"{of} {now.fresh_days} of {now.days} days that it was not chosen on")
    return f" ({', '.join(parts)})" if parts else ""


def _act(app: App, name: str, what: str, reason: str) -> None:
    layout = app.layout()
    state = act(layout.files(), layout, name, what, this_user(reason))
    app.show({"name": name, "state": state.state.value, "done": what}, lambda: f"{name}: {ACTS[what]}")


@standing.command()
@name_argument
@reason_option
@json_option
@pass_app
def pause(app: App, name: str, reason: str) -> None:
    """Make no more sessions until it is resumed; one that runs goes on."""
    _act(app, name, "pause", reason)


@standing.command()
@name_argument
@reason_option
@json_option
@pass_app
def resume(app: App, name: str, reason: str) -> None:
    """Make sessions again. Of the times that were missed meanwhile the last one is fired, once."""
    _act(app, name, "resume", reason)


@standing.command()
@name_argument
@reason_option
@json_option
@pass_app
def remove(app: App, name: str, reason: str) -> None:
    """Make no more sessions. Those that there are stay, and its history; its name is free again."""
    _act(app, name, "remove", reason)


@standing.command()
@name_argument
@reason_option
@json_option
@pass_app
def fire(app: App, name: str, reason: str) -> None:
    """Make a session now, beside the schedule; it waits until the one before is over."""
    _act(app, name, "fire", reason)
