"""Processes as copies of one that has imported what evaluates: the standard library's forkserver, for this process.

The first that is asked for starts that server, which ends with this process; a copy ends with the server. Starting one
costs a hundredth of importing everything again. Programs that an objective starts see nothing of it.

A command that becomes a worker calls `fork_server` at its start, so that the server is a copy of the command and need not
import again what both of them use. Where nobody did, or that server is gone, one begins from the disk.

Of the standard library this uses what has no underscore, and three things that no page of it describes: that the server is
started by `util.spawnv_passfds` with `-c CODE`, `ensure_running` of it and of its tracker, and `getfd` of that; tried with
Python 3.11 to 3.13. Where the first is otherwise, the server begins from the disk, as without this. No process with a second thread
of Python forks here: the daemon has one when it forks, the server has one always (NumPy's own threads, which Python 3.12
and newer count too and warn of, are made anew in a copy by what made them).
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import field
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, NoReturn

from arbd import child_process
from arbd.objective.processes import is_adopting
from arbd.values import dataclass

# What the server imports before its first copy.
TEMPLATE = "arbd.daemon.slots.template"
ENGINE = "arbd.daemon.slots.engine_template"
INTAKE = "arbd.daemon.side.intake_template"
# Tells the server, in its environment alone, whose it is: one that begins after that process died has to notice.
CREATOR = "ARBD_FORKSERVER_OF"
# What the standard library starts its server with, `python ... -c CODE`: (program, arguments, descriptors to keep).
_STARTS = "spawnv_passfds"


def forking_context(*, engine: bool = False, intake: bool = False) -> ForkServerContext:
    """For processes that begin with `begin`.

    Whoever asks first says whether copies have the paper engine, and what takes jobs up.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([TEMPLATE, *[ENGINE] * engine, *[INTAKE] * intake])
    os.environ[CREATOR] = str(os.getpid())
    return context


def fork_server(*, engine: bool, intake: bool) -> bool:
    """Start the server as a copy of this process, which must be alone: one thread, and nothing open that it must not keep.

    As `forking_context` says of the server. False where none was started so, and the first that is asked for begins from
    the disk, which takes a third of a second more: this is no command of arbd's that adopts orphans, but somebody else's
    process; it has more than one thread, whose locks nobody would give back in a copy; or the standard library starts or ends
    its server in a way that is not known here. Whoever calls this calls `stop_server` at the end, however that comes.
    """
    if threading.active_count() > 1 or not is_adopting():
        return False
    forking_context(engine=engine, intake=intake)
    spawn = getattr(util, _STARTS, None)
    if spawn is None or _stop_of_library() is None:
        return False
    starting = _Starting(spawn)
    setattr(util, _STARTS, starting)
    try:
        resource_tracker.ensure_running()
        starting.tracker, starting.is_copied = resource_tracker.getfd(), False
        forkserver.ensure_running()
    except _InCopyError:
        pass
    finally:
        setattr(util, _STARTS, spawn)
    if starting.code:
        _run_and_exit(starting)
    return starting.is_copied


class _InCopyError(BaseException):
    """Leaves what the original was in the middle of: all that this held in the copy is given back, as by any error."""


@dataclass(slots=True)
class _Starting:
    """In the place of `spawn`: a copy of this process, which goes on with the code that was to be run.

    First for the tracker that the server needs, whose pipe the server keeps then, as all do that are below this process.
    """

    spawn: Callable[[bytes, Sequence[Any], Sequence[int]], int]
    tracker: int | None = None
    is_copied: bool = False
    code: str = ""
    # Duplicates, in the copy, of the descriptors that the code knows by their numbers.
    kept: dict[int, int] = field(default_factory=dict)

    def __call__(self, path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        if len(args) < 2 or args[-2] != "-c" or not isinstance(args[-1], str):
            return self.spawn(path, args, passfds)
        self.is_copied = True
        pid = os.fork()
        if pid:
            return pid
        self.code, self.kept = args[-1], {number: os.dup(number) for number in passfds}
        raise _InCopyError


def _run_and_exit(starting: _Starting) -> NoReturn:
    status = 1
    try:
        # Should an objective want a server of its own, it has nothing to do with this one.
        multiprocessing.get_context("forkserver").set_forkserver_preload(["__main__"])
        for number, duplicate in starting.kept.items():
            os.dup2(duplicate, number)
        # What a new program would not have either.
        kept = {0, 1, 2, starting.tracker, *starting.kept}
        for name in sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()):
            if name not in kept:
                os.closerange(name, name + 1)
        # Processes of objectives import what is the main program, should it have a file.
        sys.modules["__main__"] = program = types.ModuleType("__main__")
        exec(starting.code, program.__dict__)  # noqa: S102 - the standard library's own line
        status = 0
    except SystemExit:
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def stop_server() -> None:
    """End the server, after its copies, and wait for it: so it is done with, and counted, when this process ends.

    Whoever called `fork_server` calls this however it ends, or may hang: the server keeps the pipe of the tracker, whose end
    newer versions of the standard library wait for when the interpreter ends. Nothing happens where no server runs; where
    the standard library has no such thing it ends a moment after this process.
    """
    if (stop := _stop_of_library()) is not None:
        stop()


def _stop_of_library() -> Callable[[], None] | None:
    found: Callable[[], None] | None = getattr(getattr(forkserver, "_forkserver", None), "_stop", None)
    return found


def begin(creator_pid: int, name: str) -> None:
    """As `child_process.begin_or_exit`, in a copy or in a process that began from the disk."""
    child_process.begin_or_exit(sys.modules[TEMPLATE].SERVER_PID if is_copy() else creator_pid, name)


def is_copy() -> bool:
    """True in a copy, which has imported everything."""
    return TEMPLATE in sys.modules
