"""The entry point of `arbctl`: options in front of the command, errors in one line, exit codes."""

from __future__ import annotations

import contextlib
import errno
import gc
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import click

from arbd import __version__
from arbd.cli.app import App
from arbd.cli.lazy import LazyGroup
from arbd.errors import ArbdError, DamageWarning, NoSessionError
from arbd.import_path import leave_current_folder
from arbd.registry import hint
from arbd.terminal_text import escape_control_chars
from arbd.typed_folder import TypedFolder

_HERE = "arbd.cli.commands"
HOMES = {
    "submit": (f"{_HERE}.submit", "submit", "Check a job and drop it into the spool."),
    "clone": (f"{_HERE}.clone", "clone", "Submit the job of a session once more, with changes."),
    "validate": (f"{_HERE}.validate", "validate", "Check a job file and show what it resolves to."),
    "schema": (f"{_HERE}.validate", "schema", "JSON Schema of the job file, for editors."),
    "methods": (f"{_HERE}.methods", "methods", "Search methods and market data formats of this host."),
    "run": (f"{_HERE}.run", "run", "Work on a job in this shell, without a daemon."),
    "list": (f"{_HERE}.sessions", "list_", "All sessions of the spool."),
    "status": (f"{_HERE}.sessions", "status", "Progress, rate, time left and workers of sessions."),
    "watch": (f"{_HERE}.watch", "watch", "The same, live, with keys to pause and cancel."),
    "summary": (f"{_HERE}.summary", "summary", "Rank the results of a session or a CSV table."),
    "best": (f"{_HERE}.best", "best", "The winning parameters, to feed a bot."),
    "verdict": (f"{_HERE}.verdict", "verdict", "Is the winner skill or luck? By which rule, and what would change it."),
    "promote": (f"{_HERE}.promote", "promote", "Write a winner for a bot, with where it comes from; in two steps."),
    "standing": (f"{_HERE}.standing", "standing", "Standing jobs: is the current setting still good?"),
    "report": (f"{_HERE}.report", "report", "One HTML page that works offline: figures, ranking, job."),
    "serve": (f"{_HERE}.serve", "serve", "The live page: sessions, iterations, workers, in a browser."),
    "compare": (f"{_HERE}.compare", "compare", "Put sessions side by side."),
    "export": (f"{_HERE}.export", "export", "Write results as CSV, Parquet, JSON lines, msgpack, Optuna."),
    "replay": (f"{_HERE}.replay", "replay", "Run one iteration again: the same to the bit? Its fills, a picture."),
    "pause": (f"{_HERE}.control", "pause", "Stop working on a session until it is resumed."),
    "resume": (f"{_HERE}.control", "resume", "Go on with a paused session."),
    "cancel": (f"{_HERE}.control", "cancel", "End a session; what is recorded stays."),
    "set": (f"{_HERE}.control", "set_", "Change priority, slots or labels of a session that runs."),
    "history": (f"{_HERE}.history", "history", "Who did what to a session, or removed which."),
    "extend": (f"{_HERE}.extend", "extend", "Give a session that is done more iterations."),
    "retry": (f"{_HERE}.control", "retry", "Run failed, crashed and timed-out iterations again."),
    "workers": (f"{_HERE}.workers", "workers", "Who works on this spool, on what, how fast."),
    "slurm": (f"{_HERE}.slurm", "slurm", "Workers of the spool as batch jobs of Slurm."),
    "drain": (f"{_HERE}.operate", "drain", "Have a worker give back what it has and take nothing more."),
    "undrain": (f"{_HERE}.operate", "undrain", "Have a drained worker work again."),
    "maintenance": (f"{_HERE}.operate", "maintenance", "Have all workers of the spool stop, or go on."),
    "forget": (f"{_HERE}.operate", "forget", "Remove what a worker that is gone left."),
    "mirror": (f"{_HERE}.mirror", "mirror", "Write the Redis mirror anew, compare it, remove sessions."),
    "top": (f"{_HERE}.watch", "top", "The workers, live, the busiest first."),
    "doctor": (f"{_HERE}.doctor", "doctor", "What is wrong with spool, hosts and service, and what to do."),
    "logs": (f"{_HERE}.logs", "logs", "What the daemons of this host logged."),
    "archive": (f"{_HERE}.retention", "archive", "Write a finished session into one file."),
    "restore": (f"{_HERE}.retention", "restore", "Put an archived session back into the spool."),
    "repair": (f"{_HERE}.repair", "repair", "Make damaged files of a session anew from the others."),
    "purge": (f"{_HERE}.retention", "purge", "Free the space of a finished session; shows first."),
    "retention": (f"{_HERE}.retention_rules", "retention", "What the settings do next to sessions that are over."),
    "notices": (f"{_HERE}.notices", "notices", "Who is told of sessions that end, and what became of it."),
    "completion": (f"{_HERE}.completion", "completion", "Completion scripts for bash, zsh and fish."),
    "scenario": (f"{_HERE}.scenario", "scenario", "Run scenario files and check their expected outcomes."),
    "cache": (f"{_HERE}.cache", "cache", "What this host keeps of market data, and freeing its space."),
    "market": (f"{_HERE}.market", "market", "Make, import, describe and convert market data."),
}

