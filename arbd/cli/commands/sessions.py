"""`arbctl list` and `arbctl status`: what is in the spool and how far it is. Reads ledgers, never results."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.analysis.overview import Overview, Overviews, Selection, blocked_by, read_overview, read_overviews
from arbd.analysis.pace import bad, eta_s, rate_per_s, rate_text
from arbd.analysis.standing_documents import standing_documents
from arbd.analysis.standstill import BLOCKED, FINISHING, NO_WORKER, read_standstill
from arbd.analysis.waiting import waiting_share, waiting_text
from arbd.cli.app import App, complete_sessions, duration, json_option, pass_app, table
from arbd.cli.dropped import described, listed, named
from arbd.cli.executor_lines import executor_lines
from arbd.cli.selection import selection_options
from arbd.cli.standing_jobs import standing_table
from arbd.errors import VersionError
from arbd.spool.dropped import DroppedJob, dropped_jobs, queued_jobs
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import is_held, read_beats
from arbd.spool.readable import first_record, require_readable
from arbd.terminal_text import escape_line

if TYPE_CHECKING:
    from arbd.analysis.code import CodeShare

MOST_OVER = 20


def _line(view: Overview) -> list[str]:
    state = view.state
    if state is None:
        return [view.session_id, "blocked", *["-"] * (len(_HEAD) - 2)]
    rate = rate_per_s(state)
    share = 100 * state.counted / state.n if state.n else 100.0
    return [
        view.session_id,
        view.label,
        view.submitter or "-",
        f"{state.counted:,}",
        f"{state.n:,}",
        f"{share:.1f}%",
        str(bad(state)),
        rate_text(rate),
        duration(eta_s(state)),
    ]


PRUNED_NOTE = "those that were pruned are among the completed here: `arbctl summary {}` tells them apart"
_HEAD = ("SESSION", "STATE", "USER", "DONE", "OF", "%", "BAD", "PER SECOND", "LEFT")


def _show(app: App, found: Overviews, jobs: list[DroppedJob], standing: list[dict[str, Any]], none: str) -> None:
    document = {
        "sessions": [view.document() for view in found.views] if app.as_json else [],
        "jobs": [job.document() for job in jobs],
        "standing": standing,
        "errors": found.errors,
        "more": found.more,
    }
    parts = [_text(found, jobs, "" if standing else none), standing_table(standing) if standing else ""]
    app.show(document, lambda: "\n\n".join(part for part in parts if part))
    for error in found.errors:
        click.echo(f"arbctl: {escape_line(error)}", err=True)


def _text(found: Overviews, jobs: list[DroppedJob], none: str) -> str:
    lines = [_table(found.views)] if found.views else [] if jobs or not none else [none]
    lines += [f"{found.more:,} more are over: `arbctl list --all`"] if found.more else []
    return "\n".join([*lines, *(["", listed(jobs)] if jobs and lines else [listed(jobs)] if jobs else [])])


def _table(views: list[Overview]) -> str:
    reasons = [f"{view.session_id}: {escape_line(view.reason)}" for view in views if view.reason]
    return "\n".join([table(_HEAD, [_line(view) for view in views]), *reasons])


@click.command("list")
@click.option("--all", "show_all", is_flag=True, help=f"All that are over, not only the {MOST_OVER} that ended last.")
@selection_options
@json_option
@pass_app
def list_(app: App, selection: Selection, show_all: bool) -> None:
    """The sessions of the spool, and jobs that are none yet or were rejected; with filters, all that fit every one.

    \b
    Examples:
      arbctl list --user anna --state running,paused
      arbctl list --label desk=btc --since 7d
    """
    layout = app.layout()
    most = MOST_OVER if selection.is_all and not show_all else None
    found = read_overviews(layout, app.bookmarks(), most)
    jobs = [job for job in dropped_jobs(layout.files(), layout) if selection.fits_job(job)]
    standing = standing_documents(layout.files(), layout) if selection.is_all else []
    views = [view for view in found.views if selection.fits(view)]
    _show(app, replace(found, views=views), jobs, standing, "no sessions")


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@json_option
@pass_app
def status(app: App, session: str | None) -> None:
    """Progress, rate, time left, failures and workers of SESSION, or of all that are not over.

    SESSION may be the name of a job file too: of one that waits, that was rejected, or that became a session.

    \b
    Examples:
      arbctl status
      arbctl status kimchi-btc-01
      arbctl status kimchi-btc-01 --json
    """
    layout = app.layout()
    if session is None:
        found = read_overviews(layout, app.bookmarks(), 0)
        none = "no session is going on; `arbctl list` shows all" if found.more else "no sessions"
        files = layout.files()
        _show(app, replace(found, more=0), list(queued_jobs(files, layout)), standing_documents(files, layout), none)
        return
    meant = named(app, layout, session)
    if isinstance(meant, DroppedJob):
        app.show(meant.document(), lambda: described(meant))
        return
    session, files = meant, layout.files()
    view = read_overview(layout, session, app.bookmarks())
    if not (view.reason or view.is_over):
        try:
            require_readable(files, layout.session(session))
        except VersionError as error:
            view = replace(view, reason=str(error))
    blocked = blocked_by(read_beats(files, layout))[session]
    shares, differing = (
        ([], []) if view.reason else _code(layout, session, app.config().objective_paths, over=view.is_over)
    )
    is_read = not view.reason and view.state is not None and view.state.counts[0]
    missing = ""
    if is_read:
        # Results that another version wrote say nothing here; the rest of the status does.
        with contextlib.suppress(VersionError):
            missing = _missing_metric(files, layout, session)
    told = {
        "blocked": blocked,
        "code": [share.document() for share in shares],
        "differs_here": differing,
        "missing_metric": missing,
        "phases": (phases := [] if view.reason else _phases(files, layout, session, view)),
        "slots_waiting": (waits := None if view.is_over else _waiting(files, layout, session)),
    }
    notes = [note for note in (missing, waiting_text(waits)) if note]
    notes += [] if view.is_over else _executors(files, layout, session)
    notes += [PRUNED_NOTE.format(session)] if is_read and _prunes(files, layout, session) else []
    more = [*_phase_lines(phases), *_code_lines(session, shares, differing), *map(escape_line, notes)]
    shown = view.standing(read_standstill(files, layout))
    app.show(shown.document() | told, lambda: "\n".join([_details(shown, blocked), *more]))


def _code(
    layout: SpoolLayout, session_id: str, folders: Sequence[Path], *, over: bool
) -> tuple[list[CodeShare], list[str]]:
    """Which code makes the session's rows, with counts once it is over, and what this host has otherwise."""
    from arbd.analysis.code import code_shares, differs_here
    from arbd.results.code_runs import stored_code_counts
    from arbd.results.session_code import SessionCode, accepted_parts

    files, paths = layout.files(), layout.session(session_id)
    counts = stored_code_counts(files, paths) if over else None
    differing = [] if over else differs_here(files, layout, paths, folders)
    return code_shares(SessionCode(files, paths, accepted_parts(files, paths)), counts), differing


