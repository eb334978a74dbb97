"""Processes as copies of one that has imported what evaluates: the standard library's forkserver, for this process.

The first that is asked for starts that server, which ends with this process; a copy ends with the server. Starting one
costs a hundredth of importing everything again. Programs that an objective starts see nothing of it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from arbd import child_process

# What the server imports before its first copy.
TEMPLATE = "arbd.daemon.slots.template"
ENGINE = "arbd.daemon.slots.engine_template"
INTAKE = "arbd.daemon.side.intake_template"
# Tells the server, in its environment alone, whose it is: one that begins after that process died has to notice.
CREATOR = "ARBD_FORKSERVER_OF"


def forking_context(*, engine: bool = False, intake: bool = False) -> ForkServerContext:
    """For processes that begin with `begin`.

    Whoever asks first says whether copies have the paper engine, and what takes jobs up.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([TEMPLATE, *[ENGINE] * engine, *[INTAKE] * intake])
    os.environ[CREATOR] = str(os.getpid())
    return context


def stop_server() -> None:
    """End the server, after its copies, and wait for it: so it is done with, and counted, when this process ends."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def begin(creator_pid: int, name: str) -> None:
    """As `child_process.begin_or_exit`, in a copy or in a process that began from the disk."""
    child_process.begin_or_exit(sys.modules[TEMPLATE].SERVER_PID if is_copy() else creator_pid, name)


def is_copy() -> bool:
    """True in a copy, which has imported everything."""
    return TEMPLATE in sys.modules
