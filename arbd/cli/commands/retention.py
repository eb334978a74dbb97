"""`arbctl purge`, `archive` and `restore`: what becomes of sessions that are over."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.analysis.overview import Selection
from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.commands.control import reason_option
from arbd.cli.purging import Parts, note, purge_session
from arbd.cli.selection import chosen, for_each, require_alone, selection_options, yes_option
from arbd.cli.typed_file import TypedFile
from arbd.errors import NotFoundError, UsageError
from arbd.spool.layout import SpoolLayout
from arbd.spool.retention_log import ARCHIVED, RESTORED
from arbd.spool.unknown_session import require_sessions
from arbd.terminal_text import escape_line

if TYPE_CHECKING:
    from arbd.results.retention import Found
    from arbd.spool.files import Files
    from arbd.spool.ledger import LedgerState


dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")


def _require_one(yes: bool, dry_run: bool) -> None:
    if yes and dry_run:
        raise UsageError("--yes does it, --dry-run only shows it: say one")


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option(
    "--segments",
    is_flag=True,
    help="What workers wrote, once the compacted results hold all of it.",
)
@click.option("--results", is_flag=True, help="All results: results.msgpack, results.csv and the segments.")
@click.option("--claims", is_flag=True, help="The ledger and the job: the session itself; never while it has results.")
@selection_options
@click.option("--yes", is_flag=True, help="Do it. Without this, only what would be removed is shown.")
@dry_run_option
@reason_option
@json_option
@pass_app
def purge(
    app: App,
    session: str | None,
    segments: bool,
    results: bool,
    claims: bool,
    selection: Selection,
    yes: bool,
    dry_run: bool,
    reason: str,
) -> None:
    """Free the space of a SESSION that is over. Shows what would be removed, and removes nothing without --yes.

    No flag takes results and claims at once: the whole session goes with --results and --claims. A session
    that somebody works on is never touched. Without SESSION, all that are over and that the filters choose.

    \b
    Examples:
      arbctl purge kimchi-btc-01 --segments --dry-run            # what would it free?
      arbctl purge kimchi-btc-01 --segments --yes
      arbctl purge --user bob --older-than 30d --segments --yes
      arbctl archive kimchi-btc-01 --output kimchi.tar.gz && arbctl purge kimchi-btc-01 --results --claims --yes
    """
    layout = app.layout()
    if session is not None:
        require_sessions(layout, [session])
    if not (segments or results or claims):
        raise UsageError("say what: --segments, --results, --claims, or --results and --claims for all of it")
    _require_one(yes, dry_run)
    parts = Parts(segments, results, claims)
    if session is not None:
        require_alone(session, selection)
        doomed = purge_session(layout, session, parts, yes=yes, reason=reason)
        folder = layout.session(session).folder
        app.show(_document(session, folder, doomed, yes), lambda: _text(session, folder, doomed, yes))
        return
    views = chosen(layout, app.bookmarks(), selection, lambda view: view.is_over)
    for_each(app, views, yes, lambda name: _freed(purge_session(layout, name, parts, yes=True, reason=reason)))


def _freed(doomed: list[Found]) -> str:
    return f"removed {len(doomed)} files, {_size(sum(found.size for found in doomed))}"


def _document(session: str, folder: Path, doomed: list[Found], removed: bool) -> dict[str, Any]:
    return {
        "session_id": session,
        "removed": removed,
        "bytes": sum(found.size for found in doomed),
        "files": [str(found.path.relative_to(folder)) for found in doomed],
    }


def _text(session: str, folder: Path, doomed: list[Found], done: bool) -> str:
    if not doomed:
        return f"{session}: nothing to remove"
    size = _size(sum(found.size for found in doomed))
    verb = "removed" if done else "would remove"
    lines = [f"{verb} {escape_line(str(found.path.relative_to(folder)))} ({_size(found.size)})" for found in doomed]
    last = f"{session}: {len(doomed)} files, {size}" + ("" if done else "; nothing was removed, --yes does it")
    return "\n".join([*lines, last])


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The file, by default SESSION.tar.gz here; with filters, the folder that gets one for each.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@selection_options
@yes_option
@dry_run_option
@json_option
@pass_app
def archive(
    app: App,
    session: str | None,
    output: Path | None,
    force: bool,
    selection: Selection,
    yes: bool,
    dry_run: bool,
) -> None:
    """Write a SESSION that is over into one file: job, ledger, results, and what they need of the segments.

    The file appears whole, and is read again before it is called good; one that is there is not replaced. Nothing is
    removed; `arbctl restore` puts it back into a spool. Without SESSION, all that are over and that the filters choose.

    \b
    Examples:
      arbctl archive kimchi-btc-01
      arbctl archive kimchi-btc-01 --output /mnt/archive/kimchi-btc-01.tar.gz
      arbctl archive --older-than 30d --output /mnt/archive --yes
    """
    _require_one(yes, dry_run)
    layout = app.layout()
    if session is not None:
        require_alone(session, selection)
        target = output or Path(f"{session}.tar.gz")
        if dry_run:
            size = _would_archive(layout, session, target, force=force)
            document = {"session_id": session, "output": str(target), "bytes": size, "files": [], "written": False}
            app.show(document, lambda: f"{session}: {_size(size)} would be packed into {target}; nothing was written")
            return
        written = _archive(layout, session, target, force=force)
        size = target.stat().st_size
        document = {"session_id": session, "output": str(target), "bytes": size, "files": written}
        app.show(document, lambda: f"{session}: {len(written)} files in {target} ({_size(size)})")
        return
    folder = output or Path()
    if not folder.is_dir():
        raise UsageError(f"--output {folder}: no folder; make it (mkdir -p {shlex.quote(str(folder))})")
    views = chosen(layout, app.bookmarks(), selection, lambda view: view.is_over)

    def act(name: str) -> str:
        _archive(layout, name, folder / f"{name}.tar.gz", force=force)
        return f"in {folder / name}.tar.gz"

    for_each(app, views, yes, act)


def _archive(layout: SpoolLayout, session: str, target: Path, *, force: bool) -> list[str]:
    from arbd.analysis.archive import write_archive

    files = layout.files()
    state = _to_archive(files, layout, session, target, force=force)
    written = write_archive(files, layout.session(session), state, target, replace=force)
    note(files, layout, session, ARCHIVED, state, "", archive=str(target.absolute()))
    return written


def _would_archive(layout: SpoolLayout, session: str, target: Path, *, force: bool) -> int:
    from arbd.results import retention

    files = layout.files()
    _to_archive(files, layout, session, target, force=force)
    return sum(found.size for found in retention.everything_of(files, layout.session(session)))


def _to_archive(files: Files, layout: SpoolLayout, session: str, target: Path, *, force: bool) -> LedgerState:
    from arbd.results import retention

    state = retention.require_over(files, layout, session)
    if target.exists() and not force:
        raise UsageError(f"{target} is there already and is not overwritten: name another --output, or say --force")
    return state


@click.command()
@click.argument("file", type=TypedFile(NotFoundError))
@json_option
@pass_app
def restore(app: App, file: Path) -> None:
    """Put the session of an archive FILE back into the spool, under its own id, unless that is taken.

    \b
    Example:
      arbctl restore kimchi-btc-01.tar.gz
    """
    from arbd.analysis.archive import restore_archive

    layout = app.layout()
    files = layout.files()
    session = restore_archive(files, layout, file)
    note(files, layout, session, RESTORED, None, "", archive=str(file.absolute()))
    app.show({"session_id": session}, lambda: session)
