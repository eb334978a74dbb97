"""Job files with a schedule: what is wrong with one is told with its place; what its sessions' jobs say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from arbd.errors import DataError, JobError
from arbd.job.file import parse_job
from arbd.job.fired_job import point_of, read_standing_file, write_fired_job
from arbd.job.resolve import resolve_job
from arbd.job.resolve_standing import standing_of
from arbd.paper.market.days import DayFiles
from arbd.spool.standing.calendar import Schedule
from arbd.spool.standing.folder import StandingSpec

JOB = """session_id: night
objective: {command: [/bin/echo]}
schedule: {at: 03:00}
tuning:
  method: METHOD
  max_iterations: 9
  search_space:
    x: {type: float, bounds: [0, 1]}
    kind: {type: choice, values: [a, b]}
    deep: {type: int, bounds: [1, 9], when: {kind: b}}
"""


def job(schedule: str = "at: 03:00", *more: str, method: str = "random") -> str:
    text = JOB.replace("at: 03:00", schedule).replace("METHOD", method)
    return text + "".join(f"{line}\n" for line in more)


def standing(text: str, folder: Path = Path("/nowhere")) -> StandingSpec | None:
    document = parse_job(text, "job.yaml")
    return standing_of(document, resolve_job(document, base_dirs=[folder]), document.job.session_id)


@pytest.mark.parametrize(
    ("schedule", "meant"),
    [
        ("at: 03:00", Schedule(at="03:00")),
        ("at: 23:59, timezone: Europe/Zurich", Schedule(at="23:59", timezone="Europe/Zurich")),
        ("at: '00:00', days: [sun, mon]", Schedule(at="00:00", days=(0, 6))),
        ("at: 03:00, promoted_to: /etc/bot.yaml", Schedule(at="03:00", promoted_to="/etc/bot.yaml")),
    ],
)
def test_a_schedule_is_read(schedule: str, meant: Schedule) -> None:
    found = standing(job(schedule))
    assert found is not None
    assert (found.name, found.schedule, found.job.n) == ("night", meant, 9)


def test_a_job_without_a_schedule_is_none() -> None:
    assert standing(JOB.replace("schedule: {at: 03:00}\n", "").replace("METHOD", "random")) is None


@pytest.mark.parametrize(
    ("schedule", "field", "told"),
    [
        ("at: 24:00", "schedule.at", "time of day"),
        ("at: 3:00", "schedule.at", "time of day"),
        ("at: 3", "schedule.at", "a string"),
        ("at: 03:00, days: [monday]", "schedule.days.0", "did you mean 'mon'"),
        ("at: 03:00, days: [mon, mon]", "schedule.days", "twice"),
        ("at: 03:00, timezone: Europe/Zürich", "schedule.timezone", "no time zone"),
        ("at: 03:00, when: data changed", "schedule.when", "at a time"),
        ("at: 03:00, promoted_to: bot.yaml", "schedule.promoted_to", "absolute path"),
        ("at: 03:00, each: day", "schedule.each", "unknown field"),
        ("when: data changed", "schedule.when", "needs `data:`"),
        ("when: data change", "schedule.when", "did you mean 'data changed'"),
        ("timezone: UTC", "schedule", "neither"),
        ("days: [mon]", "schedule.days", "goes with `at`"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told_with_its_place(schedule: str, field: str, told: str) -> None:
    with pytest.raises(JobError) as raised:
        standing(job(schedule))
    problems = [problem for problem in raised.value.problems if problem.field == field]
    assert problems
    assert any(told in problem.message for problem in problems)
    assert all(problem.line == 3 for problem in problems)


@pytest.mark.parametrize(("more", "field"), [("deadline: 2027-01-01T00:00Z", "deadline"), ("after: other", "after")])
def test_what_is_for_one_session_is_refused(more: str, field: str) -> None:
    with pytest.raises(JobError, match="is for one session") as raised:
        standing(job("at: 03:00", more))
    assert [problem.field for problem in raised.value.problems] == [field]


@pytest.mark.parametrize(("name", "told"), [("", "is missing"), (f"session_id: {'n' * 49}\n", "48 at most")])
def test_a_standing_job_needs_a_name_that_leaves_room_for_dates(name: str, told: str) -> None:
    with pytest.raises(JobError, match=told):
        standing(job().replace("session_id: night\n", name))


def write_day(folder: Path, day: str, start: int) -> None:
    rows = 20
    ts = np.arange(rows, dtype=np.int64) * 10**9 + start * 86_400 * 10**9
    price = np.full(rows, 100.0)
    np.savez(
        folder / f"q-{day}.npz", ts_ns=ts, bid_a=price, ask_a=price + 1, bid_b=price, ask_b=price + 1, fx=np.ones(rows)
    )


@pytest.fixture
def days(tmp_path: Path) -> Path:
    for number, day in enumerate(("2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02")):
        write_day(tmp_path, day, 20_000 + number)
    return tmp_path


@pytest.mark.parametrize(
    ("count", "skip", "first", "last"),
    [
        (1, 0, "2026-03-02", "2026-03-02"), (2, 0, "2026-03-01", "2026-03-02"), (2, 1, "2026-02-28", "2026-03-01"),
        (3, 0, "2026-02-28", "2026-03-02"), (400, 0, "2025-01-27", "2026-03-02"), (1, 3, "2026-02-27", "2026-02-27"),
    ],
)  # fmt: skip
def test_the_newest_days_end_with_the_newest_file(days: Path, count: int, skip: int, first: str, last: str) -> None:
    assert str(DayFiles(days, "*").newest(count, skip)) == f"{days}/*[{first}..{last}]"


def test_a_window_without_a_file_or_with_files_that_tell_no_day_is_told(days: Path) -> None:
    with pytest.raises(DataError, match="has no file"):
        DayFiles(days, "*").newest(1, 9)
    (days / "other.npz").write_bytes(b"")
    with pytest.raises(DataError, match="tells no day"):
        DayFiles(days, "*").newest(1, 0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{folder: ., last: 3}", "a string"), ("{folder: ., last: 3w}", "must be a number of days, such as 30d"), ("{folder: ., last: 0d}", "must be a number of days, such as 30d"),
        ("{folder: ., skip_newest: 1d}", "goes with `last`"), ("{folder: ., last: 2d, to: 2026-03-01}", "at a time"),
        ("{folder: ., last: 1d, skip_newest: 9d}", "has no file"),
    ],
)  # fmt: skip
def test_a_window_that_is_none_is_told(days: Path, given: str, told: str) -> None:
    with pytest.raises(JobError, match=told):
        standing(job("when: data changed", f"data: [{given}]"), days)


def fired(text: str, folder: Path = Path("/nowhere"), **more: object) -> dict[str, object]:
    data = write_fired_job(read_standing_file(text.encode(), "night"), "night", "night-1", base_dirs=[folder], **more)  # type: ignore[arg-type]
    assert data.startswith(b"# fired by standing job night\n")
    written = yaml.safe_load(data)
    assert isinstance(written, dict)
    assert resolve_job(parse_job(data, "written"), base_dirs=[folder]).session_id == "night-1"
    return written


def test_the_job_of_a_session_has_its_name_its_window_and_no_schedule(days: Path) -> None:
    found = fired(
        job("when: data changed", "labels: {desk: btc}", "data: [{folder: ., last: 2d, skip_newest: 1d}]"), days
    )
    assert "schedule" not in found
    assert found["session_id"] == "night-1"
    assert found["labels"] == {"desk": "btc", "standing": "night"}
    assert found["data"] == [{"folder": str(days), "pattern": "*", "from": "2026-02-28", "to": "2026-03-01"}]


def test_the_standing_setting_comes_before_the_jobs_own_first_points() -> None:
    text = job().replace("  max_iterations: 9\n", "  max_iterations: 9\n  enqueue: [{x: 0.5}]\n")
    tuning = fired(text, first={"x": 0.25, "kind": "a"})["tuning"]
    assert isinstance(tuning, dict)
    assert tuning["enqueue"] == [{"x": 0.25, "kind": "a"}, {"x": 0.5}]


@pytest.mark.parametrize(
    ("parameters", "point", "why"),
    [
        ({"x": 0.5, "kind": "a"}, {"x": 0.5, "kind": "a"}, ""),
        ({"x": 0.5, "kind": "b", "deep": 3, "fee": 9}, {"x": 0.5, "kind": "b", "deep": 3}, ""),
        ({"kind": "a"}, None, "has no x"),
        ({"x": 1.5, "kind": "a"}, None, "does not search it"),
        ({"x": 0.5, "kind": "c"}, None, "does not search it"),
        ({"x": 0.5, "kind": "a", "hold": 2}, None, "with hold = 2"),
        ({"x": "much", "kind": "a"}, None, "does not search it"),
    ],
)
def test_a_setting_is_a_point_of_the_search_or_it_is_told_why_not(
    parameters: dict[str, object], point: dict[str, object] | None, why: str
) -> None:
    standing_file = read_standing_file(job("at: 03:00", "fixed: {hold: 1}").encode(), "night")
    found, told = point_of(standing_file, parameters)
    assert found == point
    assert (why in told) if why else not told


@pytest.mark.parametrize(
    ("method", "validation", "may"),
    [
        ("random", "", False), ("tpe", "", True), ("auto", "", True), ("tpe", "validation: {neighbours: 4}", True),
        ("tpe", "validation: {holdout: 20%}", False),
    ],
)  # fmt: skip
def test_only_a_method_that_learns_and_is_tested_on_nothing_starts_from_earlier_results(
    method: str, validation: str, may: bool
) -> None:
    assert read_standing_file(job("at: 03:00", validation, method=method).encode(), "n").may_start_from_earlier is may
