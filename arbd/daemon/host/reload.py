"""Which settings a running worker takes over on SIGHUP, and which need a restart. Decides; changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from arbd.daemon.host.config import Config
from arbd.values import dataclass

# A worker is what it is under these: its name and place on the spool, its processes, its caches, its watch.
FIXED = frozenset({"spool", "worker_id", "slots", "cache_dir", "watch", "executor"})


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The settings to go on with; the names of those that changed, and of those that wait for a restart."""

    config: Config
    changed: tuple[str, ...]
    after_restart: tuple[str, ...]


def reload(current: Config, read: Callable[[], Config]) -> Reloaded:
    """Read the settings anew. Any ArbdError of `read` means that `current` stays in force, whole."""
    new = read()
    differ = [item.name for item in fields(Config) if getattr(new, item.name) != getattr(current, item.name)]
    kept = {name: getattr(current, name) for name in FIXED}
    return Reloaded(
        replace(new, **kept),
        tuple(name for name in differ if name not in FIXED),
        tuple(name for name in differ if name in FIXED),
    )