def _code_lines(session_id: str, shares: list[CodeShare], differing: list[str]) -> list[str]:
    from arbd.analysis.code import is_mixed, mixed_text

    lines = []
    if len(shares) > 1 or differing:
        rows = [f", {share.rows:,} results" if share.rows is not None else "" for share in shares]
        lines += [f"code {share.text()}{told}" for share, told in zip(shares, rows, strict=True)]
    lines += [f"on this host: {text}" for text in differing]
    lines += [mixed_text(session_id, shares)] if is_mixed(shares) else []
    return [escape_line(line) for line in lines]


def _missing_metric(files: Files, layout: SpoolLayout, session_id: str) -> str:
    """What is said of a metric that no result has, or ''."""
    from arbd.results.metric_names import surely_has_metrics

    paths = layout.session(session_id)
    if surely_has_metrics(files, paths):
        return ""
    from arbd.job.stored import read_spec
    from arbd.results.missing_metrics import MissingMetrics

    return MissingMetrics(files, paths, read_spec(files, paths)).look()


def _phases(files: Files, layout: SpoolLayout, session_id: str, view: Overview) -> list[dict[str, Any]]:
    """How far the phases are of a session that has more than a search."""
    record = first_record(files, layout.session(session_id).spec)
    if view.state is None or not isinstance(record, dict) or record.get("validation") is None:
        return []
    from arbd.analysis.phase_progress import phase_progress
    from arbd.job.stored import read_spec

    return phase_progress(read_spec(files, layout.session(session_id)), view.state)


