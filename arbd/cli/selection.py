"""Options that choose sessions by what they are: the same ones wherever a command can be about many."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from arbd.analysis.overview import STATES, Overview, Selection, read_overviews
from arbd.cli.app import App
from arbd.errors import ArbdError, UsageError
from arbd.spool.layout import SpoolLayout
from arbd.terminal_text import escape_line

yes_option = click.option(
    "--yes", is_flag=True, help="Do it to all that the filters choose; without it they are shown."
)
F = TypeVar("F", bound=Callable[..., Any])


def selection_options(command: F) -> F:
    """Give a command `selection`, from --user, --state, --label, --since and --older-than."""

    @functools.wraps(command)
    def called(
        *args: Any,
        user: tuple[str, ...],
        in_state: tuple[str, ...],
        label: tuple[str, ...],
        since: str | None,
        older_than: str | None,
        **more: Any,
    ) -> Any:
        selection = Selection.of(time.time_ns(), user, in_state, label, since, older_than)
        return command(*args, selection=selection, **more)

    options = (
        click.option("--user", multiple=True, help="Sessions of this user. Can be given more than once."),
        click.option("--state", "in_state", multiple=True, help=f"In one of these states: {', '.join(STATES)}."),
        click.option("--label", multiple=True, metavar="NAME[=VALUE]", help="With this label, or this value of it."),
        click.option("--since", help="Of which something happened since: a time (ISO 8601), or 7d, 12h, 30min ago."),
        click.option("--older-than", help="Of which nothing happened for so long: 30d, 12h."),
    )
    for option in reversed(options):
        called = option(called)
    return called  # type: ignore[return-value]


def require_alone(session: str, selection: Selection) -> None:
    """A session is named, or chosen by what it is, but not both. UsageError when it is."""
    if not selection.is_all:
        raise UsageError(f"name {session}, or choose with filters: not both")


def chosen(
    layout: SpoolLayout, bookmarks: Path, selection: Selection, fits: Callable[[Overview], bool]
) -> list[Overview]:
    """The sessions that filters choose, of those that a command can be about. UsageError without any filter."""
    if selection.is_all:
        raise UsageError("name a SESSION, or choose some: --user, --state, --label, --since, --older-than")
    found = read_overviews(layout, bookmarks)
    for error in found.errors:
        click.echo(f"arbctl: {escape_line(error)}", err=True)
    return [view for view in found.views if selection.fits(view) and fits(view)]


def for_each(app: App, views: Sequence[Overview], yes: bool, act: Callable[[str], str]) -> None:
    """Do something to each, or say to which it would be done. One session's error is told, and is not the others'.

    Exit 1 when one could not be done.
    """
    done: list[dict[str, Any]] = []
    failed = False
    for view in views:
        outcome: dict[str, Any] = {"session_id": view.session_id, "state": view.label, "done": False, "error": None}
        if yes:
            try:
                outcome.update(state=act(view.session_id), done=True)
            except (ArbdError, OSError) as error:
                outcome["error"], failed = str(error), True
        done.append(outcome)
    app.show({"sessions": done}, lambda: _told(done, yes))
    if failed:
        raise click.exceptions.Exit(1)


def _told(done: Sequence[dict[str, Any]], yes: bool) -> str:
    if not done:
        return "no session fits"
    lines = [f"{one['session_id']}: {escape_line(str(one['error'] or one['state']))}" for one in done]
    return "\n".join(lines + ([] if yes else [f"{len(done)} sessions; nothing was done, --yes does it"]))
