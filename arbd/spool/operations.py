"""What an administrator asks of the workers of a spool: to drain, to stop for maintenance, to be forgotten.

`control/` has a file for each wish, written whole, which workers list at every look. A drained worker lives, beats, and
works on nothing: it gives back what it has, and the others take that at once. Beside the wishes a log says who had which, and
who took them back: it is written first, so that nothing is in force that nobody has wanted.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from arbd import schema
from arbd.errors import UsageError
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame, payloads
from arbd.spool.layout import SpoolLayout, check_name
from arbd.spool.liveness import beat_path, is_held, lock_path
from arbd.spool.locked_log import LockedLog
from arbd.spool.provenance import Actor, Name
from arbd.spool.unknown_session import unknown_worker
from arbd.values import dataclass

MAINTENANCE, DRAINED = "maintenance", "drained"
DRAIN, UNDRAIN, MAINTENANCE_ON, MAINTENANCE_OFF, FORGET = (
    "drain",
    "undrain",
    "maintenance on",
    "maintenance off",
    "forget",
)
_DRAIN = "drain-"
MAX_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Halt:
    """Why workers work on nothing: `what` in one word, and who wanted it (None where that cannot be read)."""

    what: str
    actor: Actor | None

    def text(self) -> str:
        """For people."""
        if self.actor is None:
            return self.what
        why = f": {self.actor.reason}" if self.actor.reason else ""
        return f"{self.what} by {self.actor.user} on {self.actor.host}{why}"


class Order(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that somebody asked of a worker, or of all of them (`worker_id` is '')."""

    what: Name
    actor: Actor = msgspec.field(name="who")
    version: int = msgspec.field(default=schema.ORDER.version, name=schema.ORDER.key)
    worker_id: Annotated[str, Meta(max_length=300)] = msgspec.field(default="", name="worker")


def _log(files: Files, layout: SpoolLayout) -> LockedLog[Order]:
    return LockedLog(files, layout.control / "log", Order)


def orders(files: Files, layout: SpoolLayout) -> list[Order]:
    """What was ever asked for, the oldest first."""
    return _log(files, layout).read_new()


def last_order(files: Files, layout: SpoolLayout, worker_id: str) -> Order | None:
    """What was asked last of a worker, by itself or with all others."""
    return next((order for order in reversed(orders(files, layout)) if order.worker_id in ("", worker_id)), None)


def halts(files: Files, layout: SpoolLayout) -> dict[str, Halt]:
    """What is asked for now, by worker id; '' is everybody."""
    found: dict[str, Halt] = {}
    try:
        names = files.names(layout.control)
    except FileNotFoundError:
        return found
    for name in names:
        if name == MAINTENANCE:
            found[""] = Halt(MAINTENANCE, _actor(files, layout.control / name))
        elif name.startswith(_DRAIN):
            found[name.removeprefix(_DRAIN)] = Halt(DRAINED, _actor(files, layout.control / name))
    return found


def halt_of(files: Files, layout: SpoolLayout, worker_id: str) -> Halt | None:
    """Why this worker works on nothing now; None when it may."""
    found = halts(files, layout)
    return found.get("", found.get(worker_id))


def _actor(files: Files, path: Path) -> Actor | None:
    with contextlib.suppress(FileNotFoundError, ValueError, msgspec.DecodeError):
        for payload in payloads(files.read(path, limit=MAX_BYTES)):
            return msgspec.msgpack.decode(payload, type=Actor)
    return None


def drain(files: Files, layout: SpoolLayout, worker_id: str, actor: Actor) -> None:
    """Have a worker give back what it has and take nothing more, until `undrain`."""
    name = f"{_DRAIN}{check_name(worker_id, 'worker id')}"
    _want(files, layout, name, Order(what=DRAIN, worker_id=worker_id, actor=actor))


def undrain(files: Files, layout: SpoolLayout, worker_id: str, actor: Actor) -> bool:
    """Have it work again; False when it was not drained."""
    name = f"{_DRAIN}{check_name(worker_id, 'worker id')}"
    return _unwant(files, layout, name, Order(what=UNDRAIN, worker_id=worker_id, actor=actor))


def begin_maintenance(files: Files, layout: SpoolLayout, actor: Actor) -> None:
    """Have all workers stop taking jobs up and working, until it ends."""
    _want(files, layout, MAINTENANCE, Order(what=MAINTENANCE_ON, actor=actor))


def end_maintenance(files: Files, layout: SpoolLayout, actor: Actor) -> bool:
    """Go on; False when there was none."""
    return _unwant(files, layout, MAINTENANCE, Order(what=MAINTENANCE_OFF, actor=actor))


def _want(files: Files, layout: SpoolLayout, name: str, order: Order) -> None:
    _log(files, layout).append([order])
    files.publish(layout.control / name, encode_frame(msgspec.msgpack.encode(order.actor)))


def _unwant(files: Files, layout: SpoolLayout, name: str, order: Order) -> bool:
    try:
        if name not in files.names(layout.control):
            return False
    except FileNotFoundError:
        return False
    _log(files, layout).append([order])
    files.remove(layout.control / name)
    files.sync_folder(layout.control)
    return True


def forget(files: Files, layout: SpoolLayout, worker_id: str, actor: Actor) -> None:
    """Remove what a worker that is gone for good left: its heartbeat, its lock, that it was drained.

    NotFoundError when there is none of that name, UsageError while it lives. What it had claimed is taken back by
    whoever works, as before.
    """
    check_name(worker_id, "worker id")
    beat, lock = beat_path(layout, worker_id), lock_path(layout, worker_id)
    names = files.names(layout.workers)
    if beat.name not in names and lock.name not in names:
        raise unknown_worker(layout, worker_id, (name.rpartition(".")[0] for name in names))
    if lock.name in names and is_held(files, layout, worker_id):
        raise UsageError(f"worker {worker_id} lives: stop its daemon first (systemctl stop arbd), or drain it")
    order = Order(what=FORGET, worker_id=worker_id, actor=actor)
    if not _unwant(files, layout, f"{_DRAIN}{worker_id}", order):
        _log(files, layout).append([order])
    files.remove(beat)
    files.remove(lock)
    files.sync_folder(layout.workers)
