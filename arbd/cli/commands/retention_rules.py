"""`arbctl retention`: what the rules of the settings do next to sessions that are over, and what they did."""

from __future__ import annotations

import time
from typing import Any

import click

from arbd.analysis.overview import iso_time
from arbd.cli.app import App, json_option, pass_app, table
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import is_held, read_beats
from arbd.spool.retention_log import read_deeds
from arbd.spool.retention_rules import Due, plan
from arbd.spool.session_index import ended_sessions
from arbd.terminal_text import escape_line

SHOWN = 20


@click.command()
@click.option("--all", "every", is_flag=True, help="Every session that is due, now or later, not the next ones alone.")
@json_option
@pass_app
def retention(app: App, every: bool) -> None:
    """What `retention:` of the settings would do next to sessions that are over. Does nothing itself.

    By the settings of this host: daemons of hosts that have the same carry them out, one at a time. What was done is in
    `arbctl history`. A session with the label `keep` is left alone.

    \b
    Example:
      arbctl retention --all
    """
    settings, layout = app.config().retention, app.layout()
    files = layout.files()
    names = [name for name in files.names(layout.sessions) if not name.startswith(".")]
    found = plan(settings.rules, ended_sessions(files, layout, names), read_deeds(files, layout), time.time_ns())
    workers = about_rounds(files, layout)
    rules = [rule.text() for rule in settings.rules]
    document = {
        "archive_dir": settings.archive_dir or None,
        "rules": rules,
        "due": [_document(due) for due in found.now],
        "later": [_document(due) for due in found.later],
        "workers": workers,
    }

    def text() -> str:
        lines = [f"rule {number}: {escape_line(rule)}" for number, rule in enumerate(rules, 1)]
        lines += [f"archives go to {escape_line(settings.archive_dir)}"] if settings.archive_dir else []
        due = [*found.now, *found.later]
        if not rules:
            lines.append("no rules: see `retention` in the settings (etc/arbd.yaml)")
        elif not workers:
            lines.append("no daemon that lives carries rules out: start one with these settings")
        for worker in workers:
            lines.append(_worker(worker))
        if due:
            shown = due if every else due[:SHOWN]
            rows = [[one.session_id, one.action.value, _when(one, found.now), str(one.rule)] for one in shown]
            lines.append(table(("SESSION", "WHAT", "WHEN", "RULE"), rows))
            lines += [f"and {len(due) - len(shown)} more: --all shows them"] if len(due) > len(shown) else []
        elif rules:
            lines.append("nothing is due, now or later")
        return "\n".join(lines)

    app.show(document, text)


def about_rounds(files: Files, layout: SpoolLayout) -> list[dict[str, Any]]:
    """What workers that live say of their rounds, those that have rules."""
    found = []
    for beat in read_beats(files, layout):
        told = beat.about.get("retention")
        if isinstance(told, dict) and is_held(files, layout, beat.worker_id):
            found.append({"worker_id": beat.worker_id, **told})
    return found


def _worker(told: dict[str, Any]) -> str:
    last = iso_time(int(told.get("last_round_ns") or 0))
    done = ", ".join(f"{count} {what}" for what, count in sorted(dict(told.get("done") or {}).items()))
    text = f"{told['worker_id']}: last round {last or 'not yet'}" + (f", since its start {done}" if done else "")
    troubles = dict(told.get("troubles") or {})
    lines = [f"  cannot: {f'{session}: ' if session else ''}{error}" for session, error in troubles.items()]
    return "\n".join(escape_line(line) for line in [text, *lines])


def _when(due: Due, now: list[Due]) -> str:
    return "next round" if due in now else iso_time(due.at_ns) or "-"


def _document(due: Due) -> dict[str, Any]:
    return {
        "session_id": due.session_id,
        "action": due.action.value,
        "rule": due.rule,
        "ended": iso_time(due.ended.ended_ns),
        "at": iso_time(due.at_ns),
    }
