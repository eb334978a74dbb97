"""`arbctl pause`, `resume`, `cancel`, `retry`: one record in a session's ledger each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.errors import UsageError
from arbd.job.stored import read_spec
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import REOPENED_PREFIX
from arbd.spool.spans import spans_of

if TYPE_CHECKING:
    from arbd.results.merge import Merge


def _queue(layout: SpoolLayout, session: str) -> SessionQueue:
    queue = SessionQueue(layout.files(), layout.session(session))
    queue.refresh()
    return queue


ALLOWED_FROM = {
    ledger.PAUSED: (ledger.RUNNING, ledger.PAUSED),
    ledger.RUNNING: (ledger.RUNNING, ledger.PAUSED),
    ledger.CANCELLED: (ledger.RUNNING, ledger.PAUSED, ledger.CANCELLED),
}


def change_state(layout: SpoolLayout, session: str, state: str) -> str:
    """Pause, resume or cancel a session; how it is called then. UsageError when it cannot become that."""
    queue = _queue(layout, session)

    def decide(now: LedgerState) -> list[dict[str, Any]]:
        if now.done or now.state not in ALLOWED_FROM[state]:
            raise UsageError(f"session {session} is {now.label()}: it cannot become {state}")
        return [] if now.state == state else [ledger.switched(state)]

    queue.change(decide)
    return queue.state.label()


def _switch(app: App, session: str, state: str) -> None:
    label = change_state(app.layout(), session, state)
    app.show({"session_id": session, "state": label}, lambda: f"{session}: {label}")


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@json_option
@pass_app
def pause(app: App, session: str) -> None:
    """Stop working on SESSION within seconds; iterations that run are finished and recorded."""
    _switch(app, session, ledger.PAUSED)


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@json_option
@pass_app
def resume(app: App, session: str) -> None:
    """Go on with a paused SESSION."""
    _switch(app, session, ledger.RUNNING)


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@json_option
@pass_app
def cancel(app: App, session: str) -> None:
    """End SESSION for good. What is recorded stays and can be summarised and exported."""
    _switch(app, session, ledger.CANCELLED)


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
@json_option
@pass_app
@click.pass_context
def retry(context: click.Context, app: App, session: str, states: str, code: str | None) -> None:
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

    wanted = [name.strip() for name in states.split(",") if name.strip()]
    bad = [name for name in wanted if name not in ledger.STATUS_NAMES[1:]]
    if bad or not wanted:
        raise UsageError(f"--state {states!r}: expected some of {', '.join(ledger.STATUS_NAMES[1:])}")
    if code is not None and context.get_parameter_source("states") is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--code runs everything again that the code made: it goes without --state")
    layout = app.layout()
    queue = _queue(layout, session)
    if queue.state.state == ledger.CANCELLED:
        raise UsageError(f"session {session} is cancelled: submit the job again under another session_id")
    statuses = [ledger.STATUS_NAMES.index(name) for name in wanted]
    by_status = partial(_retry, layout, queue, lambda merge: isin(merge.status, statuses))
    count = by_status() if code is None else _retry_code(layout, queue, code)
    app.show(
        {"session_id": session, "iterations": count},
        lambda: f"{session}: {count} iterations run again" if count else f"{session}: nothing to run again",
    )


def _retry_code(layout: SpoolLayout, queue: SessionQueue, given: str) -> int:
    """Give up the code that somebody names, and run again what it made."""
    from arbd.analysis.code import UNKNOWN, chosen, code_shares
    from arbd.job.code import expected_parts
    from arbd.results.session_code import SessionCode

    files, paths = layout.files(), queue.paths
    code = SessionCode(files, paths, expected_parts(read_spec(files, paths)))
    counts = {"": 0} | {digest.decode(): 0 for digest in _merge(files, paths).codes.tolist()}
    share = chosen(code_shares(code, counts), given)
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
    return _retry(layout, queue, lambda merge: merge.made_with(digests))


def _merge(files: Files, paths: SessionPaths) -> Merge:
    from arbd.results.columns import RowRules
    from arbd.results.merge import Merge

    return Merge(files, paths, RowRules.of(read_spec(files, paths)))


def _retry(layout: SpoolLayout, queue: SessionQueue, which: Callable[[Merge], Any]) -> int:
    import numpy as np

    files, session = layout.files(), queue.paths.session_id
    merge = _merge(files, queue.paths)
    chosen = which(merge)
    iterations = merge.iteration[chosen].tolist()
    uncounted = np.bincount(merge.status[chosen].astype(np.int64), minlength=4).tolist()
    if not iterations:
        return 0
    before = queue.state.epoch

    def decide(now: LedgerState) -> list[dict[str, Any]]:
        if now.epoch != before:
            raise UsageError(f"session {session} is being retried by somebody else: look at `arbctl status {session}`")
        return [ledger.again(spans_of(iterations, now.epoch + 1), uncounted, "retry")]

    # The name comes first: a daemon that sees it too early looks once more than it must, one that never sees it
    # would leave the session lying.
    files.publish(layout.sessions / f"{REOPENED_PREFIX}{session}", b"")
    queue.change(decide)
    return len(iterations)
