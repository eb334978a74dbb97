"""Processes below this one: found, adopted when their parents die, and killed to the last one.

A program can leave its process group and its session, but not its ancestors, as long as one of these adopts orphans
(PR_SET_CHILD_SUBREAPER). What is asked of the kernel is /proc.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
# A program that forks as fast as it is killed: each round stops all that are there before it looks again.
ROUNDS = 50


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int | None = None) -> set[int]:
    """The children of a process, by default of this one; none when it is gone."""
    found: set[int] = set()
    tasks = Path(f"/proc/{os.getpid() if pid is None else pid}/task")
    with contextlib.suppress(OSError):
        for task in tasks.iterdir():
            with contextlib.suppress(OSError):
                found.update(map(int, (task / "children").read_text().split()))
    return found


def descendants(pid: int) -> set[int]:
    """Children, their children, and so on."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        fresh = children(todo.pop()) - found
        found |= fresh
        todo.extend(fresh)
    return found


def kill_tree(pid: int) -> None:
    """Kill everything below a process, then the process."""
    stopped: set[int] = set()
    _send(pid, signal.SIGSTOP)
    for _ in range(ROUNDS):
        # Stopped ones make no new ones, and stay where they are found.
        fresh = descendants(pid) - stopped
        if not fresh:
            break
        for one in fresh:
            _send(one, signal.SIGSTOP)
        stopped |= fresh
    for one in (*stopped, pid):
        _send(one, signal.SIGKILL)


def kill_children(except_for: Collection[int]) -> None:
    """Kill and reap the children of this process, and all below them, but for those named."""
    for _ in range(ROUNDS):
        doomed = children() - set(except_for)
        if not doomed:
            return
        for pid in doomed:
            kill_tree(pid)
        for pid in doomed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
