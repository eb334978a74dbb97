"""The parts of a job file that say of which days it is, and when it comes again."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from arbd.spool.standing.calendar import TIME_PATTERN

DAYS_PATTERN = r"^[1-9][0-9]{0,3}d$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataFolder(_Strict):
    """Day files of a folder, one after another as one market."""

    folder: str = Field(min_length=1, description="The folder that holds the files.")
    pattern: str = Field(
        "*", pattern=r"^[^/\[\]]+$", description="Which files, by name: `BTC-*.parquet`; * and ? stand for anything."
    )
    first: date | None = Field(None, alias="from", description="First day, as file names tell it. All if left out.")
    until: date | None = Field(None, alias="to", description="Last day, included. All if left out.")
    last: str | None = Field(
        None,
        pattern=DAYS_PATTERN,
        description="So many days up to that of the newest file, instead of from and to.",
        examples=["30d"],
    )
    skip_newest: str | None = Field(
        None, pattern=DAYS_PATTERN, description="With last: leave out so many of these, where a file still grows."
    )


class ScheduleModel(_Strict):
    """When the job makes a session: at a time, or when its data changed. See docs/standing.md."""

    at: str | None = Field(None, pattern=TIME_PATTERN, description="A time of day.", examples=["03:00"])
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        default_factory=list, max_length=7, description="On these days only; every day if left out."
    )
    timezone: str = Field("UTC", min_length=1, max_length=64, description="Of `at`, such as Europe/Zurich.")
    when: Literal["data changed"] | None = Field(None, description="Instead of a time: when a data file is another.")
    promoted_to: str | None = Field(
        None, pattern=r"^/", max_length=4096,
        description="The file of `arbctl promote --to` whose setting is the standing one; left out: what was promoted "
        "of this job's own sessions.",
    )  # fmt: skip
