"""`arbctl slurm`: workers of a spool as an array of Slurm's, which end by themselves before their time is over."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from arbd.atomic_file import check_output, replace_file
from arbd.cli.app import App, pass_app
from arbd.daemon.host.unit import AFTER_DRAIN_S
from arbd.errors import UsageError

# What the daemon is told too, and how many daemons there are: sbatch takes abbreviations of long options.
OWN = {
    "time": "--time, because the worker must know its limit",
    "time-min": "--time, because the worker must know its limit",
    "array": "--jobs", "cpus-per-task": "--slots",
    "ntasks": "--jobs: one worker runs in each job",
}  # fmt: skip
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@click.group()
def slurm() -> None:
    """Workers as batch jobs of Slurm, on nodes that see the spool. Nodes that do not: see docs/executors.md."""


@slurm.command()
@click.option("--time", "limit", required=True, metavar="LIMIT", help="Of a job, as sbatch has it: 90, 1:30:00, 1-12.")
@click.option("--jobs", type=click.IntRange(1, 100_000), default=1, show_default=True, help="Jobs of the array.")
@click.option("--slots", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processors of each job.")
@click.option("--partition", help="As of sbatch.")
@click.option("--account", help="As of sbatch.")
@click.option("--sbatch", "more", multiple=True, metavar="OPTION", help="Any other option, e.g. --sbatch --mem=8G.")
@click.option("--output", type=click.Path(path_type=Path), help="Write it to this file instead of showing it.")
@pass_app
def script(
    app: App,
    limit: str,
    jobs: int,
    slots: int,
    partition: str | None,
    account: str | None,
    more: tuple[str, ...],
    output: Path | None,
) -> None:
    """Write a script for `sbatch`: an array of workers on this spool.

    Each works until nothing is left, or until its time is nearly over: it knows how long it may run, finishes what it
    can within drain_timeout_s, and gives the rest back, so that nothing waits for a worker that was killed.

    \b
    Examples:
      arbctl --spool /shared/spool slurm script --time 1:00:00 --jobs 20 --slots 8 --output workers.sh && sbatch workers.sh
      arbctl slurm script --time 30 --partition short --sbatch --mem=8G | sbatch
    """
    config = app.config()
    options = {"partition": partition, "account": account}
    lines = [f"--{name}={value}" for name, value in options.items() if value is not None]
    lines = [directive(line) for line in (*lines, *more)]
    seconds = seconds_of(limit)
    if seconds <= (least_s := config.drain_timeout_s + AFTER_DRAIN_S):
        no_limit = "" if seconds else " (no limit to Slurm, which is not supported)"
        raise UsageError(
            f"--time {limit} is {seconds} s{no_limit}, but draining alone takes {least_s:g} s (drain_timeout_s of the settings "
            f"plus {AFTER_DRAIN_S:g} s): ask for that plus several times the length of one iteration"
        )
    text = _script(seconds, limit, jobs, slots, lines, _command(config.spool.absolute(), app.config_path))
    if output is None:
        click.echo(text, nl=False)
    else:
        replace_file(check_output(output), text.encode())
        click.echo(f"written: {output}; now: sbatch {shlex.quote(str(output))}")


def directive(option: str) -> str:
    """An option as a line of the script has it; UsageError for what is none, or would take a worker by surprise."""
    if not re.fullmatch(r"--[ -~]+", option):
        raise UsageError(f"{option!r} is no option of sbatch; expected one such as --mem=8G")
    name, value = (*re.split("[= ]", option[2:], maxsplit=1), "")[:2]
    for own, instead in OWN.items():
        if name and own.startswith(name):
            raise UsageError(f"--sbatch {option} is not passed to sbatch: use {instead}")
    try:
        words = shlex.split(value)
    except ValueError:
        words = []
    if len(words) == 1 or not value:
        return option
    if '"' in value:
        spaces = "spaces and " if " " in value else ""
        raise UsageError(
            f"--sbatch {option}: the value has {spaces}a double quote, which sbatch cannot read: leave the double quotes out"
        )
    return f'--{name}="{value}"'


def seconds_of(limit: str) -> int:
    """What a time limit of sbatch is; UsageError when it is none.

    minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, days-hours:minutes:seconds.
    """
    found = _TIME.fullmatch(limit)
    if found is None:
        raise UsageError(
            f"--time is {limit!r}; expected minutes, hours:minutes:seconds or days-hours, as sbatch has it"
        )
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    if days is not None:
        return ((days * 24 + (first or 0)) * 60 + (second or 0)) * 60 + (third or 0)
    if third is not None:
        return ((first or 0) * 60 + (second or 0)) * 60 + third
    return (first or 0) * 60 + (second or 0)


def _command(spool: Path, config: Path | None) -> str:
    parts = [sys.executable, "-m", "arbd.daemon", "run", "--burst", "--spool", str(spool)]
    parts += ["--config", str(config.absolute())] if config is not None else []
    return shlex.join(parts)


def _script(seconds: int, limit: str, jobs: int, slots: int, more: Sequence[str], command: str) -> str:
    options = [
        "--job-name=arbd",
        f"--array=1-{jobs}",
        "--ntasks=1",
        f"--cpus-per-task={slots}",
        f"--time={limit}",
        "--output=arbd-%A-%a.log",
        *more,
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in options),
            "# Until nothing is left, or the time is nearly over: SECONDS is how long this script runs already.",
            f"exec {command} \\",
            # One that is run again may not have the name of one that a lost node still seems to have.
            '  --worker-id "slurm-${SLURM_ARRAY_JOB_ID}-${SLURM_ARRAY_TASK_ID}${SLURM_RESTART_COUNT:+-$SLURM_RESTART_COUNT}" \\',
            f'  --slots "${{SLURM_CPUS_PER_TASK:-{slots}}}" --walltime "$(({seconds} - SECONDS))"',
            "",
        ]
    )