# What to do about errors of the system that are no arbctl's own.
HINTS = {
    errno.EACCES: ": run arbctl as a user of the group that owns the spool, or have the owner grant it",
    errno.EPERM: ": run arbctl as a user of the group that owns the spool, or have the owner grant it",
    errno.EROFS: ": it is mounted read-only; mount it writable, or use another host",
    errno.ENOSPC: ": the disk is full; see `arbctl purge --help` and free some space",
    errno.EIO: ": the disk or the file server fails; see `arbctl doctor`",
    errno.ESTALE: ": the file server forgot it; try again, or mount anew",
}


@click.group(
    cls=LazyGroup,
    homes=HOMES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 the thing asked about failed, 2 bad usage or a bad job, 3 not found, "
    "4 the spool is unreachable or unsafe, 130 interrupted.",
)
@click.option(
    "--spool",
    type=TypedFolder(path_type=Path, readable=False),
    help="The shared folder, by default $ARBD_SPOOL or the settings'.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings, by default $ARBD_CONFIG or /etc/arbd/arbd.yaml."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document with stable keys instead of text.")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.version_option(__version__, prog_name="arbctl")
@click.pass_context
def cli(ctx: click.Context, spool: Path | None, config: Path | None, as_json: bool, debug: bool) -> None:
    """Submit tuning jobs to a shared folder and see what comes of them.

    \b
    A first session, with a daemon running on the same spool (arbd run --spool DIR):
      arbctl --spool DIR submit etc/jobs/grid.yaml --wait
      arbctl --spool DIR summary SESSION --metric pnl
      arbctl --spool DIR best SESSION

    Set ARBD_SPOOL once and leave --spool out.
    """
    del debug  # main() looks at it, because it must work for errors of the command line itself too
    ctx.obj = App(config, spool, as_json)


def call(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; every error becomes one message on standard error."""
    with _damage_noted():
        return _call(arguments)


@contextlib.contextmanager
def _damage_noted() -> Iterator[None]:
    """What readers had to do without is said once each, on standard error."""
    told: set[str] = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, DamageWarning):
                show(message, category, filename, lineno, file, line)
            elif str(message) not in told:
                told.add(str(message))
                click.echo(f"arbctl: note: {escape_control_chars(str(message))}", err=True)

        warnings.filterwarnings("always", category=DamageWarning)
        warnings.showwarning = note
        yield


def _call(arguments: Sequence[str]) -> int:
    debug, stdout = "--debug" in arguments, sys.stdout
    try:
        # Without standalone mode click hands back the code of an Exit instead of ending the process with it.
        code = cli.main(list(arguments), prog_name="arbctl", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "arbctl"
        message = " ".join(error.format_message().split()).rstrip(".") + _nearest(error)
        link = " see" if message.endswith("?") else ": see"
        click.echo(f"arbctl: {escape_control_chars(message)}{link} `{command} --help`", err=True)
        return 2
    except SystemExit:
        # Click's answer to a reader of our output that has seen enough, as `head` has: it mutes the output and exits 1.
        if sys.stdout is not stdout:
            return 0
        raise
    except (KeyboardInterrupt, click.Abort):
        click.echo("arbctl: interrupted", err=True)
        return 130
    except ArbdError as error:
        if debug:
            raise
        known = _dropped(error) if isinstance(error, NoSessionError) else ""
        click.echo(f"arbctl: {escape_control_chars(known or str(error))}", err=True)
        return error.exit_code
    except OSError as error:
        if debug:
            raise
        hint = HINTS.get(error.errno or 0, "")
        told = f"{error.filename or 'the system'}: {error.strerror or error}"
        click.echo(f"arbctl: {escape_control_chars(told)}{hint}", err=True)
        return 4
    return code if isinstance(code, int) else 0


def _dropped(error: NoSessionError) -> str:
    """What is known of a job of that name, which is no session; '' where there is none."""
    from arbd.spool.dropped import find_dropped
    from arbd.spool.layout import SpoolLayout

    layout = SpoolLayout(error.sessions.parent)
    with contextlib.suppress(ArbdError, OSError):
        job = find_dropped(layout.files(), layout, error.session_id)
        return f"{job.name} is {job.state.value}, and no session: {job.line}" if job is not None else ""
    return ""


def _nearest(error: click.ClickException) -> str:
    """`; did you mean 'x'?` where one of a few values was meant."""
    kind = error.param.type if isinstance(error, click.BadParameter) and error.param is not None else None
    given = re.search(r"'([^']*)' is not one of", error.format_message())
    if not isinstance(kind, click.Choice) or given is None:
        return ""
    near = hint(given.group(1), [str(value) for value in kind.choices])
    return f"; {near.strip()}" if near else ""


def prepare() -> None:
    """What a process of `arbctl` is to be like, before it knows its command."""
    # Most commands end before there is anything to collect, and looking for it while modules load is a tenth of them.
    gc.set_threshold(50_000)
    leave_current_folder()
    if "run" in sys.argv:
        # This process becomes a worker: what an objective leaves behind when its process ends is to come here.
        from arbd.objective.processes import adopt_orphans

        adopt_orphans()


def main() -> None:
    """`python -m arbd.cli`. The console script begins in `arbd.cli.start`, which can be interrupted earlier."""
    prepare()
    sys.exit(call(sys.argv[1:]))


if __name__ == "__main__":
    main()
