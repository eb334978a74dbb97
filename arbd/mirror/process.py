"""The mirror's process: sweeps until it is told to stop, and tells its daemon how it is.

A process of its own, because filling Redis takes processor time that the daemon's threads would miss, and waiting
for Redis must hold nobody up.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import field, replace
from multiprocessing.connection import Connection
from pathlib import Path

from arbd import child_process
from arbd.mirror.settings import RedisSettings
from arbd.values import dataclass

SWEEP_S = 0.5
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
# Slots go first: where all processors are busy, this leaves the mirror about a tenth of one.
NICENESS = 10

STARTING, UP, DOWN = "starting", "up", "down"


@dataclass(frozen=True, slots=True)
class Status:
    """How the mirror is. `behind` counts recorded iterations that Redis has not got, as far as this worker mirrors; None: not known.

    `unfit` is what makes this Redis a bad place for results. `sweeps` grows with every look at all sessions that Redis
    answered; `idle` when the last left nothing to do.
    """

    state: str = STARTING
    error: str = ""
    written: int = 0
    behind: int | None = None
    sweeps: int = 0
    idle: bool = False
    troubles: dict[str, str] = field(default_factory=dict)
    unfit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """What the process must know."""

    spool: Path
    settings: RedisSettings
    only: str | None
    parent_pid: int


def main(setup: Setup, pipe: Connection) -> None:
    """Sweep until the other end of the pipe says so, or is gone."""
    if not child_process.begin(setup.parent_pid, "arbd-mirror"):
        return
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(EOFError, BrokenPipeError):
        _sweep(setup, pipe)


def _sweep(setup: Setup, pipe: Connection) -> None:
    import redis  # noqa: PLC0415 - the daemon, which imports this module, has no use for it

    from arbd.errors import ArbdError  # noqa: PLC0415 - as above
    from arbd.mirror.state import StateManager  # noqa: PLC0415 - as above
    from arbd.mirror.sweep import SpoolMirror  # noqa: PLC0415 - as above
    from arbd.spool.layout import SpoolLayout  # noqa: PLC0415 - as above

    status, pause_s = Status(), FIRST_PAUSE_S
    unfit: tuple[str, ...] = ()
    mirror: SpoolMirror | None = None
    while True:
        try:
            if mirror is None:
                state = StateManager.connect(setup.settings)
                mirror = SpoolMirror(
                    SpoolLayout(setup.spool).files(), SpoolLayout(setup.spool), state, setup.settings, setup.only
                )
            if status.state != UP:
                # It may have been started anew, with other settings.
                unfit = state.unfit()
            swept = mirror.sweep()
        except (redis.RedisError, ArbdError, OSError) as error:
            behind = mirror.behind() if mirror is not None else status.behind
            status = replace(status, state=DOWN, error=str(error) or type(error).__name__, behind=behind, idle=False)
            wait_s, pause_s = pause_s, min(2 * pause_s, LONGEST_PAUSE_S)
        else:
            status = Status(
                UP, "", status.written + swept.written, swept.behind, status.sweeps + 1, not swept.more, swept.troubles,
                unfit,
            )  # fmt: skip
            wait_s, pause_s = 0.0 if swept.more else SWEEP_S, FIRST_PAUSE_S
        pipe.send(status)
        if pipe.poll(wait_s):
            pipe.recv()
            break
    if mirror is not None:
        mirror.close()
