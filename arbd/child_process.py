"""A process of arbd's own beside another: it dies with its parent, and its parent alone says when it ends before."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def begin(parent_pid: int, name: str) -> bool:
    """Make this process a child that ends when `parent_pid` does; False when the parent is gone already.

    `name` is what `ps` and `top` show of it, at most 15 bytes. Signals that a terminal or a service manager sends to
    all processes of the service do not reach it; SIGTERM ends it.
    """
    assert len(name) <= 15
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NAME, name.encode())
    return os.getppid() == parent_pid


def begin_or_exit(parent_pid: int, name: str) -> None:
    """As `begin`, for the initialiser of a pool's process, which has nobody to return to."""
    if not begin(parent_pid, name):
        os._exit(1)
