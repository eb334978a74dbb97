"""`arbctl submit`: into the spool by rename, and on wish wait for what comes of it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arbd.analysis.standstill import read_standstill
from arbd.cli.app import App, json_option, pass_app
from arbd.cli.complete import complete_settings
from arbd.cli.incomplete import say_incomplete
from arbd.cli.job_array import Member, members
from arbd.cli.jobs import PreparedJob, overrides_option, read_job
from arbd.cli.progress import ProgressView
from arbd.cli.typed_file import TypedFile
from arbd.daemon.host.config import Config
from arbd.errors import ArbdError, NotBegunError, NotFoundError, UnopenedError, UsageError
from arbd.job.stored import read_spec
from arbd.spool import ledger
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.files import Files
from arbd.spool.job_file import host_line
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import is_held, read_beats, unread_beats
from arbd.spool.operations import halts
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import exists, new_session_id
from arbd.spool.standing.folder import require_free
from arbd.spool.submitted import Submitted, Watch, submitted
from arbd.spool.system import SystemClock
from arbd.terminal_text import escape_line

if TYPE_CHECKING:
    from arbd.job.file import JobDocument

POLL_S = 0.2
SAY_AFTER_S = 2.0


@click.command()
@click.argument("jobs", type=TypedFile(), nargs=-1, required=True, metavar="JOB...")
@click.option("--session-id", help="The session's id, by default the job's own, else a time-ordered one.")
@overrides_option
@click.option(
    "--each",
    "each",
    multiple=True,
    metavar="KEY=VALUES",
    shell_complete=complete_settings,
    help="A session for each of these values, e.g. fixed.latency_a_ms=50,100; for each combination when it is repeated.",
)
@click.option("--wait", is_flag=True, help="Show progress until the session is done; exit 1 if iterations failed.")
@json_option
@pass_app
def submit(
    app: App,
    jobs: tuple[Path, ...],
    session_id: str | None,
    overrides: tuple[str, ...],
    each: tuple[str, ...],
    wait: bool,
) -> None:
    """Check each JOB, drop it into the spool by rename, print the session's id.

    Of several, all are checked before the first is dropped. With --wait, the first one's progress is shown, then the
    next one's; exit 1 if iterations of any failed. With --each, or `each:` in the file, one JOB becomes several sessions,
    NAME-1, NAME-2, ..., which have the label array=NAME.

    \b
    Examples:
      arbctl submit etc/jobs/grid.yaml
      arbctl submit etc/jobs/grid.yaml --session-id kimchi-btc-01 --set tuning.seed=7
      arbctl submit etc/jobs/grid.yaml --wait
      arbctl submit jobs/*.yaml --set execution.priority=-1
      arbctl submit etc/jobs/grid.yaml --each tuning.seed=1,2,3 --session-id seeds
    """
    if session_id is not None and len(jobs) > 1:
        raise UsageError("--session-id names one session: submit these jobs one by one, or leave it out")
    config = app.config()
    layout = SpoolLayout(config.spool)
    layout.prepare_to_submit()
    files = layout.files()
    prepared = _all_prepared(config, files, layout, jobs, overrides, session_id, each)
    if wait and any(one.schedule is not None for one in prepared):
        raise UsageError("a standing job has no end to wait for: leave --wait out, `arbctl standing show` tells of it")
    names = [_name(one) for one in prepared]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two of these jobs name the session {twice}: none was submitted")
    dropped = [_drop(files, layout, one) for one in prepared]
    # Who waits hears of it after a moment, in which a daemon that was just started is there.
    if not wait and (why := _why_all_wait(files, layout)):
        click.echo(f"arbctl: {escape_line(why)}", err=True)
    told = []
    failed = False
    for name, one, job in zip(names, prepared, dropped, strict=True):
        if not wait:
            told.append({"session_id": name, "iterations": one.spec.n} | _standing(one))
            continue
        queue = _wait_until_accepted(job)
        state = _waited(files, queue, quiet=app.as_json)
        statuses = dict(zip(ledger.STATUS_NAMES, state.counts, strict=True))
        told.append({"session_id": name, "iterations": state.n, "state": state.label(), "statuses": statuses})
        failed |= say_incomplete(name, state)
    app.show(told[0] if len(told) == 1 else {"sessions": told}, lambda: "\n".join(names))
    if failed:
        raise click.exceptions.Exit(1)


def _standing(job: PreparedJob) -> dict[str, str]:
    """What is told of a standing job beside its name."""
    return {} if job.schedule is None else {"standing": job.schedule.text()}


def _array(jobs: tuple[Path, ...], session_id: str | None, each: tuple[str, ...], otherwise: str) -> list[Member]:
    """What --each makes of the one job that it is given."""
    from arbd.job.file import load_job

    if len(jobs) > 1:
        raise UsageError("--each makes several sessions of one job: submit these jobs one by one")
    job = load_job(jobs[0]).job
    if job.each is not None:
        raise UsageError(f"{jobs[0]} has an `each:` of its own: put all fields there, or leave it out")
    return members(session_id or job.session_id or otherwise, each)


def _all_prepared(
    config: Config,
    files: Files,
    layout: SpoolLayout,
    jobs: tuple[Path, ...],
    overrides: tuple[str, ...],
    session_id: str | None,
    each: tuple[str, ...],
) -> list[PreparedJob]:
    """The jobs of all files, or those that --each makes of one."""
    made = new_session_id(files, SystemClock())
    if each:
        array = _array(jobs, session_id, each, otherwise=made)
        return [
            _prepared(config, files, layout, jobs[0], (*overrides, *one.overrides), one.session_id) for one in array
        ]
    return [
        one
        for job in jobs
        for one in _of_file(
            config, files, layout, job, overrides, session_id, otherwise=new_session_id(files, SystemClock())
        )
    ]


def _of_file(
    config: Config,
    files: Files,
    layout: SpoolLayout,
    path: Path,
    overrides: tuple[str, ...],
    session_id: str | None,
    *,
    otherwise: str,
) -> list[PreparedJob]:
    """The jobs of one file: as many as its `each:` makes, else one."""
    from arbd.job.each import array_of
    from arbd.job.file import apply_overrides, load_job

    document = load_job(path)
    if overrides:
        document = apply_overrides(document, overrides)
    array = array_of(document, session_id or document.job.session_id or otherwise)
    if array is None:
        return [_prepared(config, files, layout, path, overrides, session_id)]
    return [_prepared(config, files, layout, path, (), name, document=member) for name, member in array]


def _name(job: PreparedJob) -> str:
    assert job.spec.session_id is not None
    return job.spec.session_id


def _prepared(
    config: Config,
    files: Files,
    layout: SpoolLayout,
    job: Path,
    overrides: tuple[str, ...],
    session_id: str | None,
    *,
    document: JobDocument | None = None,
) -> PreparedJob:
    """A job that can be dropped. JobError or UsageError says why not."""
    prepared = read_job(
        config, job, overrides, session_id, otherwise=new_session_id(files, SystemClock()), document=document
    )
    name = _name(prepared)
    if prepared.schedule is not None:
        require_free(files, layout, name)
    elif _taken(files, layout, name):
        raise UsageError(
            f"session {name} exists already in {layout.root} and is not overwritten: choose another --session-id"
        )
    for notice in prepared.spec.notices:
        click.echo(f"note: {escape_line(notice)}", err=True)
    target = layout.incoming / f"{name}{SUBMITTED_SUFFIX}"
    # Not `publish_once`: for a moment its file has two names, and the intake refuses such.
    if files.look(target) is not None:
        raise UsageError(
            f"a job for session {name} waits in {layout.incoming} already and is not overwritten: choose another "
            "--session-id, or remove it there"
        )
    return prepared


def _drop(files: Files, layout: SpoolLayout, prepared: PreparedJob) -> Submitted:
    """Drop a job."""
    name = _name(prepared)
    job = submitted(files, layout, name)
    with _readable():
        target = layout.incoming / f"{name}{SUBMITTED_SUFFIX}"
        files.publish(target, host_line(socket.gethostname()) + prepared.data)
    return job


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """What is made meanwhile can be read by the user of the daemon."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


# Who may only drop jobs sees neither sessions, nor refusals, nor workers. The daemon refuses what is wrong then.


def _taken(files: Files, layout: SpoolLayout, name: str) -> bool:
    try:
        return exists(files, layout.session(name))
    except PermissionError:
        return False


def _why_all_wait(files: Files, layout: SpoolLayout) -> str:
    """Why no worker takes a job up now; '' when one may, or this user may not see it."""
    try:
        halted = halts(files, layout)
        if "" in halted:
            return f"no job is taken up on {layout.root}: {halted[''].text()}; the job waits for the end of that"
        workers = [*(beat.worker_id for beat in read_beats(files, layout)), *unread_beats(files, layout)]
        living = [worker_id for worker_id in workers if is_held(files, layout, worker_id)]
    except PermissionError:
        return ""
    if not living:
        return f"no worker runs on {layout.root}; the job waits until one does (arbd run)"
    if all(worker_id in halted for worker_id in living):
        told = ", ".join(f"{worker_id} is {halted[worker_id].text()}" for worker_id in living)
        return f"no job is taken up on {layout.root}: {told}; the job waits until one works again (arbctl undrain)"
    return ""


def _wait_until_accepted(job: Submitted) -> SessionQueue:
    """Wait until a worker took the job up; JobError with its reason when it was refused, NotFoundError when it is gone."""
    files, watch = job.layout.files(), Watch(job)
    queue = SessionQueue(files, job.layout.session(job.session_id))
    say_at_s, said = time.monotonic() + SAY_AFTER_S, ""
    while True:
        try:
            queue.refresh()
        except (NotFoundError, UnopenedError):
            why = watch.not_begun(files)
            if not isinstance(why, NotBegunError):
                raise why from None
            if time.monotonic() > say_at_s and (line := escape_line(str(why))) != said:
                click.echo(f"arbctl: {line}", err=True)
                said = line
            time.sleep(POLL_S)
            continue
        return queue


def _waited(files: Files, queue: SessionQueue, *, quiet: bool) -> ledger.LedgerState:
    from arbd.results.missing_metrics import MissingMetrics

    metrics = MissingMetrics(files, queue.paths, read_spec(files, queue.paths))
    layout = SpoolLayout(queue.paths.folder.parent.parent)
    look_at_s, said = time.monotonic() + SAY_AFTER_S, ""
    with ProgressView(queue.paths.session_id, quiet=quiet) as view:
        while not queue.refresh().over:
            view.show(queue.state)
            if time.monotonic() > look_at_s:
                look_at_s = time.monotonic() + SAY_AFTER_S
                if (why := read_standstill(files, layout).reason(queue.paths.session_id, queue.state)) not in (
                    "",
                    said,
                ):
                    click.echo(f"arbctl: {queue.paths.session_id}: {escape_line(why)}", err=True)
                    said = why
            if text := metrics.look():
                raise ArbdError(
                    f"session {queue.paths.session_id}: {text}; it goes on, `arbctl cancel {queue.paths.session_id}` ends it"
                )
            time.sleep(POLL_S)
        view.show(queue.state, force=True)
    if text := metrics.look():
        raise ArbdError(f"session {queue.paths.session_id}: {text}")
    return queue.state
