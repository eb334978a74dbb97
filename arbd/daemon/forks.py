"""Processes as copies of one that has imported what evaluates: the standard library's forkserver, for this process.

The first that is asked for starts that server, which ends with this process; a copy ends with the server. Starting one
costs a hundredth of importing everything again. Programs that an objective starts see nothing of it.

A command that becomes a worker calls `fork_server` at its start, so that the server is a copy of the command and need not
import again what both of them use. Where nobody did, or that server is gone, one begins from the disk.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import traceback
import types
from collections.abc import Collection, Sequence
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, NoReturn

from arbd import child_process
from arbd.objective.processes import is_adopting

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


def fork_server(*, engine: bool, intake: bool) -> None:
    """Start the server as a copy of this process, which must be alone: one thread, and nothing open that it must not keep.

    As `forking_context` says of the server. Does nothing where this is no command of arbd's that adopts orphans, but
    somebody else's process, nor where there is more than one thread: a copy would have locks that nobody gives back.
    """
    if threading.active_count() > 1 or not is_adopting():
        return
    forking_context(engine=engine, intake=intake)
    spawn = util.spawnv_passfds

    def copy_instead(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        """As `spawn` for `python ... -c CODE`, in a copy of this process."""
        del path
        pid = os.fork()
        if pid == 0:
            util.spawnv_passfds = spawn
            _run_and_exit(args[-1], passfds)
        return pid

    util.spawnv_passfds = copy_instead
    try:
        forkserver.ensure_running()
    finally:
        util.spawnv_passfds = spawn


def _forget_server() -> None:
    """Have a server and a tracker of one's own, should an objective want processes: what was copied is another's.

    The lock of the server is held in the copy, by whoever started it.
    """
    forkserver._forkserver.__init__()  # type: ignore[misc]
    resource_tracker._resource_tracker.__init__()  # type: ignore[misc]


def _run_and_exit(code: str, passfds: Collection[int]) -> NoReturn:
    status = 1
    try:
        _forget_server()
        # What a new program would not have either.
        kept = {0, 1, 2, *passfds}
        for name in sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()):
            if name not in kept:
                os.closerange(name, name + 1)
        # Processes of objectives import what is the main program, should it have a file.
        sys.modules["__main__"] = program = types.ModuleType("__main__")
        exec(code, program.__dict__)  # noqa: S102 - the standard library's own line
        status = 0
    except SystemExit:
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def stop_server() -> None:
    """End the server, after its copies, and wait for it: so it is done with, and counted, when this process ends."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def begin(creator_pid: int, name: str) -> None:
    """As `child_process.begin_or_exit`, in a copy or in a process that began from the disk."""
    child_process.begin_or_exit(sys.modules[TEMPLATE].SERVER_PID if is_copy() else creator_pid, name)


def is_copy() -> bool:
    """True in a copy, which has imported everything."""
    return TEMPLATE in sys.modules
