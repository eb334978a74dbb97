"""The schedule of a search: as its job says, or as the slots ask for, and what is to be said of slots that will wait."""

from __future__ import annotations

from arbd.job.model import Job
from arbd.search.schedule import DEFAULT_SLOTS, LAG, GenerationSizes, Schedule, busy_share

# Slots that wait for less of their time than the rest of this are not spoken of.
BUSY_ENOUGH = 0.85


def schedule_of(job: Job, sizes: GenerationSizes, n: int, slots: Schedule | int | None) -> Schedule:
    """Of a search of `n` iterations; `slots` are those of the farm, or the schedule of a session that is there.

    Beside a size the lag is what it always was, so that the job decides on both of them or on neither.
    """
    tuning = job.tuning
    if tuning.generation_size is not None:
        return Schedule(tuning.generation_size, tuning.generation_lag or LAG)
    if isinstance(slots, Schedule):
        return slots
    found = sizes.schedule(max(1, n), _cap(job, slots or job.execution.max_slots or DEFAULT_SLOTS))
    return found if tuning.generation_lag is None else Schedule(found.size, tuning.generation_lag)


def _cap(job: Job, slots: int) -> int:
    """Those slots of the farm that the job may have."""
    return min(slots, job.execution.max_slots or slots)


def idle_slots(job: Job, schedule: Schedule, n: int, slots: int) -> list[str]:
    """A notice where many of the slots will wait for suggestions, and what would change that."""
    slots = _cap(job, slots)
    share = busy_share(schedule, slots)
    if share >= BUSY_ENOUGH or n <= schedule.reach:
        return []
    change = "max_slots or larger generations" if job.tuning.generation_size is None else "generation_size: auto"
    return [
        (
            f"about {1 - share:.0%} of {slots:,} slots will wait for suggestions: {schedule.size:,} iterations a generation, "
            f"{schedule.lag} generations at a time; {change} would change that"
        )
    ]
