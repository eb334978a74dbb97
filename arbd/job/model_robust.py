"""The form of what a job says of its metrics: `repeats` and `robust:`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from arbd.job import limits

Repeats = Annotated[int, Field(ge=1, le=limits.MAX_REPEATS, strict=True)]


class RobustModel(BaseModel):
    """The search goes by the median, the worst or a quantile of several values of a metric; see docs/search.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    over: Literal["blocks", "markets", "neighbourhood"] = Field(
        description="What there are values of: stretches of the time, by an iteration's return blocks; the markets of the job, "
        "each by itself; the set and its neighbours, one on either side along each number."
    )
    use: Literal["median", "worst", "quantile"] = Field("median", description="Which of the values, in order, counts.")
    q: float | None = Field(
        None, gt=0, lt=1, description="The quantile, counted from the worst, for use: quantile.", examples=[0.25]
    )
    groups: int | None = Field(
        None,
        ge=1,
        le=limits.MAX_BLOCK_GROUPS,
        strict=True,
        description="Neighbouring return blocks are joined to so many groups, for over: blocks. By default 8.",
    )
