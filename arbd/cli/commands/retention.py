"""`arbctl purge`, `archive` and `restore`: what becomes of sessions that are over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from arbd.analysis.overview import Selection
from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.selection import chosen, for_each, require_alone, selection_options, yes_option
from arbd.errors import CorruptionError, UsageError
from arbd.spool.layout import SpoolLayout
from arbd.terminal_text import escape_line

if TYPE_CHECKING:
    from arbd.results.retention import Found


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
@json_option
@pass_app
def purge(
    app: App, session: str | None, segments: bool, results: bool, claims: bool, selection: Selection, yes: bool
) -> None:
    """Free the space of a SESSION that is over. Shows what would be removed, and removes nothing without --yes.

    No flag takes results and claims at once: the whole session goes with --results and --claims. A session
    that somebody works on is never touched. Without SESSION, all that are over and that the filters choose.

    \b
    Examples:
      arbctl purge kimchi-btc-01 --segments                      # what would it free?
      arbctl purge kimchi-btc-01 --segments --yes
      arbctl purge --user bob --older-than 30d --segments --yes
      arbctl archive kimchi-btc-01 --output kimchi.tar.gz && arbctl purge kimchi-btc-01 --results --claims --yes
    """
    if not (segments or results or claims):
        raise UsageError("say what: --segments, --results, --claims, or --results and --claims for all of it")
    layout = app.layout()
    parts = Parts(segments, results, claims)
    if session is not None:
        require_alone(session, selection)
        doomed = _purge(layout, session, parts, yes=yes)
        folder = layout.session(session).folder
        app.show(_document(session, folder, doomed, yes), lambda: _text(session, folder, doomed, yes))
        return
    views = chosen(layout, app.bookmarks(), selection, lambda view: view.is_over)
    for_each(app, views, yes, lambda name: _freed(_purge(layout, name, parts, yes=True)))


class Parts(NamedTuple):
    """What of a session is to go."""

    segments: bool
    results: bool
    claims: bool


def _freed(doomed: list[Found]) -> str:
    return f"removed {len(doomed)} files, {_size(sum(found.size for found in doomed))}"


def _purge(layout: SpoolLayout, session: str, parts: Parts, *, yes: bool) -> list[Found]:
    """What of a session goes, gone with `yes`."""
    from arbd.results import retention
    from arbd.results.trials import keep_before_purge
    from arbd.spool.ledger import LedgerState

    segments, results, claims = parts
    files = layout.files()
    paths = layout.session(session)
    try:
        state = retention.require_over(files, layout, session)
    except CorruptionError:
        # What nobody can read any more nobody can end either; it may go as a whole.
        if not (results and claims):
            raise
        retention.require_unused(files, layout, session)
        state = LedgerState()
    kept = retention.require_compacted(files, paths, state) if segments and not results else None
    stored = retention.segments_of(files, paths), retention.results_of(files, paths)
    if claims and not results and any(stored):
        raise UsageError(f"session {session} has results: archive it, then name --results too if they may go")
    doomed = (stored[0] if segments or results else []) + (stored[1] if results else [])
    doomed += retention.claims_of(files, paths) if claims else []
    if yes:
        with retention.alone(files, paths):
            if kept is not None:
                retention.take_blocks_in(files, paths, kept)
            for found in [] if claims else doomed:
                files.remove(found.path)
            if claims:
                # Luck does not become less by forgetting how often it was tried.
                keep_before_purge(files, layout, session)
                retention.remove_session(files, layout, session)
    return doomed


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
@json_option
@pass_app
def archive(app: App, session: str | None, output: Path | None, force: bool, selection: Selection, yes: bool) -> None:
    """Write a SESSION that is over into one file: job, ledger, results, and what they need of the segments.

    The file appears whole, and is read again before it is called good; one that is there is not replaced. Nothing is
    removed; `arbctl restore` puts it back into a spool. Without SESSION, all that are over and that the filters choose.

    \b
    Examples:
      arbctl archive kimchi-btc-01
      arbctl archive kimchi-btc-01 --output /mnt/archive/kimchi-btc-01.tar.gz
      arbctl archive --older-than 30d --output /mnt/archive --yes
    """
    layout = app.layout()
    if session is not None:
        require_alone(session, selection)
        target = output or Path(f"{session}.tar.gz")
        written = _archive(layout, session, target, force=force)
        size = target.stat().st_size
        document = {"session_id": session, "output": str(target), "bytes": size, "files": written}
        app.show(document, lambda: f"{session}: {len(written)} files in {target} ({_size(size)})")
        return
    folder = output or Path()
    if not folder.is_dir():
        raise UsageError(f"--output {folder}: no folder; make it (mkdir -p {folder})")
    views = chosen(layout, app.bookmarks(), selection, lambda view: view.is_over)

    def act(name: str) -> str:
        _archive(layout, name, folder / f"{name}.tar.gz", force=force)
        return f"in {folder / name}.tar.gz"

    for_each(app, views, yes, act)


def _archive(layout: SpoolLayout, session: str, target: Path, *, force: bool) -> list[str]:
    from arbd.analysis.archive import write_archive
    from arbd.results import retention

    files = layout.files()
    state = retention.require_over(files, layout, session)
    if target.exists() and not force:
        raise UsageError(f"{target} is there already and is not overwritten: name another --output, or say --force")
    return write_archive(files, layout.session(session), state, target)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
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
    session = restore_archive(layout.files(), layout, file)
    app.show({"session_id": session}, lambda: session)
