"""The command `arbd`: the foreground daemon that systemd starts."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import click

from arbd import __version__
from arbd.errors import ArbdError
from arbd.import_path import leave_current_folder
from arbd.objective.processes import adopt_orphans
from arbd.terminal_text import escape_control_chars
from arbd.typed_folder import TypedFolder


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="arbd")
def cli() -> None:
    """Evaluate tuning jobs from a shared folder. `arbctl` submits them and shows what came of them."""


@cli.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Settings, by default $ARBD_CONFIG or /etc/arbd/arbd.yaml.",
)
@click.option(
    "--spool", type=TypedFolder(path_type=Path), help="The shared folder, by default $ARBD_SPOOL or the settings'."
)
@click.option("--worker-id", help="This worker's name on the spool, by default the host's.")
@click.option("--slots", type=int, help="Processes that evaluate at once, by default one per processor.")
@click.option("--burst", is_flag=True, help="Work until nothing is left, then exit 0.")
@click.option(
    "--walltime",
    "walltime_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="When this process is ended by others: it drains before. For batch systems.",
)
@click.option("--debug", is_flag=True, help="Log details, and show tracebacks of errors.")
def run(
    config_path: Path | None,
    spool: Path | None,
    worker_id: str | None,
    slots: int | None,
    burst: bool,
    walltime_s: float | None,
    debug: bool,
) -> None:
    """Run in the foreground until SIGTERM.

    SIGTERM or Ctrl-C drains: nothing more is claimed, what runs may finish within drain_timeout_s, what does
    not goes to other workers. A second one stops at once. Nothing is lost either way, nor by kill -9.
    SIGHUP reads the settings again; when they are wrong, it says so and keeps the old ones.

    \b
    Examples:
      arbd run --spool /mnt/nas/spool
      arbd run --spool /mnt/nas/spool --worker-id gpu-box --slots 16
      arbd run --config /etc/arbd/arbd.yaml --burst
    """
    from arbd.job.code import engine  # noqa: PLC0415 - spawned slots import this module too

    # What is imported stays: to look for garbage in it takes as long as a fifth of the imports.
    gc.disable()
    # Before anything that computes is imported, here and in what is copied from here: that is what they run.
    engine()
    from arbd.daemon import forks  # noqa: PLC0415
    from arbd.daemon.host.config import Config, load_config, override  # noqa: PLC0415
    from arbd.daemon.host.logs import Log  # noqa: PLC0415
    from arbd.daemon.service import Mode, Service  # noqa: PLC0415
    from arbd.daemon.slots.protocol import may_run_engine  # noqa: PLC0415

    def read() -> Config:
        return override(
            load_config(config_path),
            spool=spool.absolute() if spool else None,
            worker_id=worker_id,
            slots=slots,
            log_level="debug" if debug else None,
        )

    try:
        config = read()
        is_copied = forks.fork_server(engine=may_run_engine(config.allow), intake=True)
        gc.freeze()
        gc.enable()
        log = Log(config.log_level, config.log_style, worker=config.worker_id)
        if not is_copied:
            log.info("slots start more slowly: this Python starts the server that they are copies of in an unknown way")
        code = Service(config, log, Mode(burst=burst, walltime_s=walltime_s), reread=read).run()
    except ArbdError as error:
        if debug:
            raise
        click.echo(f"arbd: {escape_control_chars(str(error))}", err=True)
        sys.exit(error.exit_code)
    finally:
        forks.stop_server()
    sys.exit(code)


@cli.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Settings, by default $ARBD_CONFIG or /etc/arbd/arbd.yaml (with --instance: /etc/arbd/NAME.yaml).",
)
@click.option("--instance", help="For arbd@NAME.service instead of arbd.service.")
@click.option("--write", "in_place", is_flag=True, help="Put it where systemd reads it, instead of showing it.")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def unit(config_path: Path | None, instance: str | None, in_place: bool, debug: bool) -> None:
    """Fit the systemd unit to the settings.

    The unit lets the daemon write its own folders and use loopback only. This makes a drop-in that has it wait
    for the mount of the spool, and lets it at the paths and the network that the settings name.

    \b
    Examples:
      arbd unit
      sudo arbd unit --write && sudo systemctl restart arbd
      sudo arbd unit --instance second --write
    """
    from arbd.daemon.host import unit as units  # noqa: PLC0415 - as above
    from arbd.daemon.host.config import load_config  # noqa: PLC0415

    try:
        name = units.unit_name(instance)
        if in_place:
            units.require_own(config_path, instance)
        if instance and config_path is None:
            config_path = units.settings_of(instance)
        text = units.drop_in(load_config(config_path, {}))
        if in_place:
            click.echo(f"written: {units.write(text, instance)}; now: systemctl restart {name}")
            units.tell_systemd()
        else:
            click.echo(text, nl=False)
    except ArbdError as error:
        if debug:
            raise
        click.echo(f"arbd: {escape_control_chars(str(error))}", err=True)
        sys.exit(error.exit_code)


@cli.command("compile")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Settings, by default $ARBD_CONFIG or /etc/arbd/arbd.yaml.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def compile_(config_path: Path | None, debug: bool) -> None:
    """Compile the engine now, as the user who runs it.

    Else the first job on this host waits for that, half a minute or so. Once is enough for each version of arbd and
    each kind of processor; what is compiled already is not compiled again. bin/install and the package do this.

    \b
    Examples:
      arbd compile
      sudo -u arbd CACHE_DIRECTORY=/var/cache/arbd arbd compile
    """
    from arbd.daemon.host.config import load_config  # noqa: PLC0415 - as above
    from arbd.paper.ahead import compile_ahead  # noqa: PLC0415

    try:
        click.echo(f"the engine is compiled: {compile_ahead(load_config(config_path).cache_dir)}")
    except ArbdError as error:
        if debug:
            raise
        click.echo(f"arbd: {escape_control_chars(str(error))}", err=True)
        sys.exit(error.exit_code)


def main() -> None:
    """Entry point."""
    leave_current_folder()
    # What an objective leaves behind when its process ends is to come here, where it is ended too.
    adopt_orphans()
    cli()


if __name__ == "__main__":
    main()
