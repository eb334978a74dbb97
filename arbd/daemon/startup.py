"""What a worker needs before its main loop begins: its name to itself, a local folder, what slots must know."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import arbd
from arbd.daemon.host.config import Config
from arbd.daemon.host.unit import AFTER_DRAIN_S
from arbd.daemon.slots.protocol import SlotSetup
from arbd.errors import SpoolError, UsageError, VersionError
from arbd.installed import version_of
from arbd.job.code import SHORT, engine
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import LivenessLock, lock_path, read_beat, take_liveness_lock
from arbd.spool.queue import Worker

LIFE_LOCK_PATIENCE_S = 3.0
LOOKERS_PATIENCE_S = 60.0
RUN_DIR_PREFIX = "arbd-run-"
RUN_LOCK = "alive.lock"


def slot_setup(config: Config, worker: Worker, *, intake: bool = False) -> SlotSetup:
    """What is the same for all slots."""
    nowhere = Path()
    return SlotSetup(
        label="",
        worker_id=worker.worker_id,
        incarnation=worker.incarnation,
        parent_pid=os.getpid(),
        progress=nowhere,
        output=nowhere,
        cache_dir=config.cache_dir,
        search_paths=config.objective_paths,
        allow=config.allow,
        data_dirs=config.data_dirs,
        takes_jobs_up=intake,
    )


def about_worker(config: Config) -> dict[str, Any]:
    """What heartbeats tell people."""
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "slots": config.all_slots,
        "started_ns": time.time_ns(),
        "beat_s": config.beat_s,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of everything that decides the digits of a result."""
    # Importing numba for its number would cost 50 MB.
    parts = {name: version_of(name, may_import=False) for name in ("numpy", "numba", "scipy")}
    return {
        "arbd": arbd.__version__,
        "arbd_code": engine().digest[:SHORT],
        "python": platform.python_version(),
        **parts,
    }


def take_life(files: Files, layout: SpoolLayout, worker_id: str) -> LivenessLock:
    """The liveness lock; SpoolError when another worker lives under this id.

    Others share it for an instant to look; one of them that is stopped just then holds it for longer.
    """
    began_s = time.monotonic()
    while (lock := take_liveness_lock(files, layout, worker_id)) is None:
        is_owned = files.is_locked(lock_path(layout, worker_id))
        if time.monotonic() - began_s > (LIFE_LOCK_PATIENCE_S if is_owned else LOOKERS_PATIENCE_S):
            break
        time.sleep(0.1)
    else:
        return lock
    try:
        beat = read_beat(files, layout, worker_id)
    except VersionError:
        beat = None
    who = f" (pid {beat.about.get('pid')} on {beat.about.get('host')})" if beat is not None else ""
    raise SpoolError(
        f"a worker named {worker_id}{who} lives on {layout.root} already: stop it, or give this one another --worker-id"
    )


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """A local folder for the slots' pages and output; those of daemons that were killed are removed."""
    base = Path(os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or tempfile.gettempdir())
    for left in base.glob(f"{RUN_DIR_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = Files().try_lock(left / RUN_LOCK) if left.stat().st_uid == os.getuid() else None
            if lock is not None:
                shutil.rmtree(left, ignore_errors=True)
                lock.release()
    # Locked before it has a name under which another daemon that starts now could take it for a dead one's.
    new = Path(tempfile.mkdtemp(prefix=f".{RUN_DIR_PREFIX}", dir=base))
    alive = Files().try_lock(new / RUN_LOCK)
    folder = new.rename(base / new.name.removeprefix("."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if alive is not None:
            alive.release()


def drain_at_s(config: Config, walltime_s: float | None) -> float:
    """When draining has to begin, by the monotonic clock; UsageError when that would be at once."""
    if walltime_s is None:
        return math.inf
    needed_s = config.drain_timeout_s + AFTER_DRAIN_S
    if walltime_s <= needed_s:
        raise UsageError(
            f"--walltime {walltime_s:g} leaves no time to work: draining may take {needed_s:g} s "
            "(drain_timeout_s in the settings, and what ends after it)"
        )
    return time.monotonic() + walltime_s - needed_s
