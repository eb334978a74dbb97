"""What a user may have of a shared spool: slots, sessions, priority, time and memory. An administrator's settings."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

from arbd.errors import UsageError
from arbd.values import dataclass

EVERYBODY = "*"
GROUP_MARK = "@"


@dataclass(frozen=True, slots=True)
class UserLimits:
    """Of one user, on all hosts together; None is no limit.

    `slots` that work at once, `sessions` that are worked on at once (the others wait), `queued` sessions that are not
    over; `max_priority` of a job; `timeout_s` and `memory_mb` that every job's iterations must stay below. `spool_mb` is
    space of all sessions, beyond which no new one is taken up; `rejected_mb` that of refused jobs, of which the oldest go.
    """

    slots: int | None = None
    sessions: int | None = None
    queued: int | None = None
    max_priority: int | None = None
    timeout_s: float | None = None
    memory_mb: int | None = None
    spool_mb: int | None = None
    rejected_mb: int | None = None


NO_LIMITS = UserLimits()


@dataclass(slots=True)
class LimitTable:
    """By user (name or number), by `@group`, and `*` for everybody else.

    A user's own entry goes before those of groups, and these in their order.
    """

    entries: Mapping[str, UserLimits] = field(default_factory=dict)
    _known: dict[tuple[str, tuple[int | None, ...]], UserLimits] = field(default_factory=dict)

    def of(self, user: str, *uids: int | None) -> UserLimits:
        """What holds for a user of these numbers, of which the first that has an entry counts; nothing for nobody."""
        if not self.entries or not user:
            return NO_LIMITS
        if (user, uids) not in self._known:
            self._known[user, uids] = self._find(user, uids)
        return self._known[user, uids]

    def _find(self, user: str, uids: tuple[int | None, ...]) -> UserLimits:
        for name in (user, *map(str, uids)):
            if name in self.entries:
                return self.entries[name]
        groups = {name.removeprefix(GROUP_MARK) for name in self.entries if name.startswith(GROUP_MARK)}
        mine = _groups_of(user) if groups else set()
        for name, limits in self.entries.items():
            if name.startswith(GROUP_MARK) and name.removeprefix(GROUP_MARK) in mine:
                return limits
        return self.entries.get(EVERYBODY, NO_LIMITS)


def _groups_of(user: str) -> set[str]:
    import grp  # noqa: PLC0415 - only where groups have limits

    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return set()
    names = set()
    for number in os.getgrouplist(user, found.pw_gid):
        names.add(str(number))
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return names


def parse_limits(value: object, place: str) -> dict[str, UserLimits]:
    """From settings: `{anna: {slots: 4}, "@quants": {sessions: 2}, "*": {...}}`; UsageError names what is wrong."""
    if not isinstance(value, dict):
        raise UsageError(f"{place}: expected users, @groups or '*', each with limits below it")
    return {str(name): _parse(limits, f"{place}.{name}") for name, limits in value.items()}


def _parse(value: Any, place: str) -> UserLimits:
    names = {item.name for item in fields(UserLimits)}
    if not isinstance(value, dict):
        raise UsageError(f"{place}: expected limits as `name: value`: {', '.join(sorted(names))}")
    for name, limit in value.items():
        if name not in names:
            raise UsageError(f"{place}: unknown limit {name!r}; known are {', '.join(sorted(names))}")
        numbers = (int, float) if name == "timeout_s" else (int,)
        low = -1_000_000 if name == "max_priority" else 1
        if type(limit) not in numbers or not low <= limit <= 10**12:
            raise UsageError(f"{place}.{name} is {limit!r}; expected a number of at least {low}")
    return UserLimits(**value)
