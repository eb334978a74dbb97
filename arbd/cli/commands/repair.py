"""`arbctl repair`: damaged files of a session made anew from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.errors import UsageError
from arbd.terminal_text import escape_line

if TYPE_CHECKING:
    from arbd.results.repair import Repair


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option("--index", is_flag=True, help="Make the index of what is over anew, from all ledgers; without SESSION.")
@click.option("--dry-run", is_flag=True, help="Make and check everything, replace nothing, and say what would be.")
@click.option("--check", is_flag=True, help="Only look: read every byte, compare every checksum.")
@json_option
@pass_app
def repair(app: App, session: str | None, index: bool, dry_run: bool, check: bool) -> None:
    """Make damaged files of SESSION anew: results and claims from its segments, its job from job.yaml.

    What is made is read back before it replaces anything, and the damaged file is kept beside it under a name that
    begins with .damaged-. Exit 1 when something stays damaged; with --check, when something is.

    \b
    Examples:
      arbctl repair kimchi-btc-01 --check
      arbctl repair kimchi-btc-01 --dry-run
      arbctl repair kimchi-btc-01
      arbctl repair --index
    """
    if index == (session is not None):
        raise UsageError("name a SESSION, or --index")
    if check and dry_run:
        raise UsageError("--check looks only; leave --dry-run out")
    from arbd.results.repair import Repair, repair
    from arbd.results.scrub import examine

    layout = app.layout()
    files = layout.files()
    if session is None:
        from arbd.spool.session_index import make_anew

        number, unread = make_anew(files, layout)
        document = {"sessions": number, "unreadable": unread}
        app.show(document, lambda: f"index: {number:,} sessions are over" + "".join(f"\n{text}" for text in unread))
        return
    if check:
        found = Repair(examine(files, layout.session(session)))
    else:
        from arbd.daemon.side.intake_process import session_resolver

        found = repair(files, layout, session, session_resolver(app.config()), dry_run=dry_run)
    app.show(_document(session, found), lambda: _text(session, found, looked=check, dry_run=dry_run))
    if found.left or (check and found.damage):
        raise click.exceptions.Exit(1)


def _document(session: str, found: Repair) -> dict[str, Any]:
    return {
        "session_id": session,
        "damage": [{"file": str(d.path), "byte": d.offset, "what": d.what} for d in found.damage],
        "repaired": [
            {"file": str(step.path), "from": step.what, "kept": None if step.kept is None else str(step.kept)}
            for step in found.steps
        ],
        "left": found.left,
    }


def _text(session: str, found: Repair, *, looked: bool, dry_run: bool) -> str:
    if not found.damage:
        return f"{session}: nothing is damaged"
    lines = [f"damaged: {escape_line(str(damaged))}" for damaged in found.damage]
    if looked:
        return "\n".join([*lines, f"{session}: `arbctl repair {session} --dry-run` says what can be made anew"])
    verb = "would make anew" if dry_run else "made anew"
    for step in found.steps:
        kept = f"; the damaged one is kept as {escape_line(step.kept.name)}" if step.kept is not None else ""
        lines.append(f"{verb} {escape_line(str(step.path))}: {escape_line(step.what)}{kept}")
    lines += [f"stays as it is: {escape_line(text)}" for text in found.left]
    return "\n".join(lines)
