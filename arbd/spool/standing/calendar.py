"""When a standing job is due: times of a calendar with its time zone, each with a label that no other of its times has.

Keeps: for any clock exactly one time is the last one that is due, and whoever asks at the same moment finds the same.
The label is the date there, so that a second firing of the same time meets what the first one made.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from arbd.errors import UsageError
from arbd.values import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TIME_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
# `-2026-11-30`, or a digest, stands behind the name of a standing job in those of its sessions.
MAX_NAME_CHARS = 48
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Schedule(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """When a job is due: `at` a time (`03:00`) of `timezone` on some or all days (0 is Monday), or else on new data.

    `promoted_to` is the file whose promotions are the standing setting; '' for those of the job's own sessions.
    """

    at: Annotated[str, Meta(pattern=f"{TIME_PATTERN[:-1]}\\Z|^\\Z")] = ""
    days: Annotated[tuple[Annotated[int, Meta(ge=0, le=6)], ...], Meta(max_length=7)] = ()
    timezone: Annotated[str, Meta(max_length=64)] = "UTC"
    promoted_to: Annotated[str, Meta(max_length=4096)] = ""

    @property
    def on_data(self) -> bool:
        """True when new data makes it due."""
        return not self.at

    def text(self) -> str:
        """For people."""
        if self.on_data:
            return "when data changed"
        days = f"{', '.join(DAYS[day] for day in self.days)} " if self.days else "each day "
        return f"{days}at {self.at} {self.timezone}"


@dataclass(frozen=True, slots=True)
class Due:
    """A time at which a job is due. `label` names it, and nothing else of the same schedule."""

    label: str
    wall_ns: int


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """UsageError for a time zone that this host does not know."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise UsageError(
            f"this host knows no time zone {name!r}: expected one such as Europe/Zurich or UTC "
            "(package tzdata has them all)"
        ) from error


def latest_due(schedule: Schedule, now_ns: int) -> Due | None:
    """The last time that was due at `now_ns`; None for a schedule without times, or outside of the calendar."""
    return next((due for due in reversed(_around(schedule, now_ns)) if due.wall_ns <= now_ns), None)


def next_due(schedule: Schedule, now_ns: int) -> Due | None:
    """The first time that is due after `now_ns`; None for a schedule without times, or outside of the calendar."""
    return next((due for due in _around(schedule, now_ns) if due.wall_ns > now_ns), None)


def _around(schedule: Schedule, now_ns: int) -> list[Due]:
    """The times of more than a week before and after, in order."""
    if schedule.on_data:
        return []
    zone = zone_of(schedule.timezone)
    at = time(int(schedule.at[:2]), int(schedule.at[3:]))
    try:
        today = (_EPOCH + timedelta(seconds=now_ns // 10**9)).astimezone(zone).date()
        days = [today + timedelta(days=offset) for offset in range(-9, 10)]
        return [Due(day.isoformat(), _instant_ns(day, at, zone)) for day in days if _is_meant(schedule, day)]
    except OverflowError:
        return []


def _is_meant(schedule: Schedule, day: date) -> bool:
    return not schedule.days or day.weekday() in schedule.days


def _instant_ns(day: date, at: time, zone: tzinfo) -> int:
    """The first moment at which clocks there show that time; where they leap over it, as long after the leap."""
    moment = datetime.combine(day, at, tzinfo=zone)
    return (moment - _EPOCH) // timedelta(seconds=1) * 10**9
