"""`arbctl drain`, `undrain`, `maintenance`, `forget`: what an administrator asks of the workers of a spool."""

from __future__ import annotations

import click

from arbd.cli.app import App, json_option, pass_app
from arbd.cli.commands.control import reason_option
from arbd.spool import operations
from arbd.spool.control import this_user
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import read_beats, unread_beats
from arbd.spool.unknown_session import unknown_worker


def _named(files: Files, layout: SpoolLayout, worker: str) -> list[str]:
    """The workers of that id, or of the host of that name. NotFoundError when there are none."""
    beats = read_beats(files, layout)
    ids = {*(beat.worker_id for beat in beats), *unread_beats(files, layout)}
    if worker in ids:
        return [worker]
    on_host = sorted(beat.worker_id for beat in beats if beat.about.get("host") == worker)
    if not on_host:
        raise unknown_worker(layout, worker, {*ids, *(str(beat.about.get("host")) for beat in beats)})
    return on_host


@click.command()
@click.argument("worker")
@reason_option
@json_option
@pass_app
def drain(app: App, worker: str, reason: str) -> None:
    """Have WORKER (its id, or its host's name) give back what it has and take nothing more, until undrain.

    Iterations that run are finished and recorded; the daemon lives on. In effect within two looks at the spool.

    \b
    Examples:
      arbctl drain host-a --reason "new memory"
      arbctl undrain host-a
    """
    layout = app.layout()
    files, actor = layout.files(), this_user(reason)
    names = _named(files, layout, worker)
    for name in names:
        operations.drain(files, layout, name, actor)
    app.show({"workers": names, "drained": True}, lambda: f"{', '.join(names)}: drained")


@click.command()
@click.argument("worker")
@reason_option
@json_option
@pass_app
def undrain(app: App, worker: str, reason: str) -> None:
    """Have a drained WORKER (its id, or its host's name) work again."""
    layout = app.layout()
    files, actor = layout.files(), this_user(reason)
    names = [name for name in _named(files, layout, worker) if operations.undrain(files, layout, name, actor)]
    app.show(
        {"workers": names, "drained": False},
        lambda: f"{', '.join(names)}: works again" if names else f"{worker}: was not drained",
    )


@click.command()
@click.argument("wanted", type=click.Choice(["on", "off"]))
@reason_option
@json_option
@pass_app
def maintenance(app: App, wanted: str, reason: str) -> None:
    """Have all workers of the spool stop (on) or go on (off): no job is taken up, nothing is evaluated.

    Iterations that run are finished and recorded. Jobs that are dropped meanwhile wait.
    """
    layout = app.layout()
    files, actor = layout.files(), this_user(reason)
    if wanted == "on":
        operations.begin_maintenance(files, layout, actor)
    else:
        operations.end_maintenance(files, layout, actor)
    app.show({"maintenance": wanted == "on"}, lambda: f"maintenance: {wanted}")


@click.command()
@click.argument("worker")
@reason_option
@json_option
@pass_app
def forget(app: App, worker: str, reason: str) -> None:
    """Remove what a WORKER that is gone for good left in the spool, so that `workers` shows it no more.

    One that lives is never forgotten, and what it had claimed is taken over by others anyhow.
    """
    layout = app.layout()
    operations.forget(layout.files(), layout, worker, this_user(reason))
    app.show({"worker": worker, "forgotten": True}, lambda: f"{worker}: forgotten")
