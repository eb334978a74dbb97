"""What a slot's process begins as: a copy of one that has imported what evaluates.

This module is imported by the server of `multiprocessing`'s forkserver, before its first fork; nowhere else. Which code
computes is noted before any of it is imported; what changed on the disk since is seen when a session is opened
(`RunningCode.require_engine`), and then a process begins from the disk.
"""

from __future__ import annotations

import gc
import os

from arbd import child_process
from arbd.daemon import forks
from arbd.job.code import engine

# What is imported stays: to look for garbage in it takes as long as a fifth of the imports.
gc.disable()
child_process.begin_or_exit(int(os.environ.pop(forks.CREATOR)), "arbd-forkserver")
engine()
# Of the process whose copies slots are.
SERVER_PID = os.getpid()

from arbd.daemon.slots import process  # noqa: E402 - after the digest of what computes

process.import_what_evaluates()
# What is there now stays; looking for garbage in it would cost as much as many an objective, and copy its pages.
gc.freeze()
gc.enable()
