"""`arbctl logs`: what the daemons of this host said, of one session or worker."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

import click

from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.typed_file import TypedFile
from arbd.errors import NotFoundError, SpoolError, UsageError
from arbd.registry import hint
from arbd.spool.liveness import read_beats, unread_beats
from arbd.spool.sessions import exists
from arbd.spool.unknown_session import unknown_session, unknown_worker
from arbd.terminal_text import escape_line
from arbd.values import dataclass

# Of so many sessions and workers is known that the log tells of them.
MAX_NAMES = 10_000
UNITS = ("arbd.service", "arbd@*.service")


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option("--worker", help="Only of this worker.")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(1), help="At most so many, the last.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is new, until Ctrl-C.")
@click.option("--file", type=TypedFile(NotFoundError), help="A log file instead of this host's journal.")
@json_option
@pass_app
def logs(app: App, session: str | None, worker: str | None, lines: int, follow: bool, file: Path | None) -> None:
    """What the daemons of this host logged, of SESSION alone when it is named.

    \b
    Examples:
      arbctl logs -f
      arbctl logs kimchi-btc-01 -n 200
      arbctl logs --worker host-a --file /var/log/arbd.log
    """
    if follow and (file is not None or app.as_json):
        raise UsageError("--follow reads the journal and prints lines: leave --file and --json out")
    events = _file(file) if file is not None else _journal()
    kept: deque[dict[str, Any]] = deque(maxlen=lines)
    last, logged = "", _Logged()
    for event in events:
        last = event["cursor"]
        logged.note(event)
        if _wanted(event, session, worker):
            kept.append(event)
    if not kept:
        _require_known(app, session, worker, logged)
    if follow:
        for event in kept:
            click.echo(escape_line(event["line"]))
        for event in _journal("--follow", f"--after-cursor={last}" if last else "--lines=all"):
            if _wanted(event, session, worker):
                click.echo(escape_line(event["line"]))
        return
    for event in kept:
        del event["cursor"]
    app.show({"events": list(kept)}, lambda: "\n".join(event["line"] for event in kept) or "nothing logged")


@dataclass(slots=True)
class _Logged:
    """Of whom a log tells."""

    sessions: set[str] = field(default_factory=set)
    workers: set[str] = field(default_factory=set)

    def note(self, event: dict[str, Any]) -> None:
        """One more line."""
        for names, name in ((self.sessions, event["session"]), (self.workers, event["worker"])):
            if isinstance(name, str) and len(names) < MAX_NAMES:
                names.add(name)


def _require_known(app: App, session: str | None, worker: str | None, logged: _Logged) -> None:
    """NotFoundError where neither the log nor the spool has the session, or the worker, that was named."""
    unknown_id = session is not None and session not in logged.sessions
    unknown_name = worker is not None and worker not in logged.workers
    if not (unknown_id or unknown_name):
        return
    try:
        layout = app.layout()
    except SpoolError as error:
        what = f"session {session}" if unknown_id else f"worker {worker}"
        near = hint(str(session if unknown_id else worker), logged.sessions if unknown_id else logged.workers)
        nearest = f" ({near.rstrip()})" if near else ""
        raise NotFoundError(f"the log tells of no {what}{nearest}, and the spool cannot be asked: {error}") from None
    files = layout.files()
    if session is not None and unknown_id and not exists(files, layout.session(session)):
        raise unknown_session(files, layout.session(session), logged.sessions)
    if worker is not None and unknown_name:
        known = {*(beat.worker_id for beat in read_beats(files, layout)), *unread_beats(files, layout)}
        if worker not in known:
            raise unknown_worker(layout, worker, known | logged.workers)


def _wanted(event: dict[str, Any], session: str | None, worker: str | None) -> bool:
    return session in (None, event["session"]) and worker in (None, event["worker"])


def _file(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        raise NotFoundError(f"no log file {path}") from None
    for line in text.splitlines():
        yield _event(line, {})


def _journal(*more: str) -> Iterator[dict[str, Any]]:
    program = shutil.which("journalctl")
    if program is None:
        raise NotFoundError("no journalctl on this host: name the daemon's log with --file")
    units = [part for unit in UNITS for part in ("--unit", unit)]
    command = [program, *units, "--output=json", "--no-pager", *more]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            yield from _entries(process.stdout)
            told = process.stderr.read().strip()
        finally:
            process.terminate()
    # A user who may not read the journal gets a hint, no entry, and on some systems success.
    if process.returncode or "not seeing messages" in told or "nsufficient permissions" in told:
        reason = " ".join(told.split()) or f"journalctl ended with {process.returncode}"
        raise NotFoundError(f"the journal cannot be read: {reason}; be root, or in group systemd-journal or adm")


def _entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        message = entry.get("MESSAGE")
        yield _event(message if isinstance(message, str) else repr(message), entry)


def _event(line: str, native: dict[str, Any]) -> dict[str, Any]:
    """A line with the session and the worker that it is about: of the journal's fields, else of the line itself."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = {}
    else:
        fields = _pairs(line)
    return {
        "session": native.get("SESSION_ID") or fields.get("session"),
        "worker": native.get("WORKER_ID") or fields.get("worker"),
        "cursor": native.get("__CURSOR", ""),
        "line": click.unstyle("".join(c if c.isprintable() else " " for c in line)),
    }


def _pairs(line: str) -> dict[str, str]:
    """`key=value` and `key="two words"` of a line as the daemon writes it."""
    decoder = json.JSONDecoder()
    found: dict[str, str] = {}
    at = 0
    while (equals := line.find("=", at)) > 0:
        key, start = line[at:equals].strip(), equals + 1
        if line[start : start + 1] == '"':
            try:
                value, at = decoder.raw_decode(line, start)
            except ValueError:
                break
        else:
            end = line.find(" ", start)
            at = len(line) if end < 0 else end
            value = line[start:at]
        found[key] = str(value)
    return found
