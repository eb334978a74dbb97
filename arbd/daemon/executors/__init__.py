"""Slots of somebody else: one module for each kind of executor, imported when the settings name it.

A new kind is a new file here with a declaration `EXECUTOR` (an `ExecutorKind`), or an entry point `arbd.executors` of
another distribution that names one; nothing else of arbd knows its name. The slots of this host need none.
"""

from __future__ import annotations

from arbd.daemon.executors.protocol import ExecutorKind
from arbd.registry import Registry

EXECUTORS: Registry[ExecutorKind] = Registry(
    "executor", "arbd.daemon.executors.kinds", "EXECUTOR", lambda: (ExecutorKind,), "arbd.executors"
)
