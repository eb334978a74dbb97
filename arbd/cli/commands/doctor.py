"""`arbctl doctor`: what is wrong with this spool, its hosts and this host's service, and what to do about it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from arbd.cli.app import App, json_option, pass_app
from arbd.errors import ArbdError
from arbd.terminal_text import escape_line

if TYPE_CHECKING:
    from arbd.cli.doctor.finding import Finding
    from arbd.daemon.host.config import Config
    from arbd.spool.layout import SpoolLayout


@click.command()
@click.option("--verify-fs", is_flag=True, help="Take turns under a lock with a partner on another host.")
@click.option(
    "--seconds", default=10.0, show_default=True, type=click.FloatRange(0.1), help="Of --verify-fs: for how long."
)
@click.option(
    "--patience", default=120.0, show_default=True, type=click.FloatRange(1), help="Wait so long for the partner."
)
@click.option("--scrub", is_flag=True, help="Read every byte of every session, and compare every checksum.")
@json_option
@pass_app
def doctor(app: App, verify_fs: bool, seconds: float, patience: float, scrub: bool) -> None:
    """Look for what is wrong and say what to do; exit 1 when something is broken.

    Mount, permissions, space, locks, rename, O_EXCL, fsync; then the hosts: heartbeats, clocks, versions of code,
    data that differs; then how the engine is compiled here, and this host's service. --verify-fs proves locks between
    hosts: run it on two of them at once. --scrub finds damage before a person meets it; let it run once a week.

    \b
    Examples:
      arbctl doctor
      arbctl doctor --verify-fs        # at the same time on two hosts
      arbctl doctor --scrub
    """
    from arbd.spool.layout import SpoolLayout

    config = app.config()
    layout = SpoolLayout(config.spool)
    findings = []
    for finding in _verified(layout, seconds, patience) if verify_fs else _all(config, layout, scrub):
        findings.append(finding)
        if not app.as_json:
            click.echo(_line(finding))
    broken = sum(finding.verdict == "broken" for finding in findings)
    warnings = sum(finding.verdict == "warning" for finding in findings)
    document = {"findings": [asdict(finding) for finding in findings], "broken": broken, "warnings": warnings}
    app.show(document, lambda: f"{broken} broken, {warnings} warnings, {len(findings) - broken - warnings} ok")
    if broken:
        raise click.exceptions.Exit(1)


def _all(config: Config, layout: SpoolLayout, scrub: bool) -> Iterator[Finding]:
    from arbd.cli.doctor import engine, filesystem, hosts, interpreters, people, service, standing
    from arbd.daemon.startup import versions

    found = list(_guarded("spool", filesystem.examine(layout)))
    yield from found
    yield filesystem.local_disk(config.cache_dir)
    if found[0].verdict != "broken":
        yield from _guarded("hosts", hosts.examine(layout, versions(), config.objective_paths))
        yield from _guarded("standing", standing.examine(layout))
        if scrub:
            from arbd.cli.doctor import damage

            yield from _guarded("damage", damage.examine(layout))
    yield engine.examine()
    yield from interpreters.examine(config.allow)
    yield from people.examine(config.allowed_submitters, config.limits)
    yield from _guarded("service", service.examine())


def _guarded(check: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """What cannot be looked at is a finding, and the rest is looked at all the same."""
    from arbd.cli.doctor.finding import BROKEN, Finding

    try:
        yield from findings
    except (ArbdError, OSError) as error:
        remedy = "run this as a user who may read the whole spool, e.g. the service's own"
        yield Finding(check, BROKEN, f"cannot be looked at: {error}", remedy)


def _verified(layout: SpoolLayout, seconds: float, patience: float) -> Iterator[Finding]:
    from arbd.cli.doctor import partners

    layout.require_readable()
    name = f"{socket.gethostname().split('.')[0]}.{os.getpid()}"
    yield from partners.verify(layout, name, seconds, patience, lambda text: click.echo(escape_line(text), err=True))


def _line(finding: Finding) -> str:
    colour = {"ok": "green", "warning": "yellow", "broken": "red"}[finding.verdict]
    verdict = f"{finding.verdict:<8}"
    # https://no-color.org: set to anything but nothing.
    shown = verdict if os.environ.get("NO_COLOR") else click.style(verdict, fg=colour)
    text = f"{shown} {escape_line(f'{finding.check}: {finding.found}')}"
    return f"{text}\n         -> {escape_line(finding.remedy)}" if finding.remedy else text
