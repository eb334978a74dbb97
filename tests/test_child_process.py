"""A child of arbd's ends with its parent, shows its name, and is not ended by what a terminal sends to everybody."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from arbd import child_process
from tests.conftest import wait_until

SPAWN = multiprocessing.get_context("spawn")


def _child(parent_pid: int, pipe: Connection) -> None:
    pipe.send(child_process.begin(parent_pid, "arbd-something"))
    pipe.recv()


def test_a_child_shows_its_name_and_is_ended_by_sigterm_alone() -> None:
    ours, theirs = SPAWN.Pipe()
    child = SPAWN.Process(target=_child, args=(os.getpid(), theirs))
    child.start()
    assert ours.recv()
    assert Path(f"/proc/{child.pid}/comm").read_text() == "arbd-something\n"
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(child.pid or 0, number)
    assert child.is_alive()
    child.terminate()
    child.join()
    assert child.exitcode == -signal.SIGTERM


def test_a_child_whose_parent_is_gone_already_is_told_so() -> None:
    ours, theirs = SPAWN.Pipe()
    child = SPAWN.Process(target=_child, args=(1, theirs))
    child.start()
    assert not ours.recv()
    ours.send(None)
    child.join()


@pytest.mark.parametrize("begin", ["begin", "begin_or_exit"])
def test_a_child_dies_with_its_parent(begin: str, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    child = (
        f"from arbd import child_process; child_process.{begin}(%d, 'a'); open({str(begun)!r}, 'w').close(); input()"
    )
    text = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r} % os.getpid()], stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_until(begun.exists)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(_is_gone(pid))


def _is_gone(pid: int) -> Callable[[], bool]:
    def gone() -> bool:
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    return gone
