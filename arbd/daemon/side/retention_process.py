"""The process in which this worker makes a round of retention: it may be killed at any instruction."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from arbd import child_process
from arbd.errors import ArbdError
from arbd.spool.layout import SpoolLayout
from arbd.spool.operations import halt_of
from arbd.spool.retention_rules import RetentionSettings
from arbd.spool.system import SystemClock
from arbd.values import dataclass

NICENESS = 10


@dataclass(frozen=True, slots=True)
class Setup:
    """What the process must know."""

    spool: Path
    worker_id: str
    settings: RetentionSettings
    parent_pid: int


@dataclass(frozen=True, slots=True)
class Kept:
    """To the parent: what came of one session, or of the round as a whole where `session_id` is ''."""

    session_id: str
    what: str = ""
    error: str = ""
    freed_bytes: int = 0
    archive: str = ""


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """To the parent: the round is over; `busy` when another host is at one."""

    busy: bool = False


def main(setup: Setup, pipe: Connection) -> None:
    """Make one round, and say what came of it."""
    if not child_process.begin(setup.parent_pid, "arbd-retention"):
        return
    os.nice(NICENESS)
    with contextlib.suppress(BrokenPipeError):
        for told in make_round(setup):
            pipe.send(told)


def make_round(setup: Setup) -> Iterator[Kept | RoundEnded]:
    """What came of each session, and the end of it."""
    from arbd.analysis.retention import FolderArchiver, Retainer, round_lock  # noqa: PLC0415 - NumPy, in this process alone

    layout = SpoolLayout(setup.spool)
    files = layout.files()
    archiver = FolderArchiver(Path(setup.settings.archive_dir)) if setup.settings.archive_dir else None
    try:
        held = round_lock(files, layout)
        if held is None:
            yield RoundEnded(busy=True)
            return

        def may_go_on() -> bool:
            # A host that was cut off has lost its lock, and another is at it.
            return held.is_ours() and halt_of(files, layout, setup.worker_id) is None

        retainer = Retainer(
            files, layout, SystemClock(), setup.settings.rules, archiver, socket.gethostname(), may_go_on
        )
        try:
            with archiver.alone() if archiver is not None else contextlib.nullcontext():
                for outcome in retainer.run():
                    yield Kept(outcome.session_id, outcome.what, outcome.error, outcome.freed_bytes, outcome.archive)
        finally:
            held.release()
    except (ArbdError, OSError) as error:
        yield Kept("", error=str(error) or type(error).__name__)
    yield RoundEnded()
