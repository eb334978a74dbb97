"""`arbctl notices`: who is told of sessions, what became of it, and telling somebody now."""

from __future__ import annotations

import socket
import time
from typing import Any

import click

from arbd.analysis.overview import iso_time
from arbd.cli.app import App, json_option, pass_app, table
from arbd.errors import NotFoundError, UsageError
from arbd.registry import hint
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import is_held, read_beats
from arbd.terminal_text import escape_line

SHOWN = 20


@click.command()
@click.option("--test", "test", metavar="TARGET", help="Tell a target of the settings now, from this host, of nothing.")
@click.option("--again", metavar="TARGET", help="Have a target told of what was given up.")
@click.option("--all", "every", is_flag=True, help="Every notice, not the last ones alone.")
@json_option
@pass_app
def notices(app: App, test: str | None, again: str | None, every: bool) -> None:
    """Who is told of sessions that end (`notify:` in the settings), what was sent, and what could not be.

    A notice is sent once, by one host. Should that die while it sends, another sends it once more, with the same key and
    the next attempt's number.

    \b
    Examples:
      arbctl notices
      arbctl notices --test desk
      arbctl notices --again desk
    """
    if test is not None and again is not None:
        raise UsageError("--test or --again: not both")
    if test is not None:
        _test(app, test)
        return
    layout = app.layout()
    files = layout.files()
    if again is not None:
        _again(app, files, layout, again)
        return
    _show(app, files, layout, every)


def _test(app: App, name: str) -> None:
    from arbd.daemon.notices.message import Message
    from arbd.daemon.notices.senders import sender_of

    settings = app.config().notify
    target = next((target for target in settings.targets if target.name == name), None)
    if target is None:
        names = [target.name for target in settings.targets]
        raise NotFoundError(
            f"no target {name} in the settings: {hint(name, names)}there are {', '.join(names) or 'none'}"
        )
    document: dict[str, Any] = {
        "event": "test", "session_id": "test", "state": "test", "user": None, "labels": {}, "method": None, "iterations": 0,
        "statuses": {}, "stopped": "", "started": None, "ended": None, "told_by": socket.gethostname(), "verdict": None,
    }  # fmt: skip
    sender_of(target, settings.smtp)(Message(f"test-{time.time_ns()}", 1, document))
    app.show({"target": name, "sent": True}, lambda: f"{name}: told ({target.shown})")


def _again(app: App, files: Files, layout: SpoolLayout, name: str) -> None:
    from arbd.daemon.notices.log import AGAIN, GIVEN_UP, Step, Told, target_log, target_names

    names = target_names(files, layout)
    if name not in names:
        raise NotFoundError(f"nothing was sent to {name}: {hint(name, names)}there are {', '.join(names) or 'none'}")
    log, told = target_log(files, layout, name), Told()
    told.fold(log.read_new())
    count = told.count(GIVEN_UP)
    if count:
        log.append([Step(what=AGAIN, host=socket.gethostname(), wall_ns=time.time_ns())])
    app.show({"target": name, "again": count}, lambda: f"{name}: {count} notices are tried again")


def _show(app: App, files: Files, layout: SpoolLayout, every: bool) -> None:
    from arbd.daemon.notices.log import Told, target_log, target_names

    workers = about_notices(files, layout)
    steps: list[dict[str, Any]] = []
    for name in target_names(files, layout):
        told = Told()
        told.fold(target_log(files, layout, name).read_new())
        steps += [
            {
                "target": name,
                "session_id": step.session_id,
                "key": step.key,
                "event": step.key.rpartition("-")[2],
                "state": step.what,
                "attempt": step.attempt,
                "host": step.host,
                "when": iso_time(step.wall_ns),
                "error": step.error,
                "at": step.wall_ns,
            }
            for step in told.last.values()
        ]
    steps.sort(key=lambda step: step.pop("at"))
    targets = {target.name: target.shown for target in app.config().notify.targets}
    app.show(
        {"targets": targets, "workers": workers, "notices": steps},
        lambda: _text(targets, workers, steps if every else steps[-SHOWN:], len(steps)),
    )


def _text(targets: dict[str, str], workers: list[dict[str, Any]], steps: list[dict[str, Any]], in_all: int) -> str:
    lines = [f"target {name}: {escape_line(shown)}" for name, shown in targets.items()]
    if not targets:
        lines.append("no targets: see `notify` in the settings (etc/arbd.yaml)")
    lines += [line for worker in workers for line in notice_lines(worker)]
    names = ("target", "session_id", "event", "state", "attempt", "when", "host", "error")
    rows = [[str(step[name] or "-") for name in names] for step in steps]
    if rows:
        lines.append(table(("TARGET", "SESSION", "EVENT", "STATE", "ATTEMPT", "WHEN", "HOST", "WHY"), rows))
    lines += [f"and {in_all - len(steps)} before: --all shows them"] if in_all > len(steps) else []
    return "\n".join(lines)


def about_notices(files: Files, layout: SpoolLayout) -> list[dict[str, Any]]:
    """What workers that live say of the targets that they tell."""
    found = []
    for beat in read_beats(files, layout):
        told = beat.about.get("notify")
        if isinstance(told, dict) and told and is_held(files, layout, beat.worker_id):
            found.append({"worker_id": beat.worker_id, "targets": told})
    return found


def notice_lines(worker: dict[str, Any]) -> list[str]:
    """What one worker sends, in lines for people."""
    lines = []
    for name, told in sorted(worker["targets"].items()):
        if told.get("sends"):
            text = f"{worker['worker_id']} tells {name}: {told.get('sent', 0)} sent, {told.get('waiting', 0)} waiting"
            text += f", {told['given_up']} given up" if told.get("given_up") else ""
            lines.append(text + (f"; {told['error']}" if told.get("error") else ""))
        elif told.get("error"):
            lines.append(f"{worker['worker_id']}, {name}: {told['error']}")
    return [escape_line(line) for line in lines]
