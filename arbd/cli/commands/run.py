"""`arbctl run`: this shell becomes a worker for one session, with or without daemons beside it."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from arbd.atomic_file import check_output
from arbd.cli.app import App, json_option, pass_app
from arbd.cli.incomplete import say_incomplete
from arbd.cli.jobs import PreparedJob, overrides_option, read_job
from arbd.cli.progress import ProgressView
from arbd.cli.typed_file import TypedFile
from arbd.daemon.executors.settings import ExecutorSettings
from arbd.daemon.host.config import Config, override
from arbd.errors import ArbdError, UsageError
from arbd.job.differences import differences, more_iterations
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.spool import place
from arbd.spool.control import submitted_here
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import SessionExistsError, create_session, exists, new_session_id
from arbd.spool.system import SystemClock
from arbd.terminal_text import escape_line


@click.command()
@click.argument("job", type=TypedFile())
@click.option("--iterations", type=click.IntRange(1), help="Override the job's max_iterations.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes of this shell, by default one per processor.")
@click.option("--session-id", help="The session to make, or to join when it exists.")
@click.option("--worker-id", help="This worker's name, by default host and process number.")
@overrides_option
@click.option("--executor", help="Have it evaluated by somebody else's slots: dask, factory, or another kind.")
@click.option("--scheduler", metavar="ADDRESS", help="Of the executor, for example tls://head:8786.")
@click.option("--factory", metavar="MODULE:FUNCTION", help="What makes the executor, for --executor factory.")
@click.option("--output-csv", type=click.Path(path_type=Path), help="Write the results as a table when done.")
@json_option
@pass_app
def run(
    app: App,
    job: Path,
    iterations: int | None,
    workers: int | None,
    session_id: str | None,
    worker_id: str | None,
    overrides: tuple[str, ...],
    executor: str | None,
    scheduler: str | None,
    factory: str | None,
    output_csv: Path | None,
) -> None:
    """Work on JOB here, without a daemon, until its session is done.

    A second shell with the same --session-id and another --worker-id shares the work. Ctrl-C stops this
    worker; the same command goes on where it was. The objective that JOB names is allowed, because you named it.
    Iterations that fail are results and said; they are no failure of this command.

    With --executor, processes of another system evaluate instead of this host's, --workers of them at once; this shell
    keeps the session and writes its results.

    \b
    Examples:
      arbctl --spool var/spool run etc/jobs/random.yaml
      arbctl --spool /mnt/nas/spool run job.yaml --session-id s1 --worker-id a    # one shell
      arbctl --spool /mnt/nas/spool run job.yaml --session-id s1 --worker-id b    # another, on any host
      arbctl --spool var/spool run job.yaml --executor dask --scheduler tcp://127.0.0.1:8786 --workers 32
    """
    config = _with_executor(app.config(), executor, workers, scheduler, factory)
    if config.executor.kind:
        workers = None
    layout = SpoolLayout(config.spool)
    place.require_folder(layout.root)
    others = layout.other_things()
    layout.prepare()
    if others:
        click.echo(escape_line(f"arbctl: made a spool of {layout.root}, beside {', '.join(others)}"), err=True)
    if iterations is not None:
        overrides = (*overrides, f"tuning.max_iterations={iterations}")
    if output_csv is not None:
        check_output(output_csv)
    prepared = read_job(config, job, overrides, session_id, joins=True, slots=workers or config.all_slots)
    if prepared.schedule is not None:
        raise UsageError(f"{job} is a standing job: submit it, or run it once here with --set schedule=null")
    here = _settings(config, prepared.spec, workers, worker_id, job)
    name = prepared.spec.session_id or new_session_id(layout.files(), SystemClock())
    if _make_or_join(layout, name, prepared):
        click.echo(f"joining session {name}", err=True)
    code = _work(app, here, layout, name)
    if output_csv is not None:
        from arbd.analysis.export import export_session

        export_session(layout.root, name, "csv", output_csv)
    if code:
        # The only one that is no error: Ctrl-C, after what ran was given back.
        raise KeyboardInterrupt
    state = SessionQueue(layout.files(), layout.session(name)).refresh()
    app.show({"session_id": name, "state": state.label(), "done": state.counted, "iterations": state.n}, lambda: name)
    say_incomplete(name, state)


def _with_executor(
    config: Config, kind: str | None, workers: int | None, scheduler: str | None, factory: str | None
) -> Config:
    """The settings with the executor that the options name, if any."""
    if kind is None and (scheduler or factory):
        raise UsageError("--scheduler and --factory are of an executor: name it with --executor")
    told: dict[str, Any] = {"slots": workers, "scheduler": scheduler, "factory": factory}
    given = {name: value for name, value in told.items() if value is not None}
    if kind is None:
        # Those of the settings, as many at once as was asked for.
        found = replace(config.executor, **given) if config.executor.kind else None
    else:
        found = replace(config.executor if config.executor.kind == kind else ExecutorSettings(kind), **given)
    return config if found is None else override(config, executor=found, slots=0)


def _make_or_join(layout: SpoolLayout, name: str, prepared: PreparedJob) -> bool:
    """Make the session, or check that the one of that name is the same job; True when it was there."""
    files = layout.files()
    paths = layout.session(name)
    if not exists(files, paths):
        with contextlib.suppress(SessionExistsError):
            create_session(
                files,
                layout,
                name,
                prepared.data,
                prepared.spec,
                submission=submitted_here(prepared.spec.session_id or ""),
                say=lambda what: click.echo(f"arbctl: {what}", err=True),
            )
            return False
    there = read_spec(files, paths)
    begun = replace(there, n=there.began_with) if there.began_with else there
    if not differences(prepared.spec, begun) or not differences(prepared.spec, there):
        return True
    if more := more_iterations(prepared.spec, there):
        raise UsageError(
            f"session {name} has {there.n:,} iterations, the job asks for {prepared.spec.n:,}: once it is done, "
            f"`arbctl extend {name} --iterations {more}` adds the rest; to start a separate session, choose another "
            "--session-id"
        )
    raise UsageError(
        f"session {name} exists already with another job, which differs in {', '.join(differences(prepared.spec, there))}: "
        f"choose another --session-id, or compare with {paths.job}"
    )


def _settings(config: Config, spec: JobSpec, workers: int | None, worker_id: str | None, job: Path) -> Config:
    from arbd.job.policy import patterns_of

    return override(
        config,
        slots=workers,
        worker_id=worker_id or f"{socket.gethostname().split('.')[0]}-{os.getpid()}",
        allow=patterns_of(spec.objective),
        objective_paths=(*config.objective_paths, job.absolute().parent, Path.cwd()),
        data_dirs=(*config.data_dirs, *(Path(name).parent for name in (*spec.data, *spec.scenarios))),
    )


def _work(app: App, here: Config, layout: SpoolLayout, name: str) -> int:
    from arbd.daemon import forks
    from arbd.daemon.host.logs import Log
    from arbd.daemon.service import Mode, Service
    from arbd.daemon.slots.protocol import may_run_engine

    queue = SessionQueue(layout.files(), layout.session(name))
    with contextlib.ExitStack() as stack:
        stack.callback(forks.stop_server)
        forks.fork_server(engine=may_run_engine(here.allow), intake=False)
        view = stack.enter_context(ProgressView(name, quiet=app.as_json))

        def on_tick() -> None:
            view.show(queue.refresh())

        log = Log("warning", here.log_style, worker=here.worker_id)
        try:
            code = Service(here, log, Mode(only=name, intake=False, burst=True), on_tick).run()
        finally:
            view.show(queue.refresh(), force=True)
    if code not in (0, 130):
        raise ArbdError(f"session {name} could not be evaluated here; the reason is above. Its results so far are kept")
    return code
