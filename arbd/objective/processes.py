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
_PR_GET_CHILD_SUBREAPER = 37
# A program that forks as fast as it is killed: each round stops all that are there before it looks again.
ROUNDS = 50


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def is_adopting() -> bool:
    """True when this process becomes the parent of orphans below it."""
    found = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return bool(found.value)


def has_children() -> bool:
    """True when this process has a child, dead ones that nobody waited for included. One system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap(except_for: Collection[int]) -> int:
    """Wait for the dead children of this process, but for those named; how many of the others live."""
    living = children() - set(except_for)
    for pid in list(living):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                living.discard(pid)
    return len(living)


def end_orphans(except_for: Collection[int]) -> int:
    """Kill what processes left behind that died before this one, which adopts; how many there were.

    Orphans are told from this process's own children by their process group: those stay in it, unless named.
    """
    found = 0
    for _ in range(ROUNDS):
        doomed = {pid for pid in children() - set(except_for) if _group(pid) not in (None, os.getpgrp())}
        if not doomed:
            break
        found += len(doomed)
        for pid in doomed:
            kill_tree(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    return found


def is_running(pid: int | None) -> bool:
    """True while a process is there and has not ended; one that nobody asked for its status has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


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
