"""Ctrl-C at any moment ends a command with one line and status 130.

Where a command can be interrupted it is, by KeyboardInterrupt, so that it puts back what it holds: terminals, temporary
files, processes. Before and behind it, while modules load and while the interpreter shuts down, there is nothing to put
back, and a traceback of the import machinery would say nothing to anybody: there the process ends at once.
"""

from __future__ import annotations

import atexit
import signal
import sys
from collections.abc import Callable
from types import FrameType

from arbd.cli.ending import end


class Interrupts:
    """What SIGINT does to this process; `received` is True once a command was interrupted.

    Where it is ignored, as in the background of a script, it stays so.
    """

    def __init__(self, is_ignored: bool) -> None:
        self.received = False
        self._is_ignored = is_ignored
        # The last of all that is done at exit. Then the interpreter takes back what was installed here, and the signal would
        # kill a process whose work is done and said.
        atexit.register(self._handle, signal.SIG_IGN)

    def end_at_once(self) -> None:
        """From now on SIGINT ends the process."""
        self._handle(end)

    def raise_in_command(self) -> None:
        """From now on SIGINT is a KeyboardInterrupt."""
        self._handle(self._raise)
        sys.unraisablehook = self._unraisable

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        raise KeyboardInterrupt

    def _unraisable(self, problem: sys.UnraisableHookArgs) -> None:
        """What was raised where nothing can be: in a finalizer, a callback of a library. It must not get lost."""
        if isinstance(problem.exc_value, KeyboardInterrupt):
            end()
        sys.__unraisablehook__(problem)

    def _handle(self, handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
        if not self._is_ignored:
            signal.signal(signal.SIGINT, handler)
