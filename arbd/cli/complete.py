"""What a shell completes beside commands and options: metrics of a session, fields of a job file, its best iteration.

Where nothing can be known nothing is offered, and no word is said about why: a shell in the middle of a line is no
place for errors, nor for names that somebody else made up and that do not show.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from arbd.cli.app import App
from arbd.errors import ArbdError, DamageWarning

MAX_OFFERED = 500


def complete_metrics(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Metrics of the session, or of the first of the sessions, that the line names; of the job where no result has any."""
    names: list[str] = []
    with _in_silence():
        from arbd.analysis.table import load_table

        table = load_table(_app(ctx).layout().root, _first(ctx))
        names = list(dict.fromkeys([*(goal.name for goal in table.spec.metrics), *table.metric_names]))
    return _offered(names, incomplete)


def complete_iteration(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """`best`, and the number of the iteration that it is now."""
    found = ["best"]
    with _in_silence():
        from arbd.analysis.table import load_table

        table = load_table(_app(ctx).layout().root, _first(ctx))
        position = table.ranking.best(table.spec.metrics[0].name)
        found += [] if position is None else [str(table.source.fixed("iteration")[position])]
    return _offered(found, incomplete)


def complete_settings(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Fields of the job file that the line names, with their parameters, each with `=` behind it."""
    names: list[str] = []
    with _in_silence():
        from arbd.strict_yaml import load

        names = [f"{name}=" for name in _fields(load(Path(_first(ctx))).value)]
    return _offered(names, incomplete)


def _fields(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(inner, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix


def _first(ctx: click.Context) -> str:
    """The first argument of the command. In a line that ends with an option, click hands back the arguments unread."""
    jobs = ctx.params.get("jobs") or ()
    named = ctx.params.get("session") or next(iter(jobs), "") or next(iter(ctx.args), "")
    return str(named)


def _app(ctx: click.Context) -> App:
    options = ctx.parent.params if ctx.parent is not None else {}
    return App(options.get("config"), options.get("spool"), as_json=False)


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.suppress(ArbdError, OSError, ValueError):
        warnings.simplefilter("ignore", DamageWarning)
        yield


def _offered(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete) and name.isprintable() and " " not in name][
        :MAX_OFFERED
    ]
