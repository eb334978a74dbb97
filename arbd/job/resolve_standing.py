"""From a job with a `schedule:` to a standing job: is the schedule one, and can sessions be made by it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from arbd.errors import JobError, Problem, UsageError
from arbd.job.file import JobDocument
from arbd.job.model import Job
from arbd.job.model_data import ScheduleModel
from arbd.job.spec import JobSpec
from arbd.spool.standing.calendar import DAYS, MAX_NAME_CHARS, Schedule, zone_of
from arbd.spool.standing.folder import StandingSpec


def standing_of(document: JobDocument, spec: JobSpec, name: str | None) -> StandingSpec | None:
    """The standing job `name` that a job file asks for, None where it asks for a session. JobError: all that is wrong."""
    given = document.job.schedule
    if given is None:
        return None
    problems: list[Problem] = []

    def wrong(message: str, *path: str, here: bool = False) -> None:
        problems.append(replace(document.problem(message, *path), here=here))

    if name is None:
        name = ""
        wrong("is missing: the sessions of a standing job are named after it", "session_id")
    if len(name) > MAX_NAME_CHARS:
        wrong(f"has {len(name)} characters; a standing job's has {MAX_NAME_CHARS} at most", "session_id")
    for message, path in _faults(document.job, given):
        wrong(message, *path)
    for field in ("deadline", "after"):
        if getattr(document.job, field):
            wrong("is for one session, and a standing job makes many", field)
    try:
        zone_of(given.timezone)
    except UsageError as error:
        # Another host may have its table of time zones.
        wrong(str(error), "schedule", "timezone", here=True)
    if problems:
        order = sorted(problems, key=lambda p: (p.line, p.column, p.field))
        raise JobError(document.document.source, order)
    schedule = Schedule(
        at=given.at or "",
        days=tuple(sorted(DAYS.index(day) for day in given.days)),
        timezone=given.timezone,
        promoted_to=given.promoted_to or "",
    )
    return StandingSpec(name, schedule, spec)


def _faults(job: Job, given: ScheduleModel) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is wrong with a schedule by itself, and where."""
    if given.at is None and given.when is None:
        yield "says neither `at:` (a time such as 03:00) nor `when: data changed`", ("schedule",)
    if given.at is not None and given.when is not None:
        yield "one of `at` and `when` at a time: make two jobs", ("schedule", "when")
    if given.at is None and given.days:
        yield "goes with `at`", ("schedule", "days")
    if given.at is None and given.timezone != "UTC":
        yield "goes with `at`", ("schedule", "timezone")
    if given.when is not None and not job.data:
        yield "needs `data:` that can change", ("schedule", "when")
    if len(set(given.days)) < len(given.days):
        yield "a day stands there twice", ("schedule", "days")
