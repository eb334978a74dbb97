"""Options that choose sessions by what they are: the same ones wherever a command can be about many."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from arbd.analysis.overview import STATES, Selection

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
