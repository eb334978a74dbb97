"""How the coordinator sees its sessions and the spool, put into values that monitoring reads from other threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from arbd.daemon.core.counters import Condition, Snapshot
from arbd.daemon.core.session_registry import SessionRegistry
from arbd.daemon.core.session_state import SessionState
from arbd.daemon.core.standing import Standing
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout

# Seldom, and never in a heartbeat, which others judge this worker by.
COUNT_REJECTED_S = 5.0


def rejected_jobs(files: Files, layout: SpoolLayout) -> int:
    """How many refused jobs lie in `rejected/`, each with its reason."""
    return sum(name.endswith(".error.txt") for name in files.names(layout.rejected))


def queued_jobs(files: Files, layout: SpoolLayout) -> int:
    """How many dropped jobs are neither sessions nor refused yet."""
    dropped = [name for name in files.names(layout.incoming) if not name.startswith(".")]
    return len(dropped) + len(files.names(layout.taken))


def snapshot_of(work: Mapping[str, SessionState], about: Mapping[str, Any], now_s: float) -> Snapshot:
    """As of a heartbeat, whose payload is `about`."""
    return Snapshot(
        about,
        {name: session.state.states() for name, session in work.items()},
        sum(session.state.superseded for session in work.values()),
        now_s,
    )


def condition_of(registry: SessionRegistry, spool_trouble: str, jobs_waiting_since_s: float | None) -> Condition:
    """As of a turn: what is wrong now, whether a heartbeat can be written or not."""
    sessions = registry.work.values()
    finishing = [session.finishing_since_s for session in sessions if session.finishing_since_s is not None]
    return Condition(
        spool_trouble,
        Counter(found.standing.value for found in registry.standings.values())
        + Counter({Standing.OVER.value: len(registry.watch.over)}),
        sum(bool(session.compaction.reason) for session in sessions),
        min(finishing, default=None),
        jobs_waiting_since_s,
    )
