"""The remote slots that a daemon's settings name."""

from __future__ import annotations

from collections.abc import Callable

from arbd.daemon.executors import EXECUTORS
from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import Log
from arbd.daemon.remote.pool import RemotePool
from arbd.daemon.remote.session import HostRules
from arbd.daemon.remote.slot import RemoteEvent, RemoteSlot
from arbd.spool.files import Files
from arbd.spool.queue import Worker
from arbd.spool.system import SystemClock


def remote_slots(
    config: Config,
    files: Files,
    worker: Worker,
    log: Log,
    on_event: Callable[[RemoteEvent], None],
    on_ready: Callable[[int], None],
    on_fatal: Callable[[Exception], None],
) -> tuple[RemotePool, list[RemoteSlot]]:
    """A pool that is not started yet, and its slots; UsageError when the executor cannot be made here."""
    settings = config.executor
    executor = EXECUTORS.get(settings.kind).make(settings)
    rules = HostRules(config.allow, config.data_dirs, config.objective_paths)
    pool = RemotePool(executor, settings, files, SystemClock(), worker, rules, log, on_event, on_ready, on_fatal)
    return pool, [RemoteSlot(config.slots + index, pool) for index in range(settings.slots)]
