"""Who may have how much: the limits of the settings, by user, that a job meets when it is taken up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from arbd.daemon.host.config import Config
from arbd.errors import ArbdError
from arbd.spool.files import Files
from arbd.spool.job_file import no_limits, user_name
from arbd.spool.layout import SpoolLayout
from arbd.spool.owners import Owners, is_same_user
from arbd.spool.provenance import Submission
from arbd.spool.queue import SessionQueue
from arbd.spool.session_index import ended_sessions
from arbd.spool.sessions import ResolvedJob
from arbd.spool.system import SystemClock
from arbd.spool.user_limits import LimitTable
from arbd.spool.user_space import SpaceOfUsers

MB = 1_000_000


class Admit(Protocol):
    """Says why a user may not have a job here, or ''; `coming` are those of the same file that come before it."""

    def __call__(self, whose: Submission, job: ResolvedJob, coming: int = 0) -> str:
        """See the class."""
        ...


def admission(config: Config, files: Files) -> Admit:
    """By the limits of the settings."""
    table, layout = LimitTable(config.limits), SpoolLayout(config.spool)
    space = SpaceOfUsers(files, layout, SystemClock())
    if not table.entries:
        return no_limits

    def admit(whose: Submission, job: ResolvedJob, coming: int = 0) -> str:
        user = Owners().of(whose)
        limits = table.of(user, whose.uid)
        execution = job.to_plain().get("execution", {})
        where = f"`limits` for {user} in the daemon's settings"
        priority = execution.get("priority", 0)
        if limits.max_priority is not None and priority > limits.max_priority:
            return f"execution: priority is {priority}; the maximum is {limits.max_priority} ({where})"
        for name, most in (("timeout_s", limits.timeout_s), ("memory_mb", limits.memory_mb)):
            told = execution.get(name)
            if most is not None and (told is None or told > most):
                return f"execution: {name} is {told or 'not given'}; it must be at most {most:g} ({where})"
        if limits.queued is not None and (count := _going_on(files, layout, whose) + coming) >= limits.queued:
            return f"{user} has {count} sessions that are not over; the maximum is {limits.queued} ({where}): cancel some, or wait"
        if limits.spool_mb is not None and (used := space.used(whose)) > limits.spool_mb * MB:
            return (
                f"the sessions of {user} take {used / MB:,.0f} MB of the spool; the maximum is {limits.spool_mb:,} ({where}): "
                f"`arbctl purge --user {user} --segments` frees what results hold already, `arbctl archive` and `purge` more"
            )
        return ""

    return admit


def rejected_bound(config: Config) -> Callable[[int], int | None]:
    """How many bytes of refused jobs a user may have in `rejected/`; None is any number."""
    table = LimitTable(config.limits)

    def most(uid: int) -> int | None:
        found = table.of(user_name(uid), uid).rejected_mb
        return None if found is None else found * MB

    return most


def _going_on(files: Files, layout: SpoolLayout, whose: Submission) -> int:
    """How many sessions of a user are not over."""
    names = files.names(layout.sessions)
    ended = ended_sessions(files, layout, names)
    count = 0
    for name in names:
        if name.startswith(".") or name in ended:
            continue
        # What cannot be read, or is being made, is nobody's yet.
        with contextlib.suppress(ArbdError, OSError):
            state = SessionQueue(files, layout.session(name)).refresh()
            count += not state.over and is_same_user(state.provenance.submission, whose)
    return count
