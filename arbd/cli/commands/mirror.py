"""`arbctl mirror`: write the files into Redis anew, compare, remove."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from arbd.cli.app import App, complete_sessions, json_option, on_terminal, pass_app
from arbd.errors import SpoolError, UsageError
from arbd.spool.sessions import session_ids
from arbd.spool.unknown_session import require_sessions

if TYPE_CHECKING:
    from arbd.mirror.state import StateManager

SHOWN_KEYS = 20


@click.group()
def mirror() -> None:
    """The Redis mirror of the results (`mirror: redis:` in arbd.yaml).

    Daemons keep it current by themselves. These commands are for a Redis that was changed by hand, was given
    another name, or is not trusted.
    """


@contextlib.contextmanager
def _redis(app: App) -> Iterator[StateManager]:
    """The Redis of the settings; its errors become SpoolError."""
    settings = app.config().mirror.redis
    if not settings:
        raise UsageError("no Redis is set: name one as mirror: redis: url: in arbd.yaml, or use --config")
    import redis

    from arbd.mirror.state import StateManager

    state = StateManager.connect(settings)
    try:
        yield state
    except redis.RedisError as error:
        raise SpoolError(
            f"Redis at {settings.shown_url} does not do its work: {error}; is it up, is the url right?"
        ) from error
    finally:
        state.close()


def _chosen(app: App, sessions: Sequence[str]) -> list[str]:
    layout = app.layout()
    require_sessions(layout, sessions)
    return list(sessions) or session_ids(layout.files(), layout)


@mirror.command()
@click.argument("sessions", nargs=-1, shell_complete=complete_sessions)
@json_option
@pass_app
def rebuild(app: App, sessions: tuple[str, ...]) -> None:
    """Write SESSIONS (default: all of the spool) into Redis from the files, and remove hashes that do not belong.

    Daemons may run meanwhile.
    """
    from arbd.mirror.sweep import rebuild as rebuild_session

    documents: list[dict[str, Any]] = []
    names = _chosen(app, sessions)
    with _redis(app) as state:
        for name in names:
            rebuilt = rebuild_session(app.layout().files(), app.layout().session(name), state, partial(_tell, name))
            documents.append({"session_id": name, "results": rebuilt.results, "removed": rebuilt.removed})
    if on_terminal() and documents:
        click.echo("\r\033[K", nl=False, err=True)
    app.show({"sessions": documents}, lambda: "\n".join(_rebuilt(d) for d in documents) or "no sessions")


def _tell(name: str, count: int) -> None:
    if on_terminal():
        click.echo(f"\r\033[K{name}: {count:,}", nl=False, err=True)


def _rebuilt(document: dict[str, Any]) -> str:
    removed = f", {document['removed']:,} hashes removed" if document["removed"] else ""
    return f"{document['session_id']}: {document['results']:,} results in Redis{removed}"


@mirror.command()
@click.argument("sessions", nargs=-1, shell_complete=complete_sessions)
@json_option
@click.pass_context
def verify(context: click.Context, sessions: tuple[str, ...]) -> None:
    """Compare SESSIONS (default: all of the spool) with Redis; exit code 1 when they differ.

    Of a session that goes on, what is on its way to Redis does not count: only what differs for ten seconds does.
    """
    from arbd.mirror.verify import verify as verify_session

    app = context.ensure_object(App)
    documents: list[dict[str, Any]] = []
    names = _chosen(app, sessions)
    with _redis(app) as state:
        for name in names:
            found = verify_session(app.layout().files(), app.layout().session(name), state)
            kinds = {"missing": found.missing, "wrong": found.wrong, "extra": found.extra}
            documents.append(
                {
                    "session_id": name,
                    "equal": found.equal,
                    "results": found.results,
                    "on_its_way": found.on_its_way,
                    **{kind: len(keys) for kind, keys in kinds.items()},
                    "keys": {kind: list(keys[:SHOWN_KEYS]) for kind, keys in kinds.items() if keys},
                }
            )
    app.show({"sessions": documents}, lambda: "\n".join(map(_verified, documents)) or "no sessions")
    context.exit(0 if all(document["equal"] for document in documents) else 1)


def _verified(document: dict[str, Any]) -> str:
    name = document["session_id"]
    if document["equal"]:
        way = f"; {document['on_its_way']:,} came meanwhile" if document["on_its_way"] else ""
        return f"{name}: {document['results']:,} results, Redis holds the same{way}"
    counts = ", ".join(f"{document[kind]:,} {kind}" for kind in ("missing", "wrong", "extra") if document[kind])
    keys = [f"  {kind}  {key}" for kind, shown in document["keys"].items() for key in shown]
    return "\n".join(
        [f"{name}: {document['results']:,} results, in Redis {counts}; `arbctl mirror rebuild {name}`", *keys]
    )


@mirror.command()
@click.argument("sessions", nargs=-1, required=True, shell_complete=complete_sessions)
@json_option
@pass_app
def remove(app: App, sessions: tuple[str, ...]) -> None:
    """Remove SESSIONS from Redis, for example after `arbctl purge`. The files are not touched.

    A session that is still in the spool of a daemon with a mirror comes back.
    """
    from arbd.spool.layout import check_name

    documents: list[dict[str, Any]] = []
    names = [check_name(name, "session id") for name in sessions]
    with _redis(app) as state:
        for name in names:
            removed = state.remove_session(name)
            documents.append({"session_id": name, "removed": removed})
    app.show(
        {"sessions": documents},
        lambda: "\n".join(f"{d['session_id']}: {d['removed']:,} results removed" for d in documents),
    )