def _prunes(files: Files, layout: SpoolLayout, session_id: str) -> bool:
    record = first_record(files, layout.session(session_id).spec)
    return isinstance(record, dict) and record.get("prune") is not None


def _phase_lines(phases: list[dict[str, Any]]) -> list[str]:
    parts = (f"{line['phase']} {line['recorded']:,} of {line['iterations']:,}" for line in phases)
    return [f"phases: {', '.join(parts)}"] if phases else []


def _waiting(files: Files, layout: SpoolLayout, session_id: str) -> float | None:
    beats = [beat for beat in read_beats(files, layout) if is_held(files, layout, beat.worker_id)]
    return waiting_share(beats, session_id)


def _executors(files: Files, layout: SpoolLayout, session_id: str) -> list[str]:
    """What workers that are at the session, or wait for it, say of slots that they have from somebody else."""
    beats = [beat for beat in read_beats(files, layout) if beat.about.get("only") in (None, session_id)]
    return [
        line
        for beat in beats
        if is_held(files, layout, beat.worker_id)
        for line in executor_lines(beat.worker_id, beat.about.get("executor"))
    ]


def _details(view: Overview, blocked: dict[str, str]) -> str:
    state = view.state
    lines = [table(_HEAD, [_line(view)])]
    if view.reason and not (blocked and view.label != BLOCKED):
        why = FINISHING if view.label == FINISHING else "waits" if view.reason == NO_WORKER else "left alone"
        lines += ["", f"{why}: {escape_line(view.reason)}"]
    if state is None:
        return "\n".join(lines)
    lines += _provenance_lines(view)
    states = [f"{count:,} {name}" for name, count in state.states().items() if count]
    lines += ["", f"iterations: {', '.join(states)}"]
    # What was run again counts for both who ran it.
    recorded = sum(sum(counts) for counts in state.worker_counts.values())
    for name, counts in sorted(state.worker_counts.items()):
        share = 100 * sum(counts) / max(1, recorded)
        lines.append(
            f"worker {name}: {sum(counts):,} ({share:.0f} %)" + (f", {sum(counts[1:])} bad" if sum(counts[1:]) else "")
        )
    lines += [f"worker {name} cannot evaluate it: {escape_line(reason)}" for name, reason in sorted(blocked.items())]
    return "\n".join(lines)


def _provenance_lines(view: Overview) -> list[str]:
    """Whose it is and since when, as far as anybody said."""
    told = view.document()
    submitted = [f"by {told['submitter']}"] if told["submitter"] else []
    submitted += [f"from {told['host']}"] if told["host"] else []
    submitted += [f"at {told['submitted']}"] if told["submitted"] else []
    lines = ["", f"submitted {' '.join(submitted)}"] if submitted else []
    times = [f"{name} {told[name]}" for name in ("started", "ended") if told[name]]
    lines += [", ".join(times)] if times else []
    what = [told["method"]] if told["method"] else []
    what += [f"priority {told['priority']}"] if told["priority"] else []
    what += [f"{name}={value}" for name, value in told["labels"].items()]
    lines += [", ".join(what)] if what else []
    if last := told["last_action"]:
        why = f": {last['reason']}" if last["reason"] else ""
        lines.append(f"{last['what']} by {last['user']} on {last['host']} at {last['when']}{why}")
    return [escape_line(line) for line in lines]
