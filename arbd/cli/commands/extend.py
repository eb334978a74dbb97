"""`arbctl extend`: more iterations for a session that is done."""

from __future__ import annotations

import click

from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.commands.control import reason_option
from arbd.spool.control import this_user


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option("--iterations", type=click.IntRange(min=1), required=True, help="How many more.")
@reason_option
@json_option
@pass_app
def extend(app: App, session: str, iterations: int, reason: str) -> None:
    """Give SESSION, which is done, more iterations; the daemons go on with it.

    The longer session is the one that there would have been. Of random, sobol, halton and a grid that has points left:
    to the bit. Of the methods that learn: what is there stays, and they go on from it in the generations of the session
    (with the same `generation_size`, a session that was longer from the start has the same ones, to the bit, unless it
    was too short to begin with what the method needs). lhs, whose points depend on their number, sessions with a
    `validation`, and those that ended by a rule of theirs are refused: `arbctl clone` begins a longer one.

    \b
    Examples:
      arbctl extend kimchi-btc-01 --iterations 500
      arbctl extend kimchi-btc-01 --iterations 500 --reason "the best is at the edge"
    """
    from arbd.results.extension import extend as give_more

    layout, most = app.layout(), app.config().max_iterations
    n = give_more(layout, session, iterations, this_user(reason), most)
    app.show(
        {"session_id": session, "iterations": n},
        lambda: f"{session}: {n:,} iterations, {iterations:,} more than before",
    )
