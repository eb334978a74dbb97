"""What commands say of a job that is no session: by the name of its file, or the id that its session is to have."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import click

from arbd.cli.app import App, table
from arbd.errors import ArbdError, JobError, UsageError
from arbd.spool.bookmarks import read_state
from arbd.spool.dropped import DroppedJob, JobState, find_dropped
from arbd.spool.layout import SpoolLayout
from arbd.spool.sessions import exists, session_names
from arbd.spool.submitted import cancel_queued, this_users_cancellation
from arbd.terminal_text import escape_line

HEAD = ("JOB", "STATE", "SESSION")


def named(app: App, layout: SpoolLayout, wanted: str) -> str | DroppedJob:
    """The session, or the job that is none, which somebody calls `wanted`; UsageError for what can be neither.

    An id of a session goes first, then a job that waits, the session that was made of a file of that name, and a job
    that was rejected. What is none of these is returned as it is.
    """
    files = layout.files()
    with contextlib.suppress(UsageError):
        if exists(files, layout.session(wanted)):
            return wanted
    job = find_dropped(files, layout, wanted)
    if job is not None and job.state is JobState.QUEUED:
        return job
    session = _made_of(app, layout, wanted)
    if session is not None or job is not None:
        return session or job or wanted
    layout.session(wanted)
    return wanted


def _made_of(app: App, layout: SpoolLayout, wanted: str) -> str | None:
    """The session that was made of the file of that name, the last one of several."""
    files, found = layout.files(), []
    for session_id in session_names(files, layout):
        with contextlib.suppress(ArbdError, OSError):
            submission = read_state(files, layout.session(session_id), app.bookmarks()).provenance.submission
            if wanted and wanted in (submission.file, submission.file.rpartition(".")[0]):
                found.append((submission.wall_ns, session_id))
    return max(found)[1] if found else None


def described(job: DroppedJob) -> str:
    """For people: state, reason, remedy."""
    lines = [table(HEAD, [(job.name, job.state.value, job.session_id or "-")]), ""]
    lines += [escape_line(line) for line in job.reason.splitlines()]
    lines += [f"to do: {escape_line(job.remedy)}"] if job.remedy else []
    return "\n".join(lines)


def listed(jobs: Iterable[DroppedJob]) -> str:
    """Several, with one line of reason each."""
    known = list(jobs)
    rows = [(job.name, job.state.value, job.session_id or "-") for job in known]
    return "\n".join([table(HEAD, rows), *(escape_line(f"{job.name}: {job.line}") for job in known)])


def no_session(job: DroppedJob) -> UsageError:
    """For a command that needs a session."""
    return UsageError(f"{job.name} is {job.state.value}, and no session: {job.line}")


def _now(app: App, layout: SpoolLayout, job: DroppedJob) -> str | DroppedJob:
    """What has become of it."""
    found = named(app, layout, job.name)
    return job.session_id or found if found == job.name else found


def wait_for_session(app: App, layout: SpoolLayout, job: DroppedJob, every_s: float) -> str:
    """Say how the job stands, whenever that changes, until it is a session; JobError when it is rejected."""
    said, found = "", _now(app, layout, job)
    while isinstance(found, DroppedJob):
        if found.state is JobState.REJECTED:
            raise JobError.of(found.name, f"rejected: {found.reason}")
        line = f"{found.name}: {found.state.value}: {found.line}"
        if line != said:
            click.echo(escape_line(line))
            said = line
        time.sleep(every_s)
        found = _now(app, layout, job)
    return found


def cancel_job(app: App, layout: SpoolLayout, job: DroppedJob, why: str = "") -> str | None:
    """Cancel a job that is no session. None when it is cancelled; the session that it has become meanwhile, else.

    It goes to `rejected/`. UsageError when it was rejected already, or a worker does not come to an end with it.
    """
    first: list[DroppedJob] = [job]

    def now() -> str | DroppedJob:
        return first.pop() if first else _now(app, layout, job)

    return cancel_queued(layout.files(), layout, now, this_users_cancellation(why))
