"""Due times: one answer for any clock, each date once, through leaps of clocks and of dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import UsageError
from arbd.spool.standing.calendar import DAYS, Due, Schedule, latest_due, next_due, zone_of

ZONES = ("UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
DAY_NS = 86_400 * 10**9
# From 2005 to 2035: Apia left out a day in 2011.
MOMENTS = st.integers(1_104_537_600, 2_051_222_400).map(lambda seconds: seconds * 10**9)
TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
SCHEDULES = st.builds(
    lambda at, days, zone: Schedule(at=at, days=tuple(sorted(days)), timezone=zone),
    TIMES,
    st.sets(st.integers(0, 6)),
    st.sampled_from(ZONES),
)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@given(SCHEDULES, MOMENTS)
def test_at_any_moment_one_time_is_the_last_and_one_the_next_and_none_is_between(schedule: Schedule, now: int) -> None:
    last, following = latest_due(schedule, now), next_due(schedule, now)
    assert last is not None
    assert following is not None
    assert last.wall_ns <= now < following.wall_ns
    assert following.wall_ns - last.wall_ns <= (8 if schedule.days else 2) * DAY_NS + 3 * 3600 * 10**9
    # Whoever asks at any other moment in between finds the same two.
    for moment in (last.wall_ns, following.wall_ns - 1, (last.wall_ns + following.wall_ns) // 2):
        assert latest_due(schedule, moment) == last
        assert next_due(schedule, moment) == following


@given(SCHEDULES, MOMENTS, st.integers(1, 60))
def test_going_forward_every_meant_date_comes_once_in_order(schedule: Schedule, now: int, count: int) -> None:
    found: list[Due] = []
    for _ in range(count):
        due = next_due(schedule, found[-1].wall_ns if found else now)
        assert due is not None
        found.append(due)
    labels = [due.label for due in found]
    assert labels == sorted(set(labels))
    zone = ZoneInfo(schedule.timezone)
    for due in found:
        there = datetime.fromtimestamp(due.wall_ns // 10**9, tz=zone)
        leaps = f"{there:%H:%M}" != schedule.at
        assert leaps or there.date().isoformat() == due.label
        assert not schedule.days or datetime.fromisoformat(due.label).weekday() in schedule.days


@pytest.mark.parametrize(
    ("at", "label", "moment"),
    [
        ("02:30", "2026-03-29", "2026-03-29T01:30"),  # there is no 02:30: it is 03:30
        ("02:30", "2026-10-25", "2026-10-25T00:30"),  # there are two: the first
        ("03:00", "2026-03-29", "2026-03-29T01:00"),
        ("03:00", "2026-01-01", "2026-01-01T02:00"),
    ],
)
def test_a_time_that_clocks_leap_over_comes_after_the_leap_and_one_that_comes_twice_the_first_time(
    at: str, label: str, moment: str
) -> None:
    schedule = Schedule(at=at, timezone="Europe/Zurich")
    assert latest_due(schedule, ns(moment)) == Due(label, ns(moment))
    assert latest_due(schedule, ns(moment) - 1) != Due(label, ns(moment))


def test_outside_of_the_calendar_nothing_is_due() -> None:
    schedule = Schedule(at="03:00")
    for moment in (-(10**11) * 10**9, 10**12 * 10**9):
        assert latest_due(schedule, moment) is None
        assert next_due(schedule, moment) is None


def test_a_schedule_of_data_has_no_times() -> None:
    assert latest_due(Schedule(), ns("2026-01-01T00:00")) is None
    assert Schedule().on_data


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "Europe", "a\0b", "/etc/localtime"])
def test_a_time_zone_that_is_none_is_told(name: str) -> None:
    with pytest.raises(UsageError, match="time zone"):
        zone_of(name)


def test_schedules_are_told_in_words() -> None:
    assert Schedule(at="03:00", days=(0, 4), timezone="Europe/Zurich").text() == "mon, fri at 03:00 Europe/Zurich"
    assert Schedule(at="03:00").text() == "each day at 03:00 UTC"
    assert Schedule().text() == "when data changed"
    assert len(DAYS) == timedelta(weeks=1).days
