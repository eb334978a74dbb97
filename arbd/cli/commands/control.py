"""`arbctl pause`, `resume`, `cancel`, `set`, `retry`: one record in a session's ledger each, which `history` reads."""

from __future__ import annotations

from functools import partial

import click
import msgspec

from arbd.analysis.overview import Selection
from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.dropped import cancel_job, named, no_session
from arbd.cli.selection import chosen, for_each, require_alone, selection_options, yes_option
from arbd.errors import UsageError
from arbd.job.stored import read_spec
from arbd.registry import hint
from arbd.spool import ledger
from arbd.spool.control import change, change_state, open_queue, this_user
from arbd.spool.dropped import DroppedJob
from arbd.spool.layout import SpoolLayout
from arbd.spool.provenance import Actor
from arbd.spool.queue import SessionQueue

reason_option = click.option("--reason", default="", help="Why, for whoever looks at `arbctl history`.")


def _switch(app: App, session: str | None, selection: Selection, yes: bool, state: str, reason: str) -> None:
    layout, actor = app.layout(), this_user(reason)
    if session is not None:
        require_alone(session, selection)
        _switch_one(app, layout, session, state, reason)
        return
    views = chosen(layout, app.bookmarks(), selection, lambda view: not view.is_over)
    for_each(app, views, yes, lambda name: change_state(layout, name, state, actor))


def _switch_one(app: App, layout: SpoolLayout, session: str, state: str, reason: str) -> None:
    found = named(app, layout, session)
    if isinstance(found, DroppedJob):
        if state != ledger.CANCELLED:
            raise no_session(found)
        name, session_id = found.name, found.session_id or None
        became = cancel_job(app, layout, found, reason)
        if became is None:
            app.show({"session_id": session_id, "job": name, "state": state}, lambda: f"{name}: {state}")
            return
        found = became
    label, session = change_state(layout, found, state, this_user(reason)), found
    app.show({"session_id": session, "state": label}, lambda: f"{session}: {label}")


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@selection_options
@yes_option
@reason_option
@json_option
@pass_app
def pause(app: App, session: str | None, selection: Selection, yes: bool, reason: str) -> None:
    """Stop working on SESSION within seconds; iterations that run are finished and recorded.

    Without SESSION, on all that the filters choose; these are only shown without --yes.
    """
    _switch(app, session, selection, yes, ledger.PAUSED, reason)


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@selection_options
@yes_option
@reason_option
@json_option
@pass_app
def resume(app: App, session: str | None, selection: Selection, yes: bool, reason: str) -> None:
    """Go on with a paused SESSION, or with all that the filters choose; these are only shown without --yes."""
    _switch(app, session, selection, yes, ledger.RUNNING, reason)


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@selection_options
@yes_option
@reason_option
@json_option
@pass_app
def cancel(app: App, session: str | None, selection: Selection, yes: bool, reason: str) -> None:
    """End SESSION for good. What is recorded stays and can be summarised and exported.

    SESSION may be the name of a job file that waits to be taken up: it goes to rejected/.

    Without SESSION, all that the filters choose; these are only shown without --yes.

    \b
    Examples:
      arbctl cancel kimchi-btc-01 --reason "wrong fees"
      arbctl cancel --user bob --label draft               # which would that be?
      arbctl cancel --user bob --label draft --yes
    """
    _switch(app, session, selection, yes, ledger.CANCELLED, reason)


@click.command("set")
@click.argument("session", shell_complete=complete_sessions)
@click.argument("settings", nargs=-1, required=True, metavar="NAME=VALUE ...")
@reason_option
@json_option
@pass_app
def set_(app: App, session: str, settings: tuple[str, ...], reason: str) -> None:
    """Change SESSION while it runs: priority, max_slots ('none' for no limit), labels.NAME (nothing removes it).

    \b
    Examples:
      arbctl set kimchi-btc-01 priority=5 max_slots=4
      arbctl set kimchi-btc-01 labels.desk=btc labels.draft= --reason "goes live on Monday"
    """
    state = change(app.layout(), session, settings, this_user(reason))
    told = msgspec.to_builtins(state.provenance.changes)
    app.show({"session_id": session, "changed": told}, lambda: f"{session}: {', '.join(settings)}")


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option(
    "--state",
    "states",
    default="failed,timeout,crashed",
    show_default=True,
    help="Which iterations, by status, with commas between.",
)
@click.option("--code", metavar="DIGEST", help="All that this code made instead; `arbctl status` names it.")
@reason_option
@json_option
@pass_app
@click.pass_context
def retry(context: click.Context, app: App, session: str, states: str, code: str | None, reason: str) -> None:
    """Run the failed, timed-out and crashed iterations of SESSION again; the new results replace the old.

    With --code, everything that this code made, after a strategy, a module that it imports, or arbd was changed: that code
    is given up for the session, which goes on with what the hosts have now.

    \b
    Examples:
      arbctl retry kimchi-btc-01
      arbctl retry kimchi-btc-01 --state timeout
      arbctl retry kimchi-btc-01 --code 5f0c6d1e
    """
    from numpy import isin

    from arbd.results.run_again import run_again

    wanted = [name.strip() for name in states.split(",") if name.strip()]
    bad = [name for name in wanted if name not in ledger.STATUS_NAMES[1:]]
    if bad or not wanted:
        near = hint(bad[0], ledger.STATUS_NAMES[1:]) if bad else ""
        raise UsageError(f"--state {states!r}: {near}expected some of {', '.join(ledger.STATUS_NAMES[1:])}")
    if code is not None and context.get_parameter_source("states") is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--code runs everything again that the code made: it goes without --state")
    layout, actor = app.layout(), this_user(reason)
    queue = open_queue(layout, session)
    if queue.state.state == ledger.CANCELLED:
        raise UsageError(f"session {session} is cancelled: submit the job again under another session_id")
    statuses = [ledger.STATUS_NAMES.index(name) for name in wanted]
    by_status = partial(run_again, layout, queue, lambda rows: isin(rows.status, statuses), actor)
    count = by_status() if code is None else _retry_code(layout, queue, code, actor)
    app.show(
        {"session_id": session, "iterations": count},
        lambda: f"{session}: {count} iterations run again" if count else f"{session}: nothing to run again",
    )


def _retry_code(layout: SpoolLayout, queue: SessionQueue, given: str, actor: Actor) -> int:
    """Give up the code that somebody names, and run again what it made."""
    import numpy as np

    from arbd.analysis.code import UNKNOWN, chosen, code_shares
    from arbd.job.code import expected_parts
    from arbd.results.run_again import merged, run_again
    from arbd.results.session_code import SessionCode

    files, paths = layout.files(), queue.paths
    code = SessionCode(files, paths, expected_parts(read_spec(files, paths)))
    rows = merged(files, paths).winning_rows()
    counts = {"": 0} | {digest.decode(): 0 for some in rows for digest in np.unique(some.code).tolist()}
    share = chosen(code, code_shares(code, counts), given)
    if share.era is None:
        digests = ["" if share.digest == UNKNOWN else share.digest]
    else:
        digests = code.digests_of(share.era)
        if share.era == code.era:
            if not share.parts:
                raise UsageError(
                    f"session {queue.paths.session_id}: the code before was given up already, and no host has begun with "
                    "another: put the new version on the hosts"
                )
            code.give_up()
    return run_again(layout, queue, lambda rows: rows.made_with(digests), actor)
