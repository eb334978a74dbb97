"""The form of a job's blocks `prune:` and `stop:`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from arbd.job import limits


class PruneModel(BaseModel):
    """When an iteration that reports intermediate values ends before its time; see docs/search.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["median", "percentile", "patient"] = Field(
        "median",
        description="Go on while the best value so far is in the better half, or in the best `percentile`, of what "
        "completed iterations had at the step; patient: while it improves.",
    )
    percentile: float | None = Field(
        None, gt=0, le=100, description="How many of a hundred go on, for rule percentile.", examples=[25]
    )
    startup_trials: int | None = Field(
        None, ge=0, strict=True, description="Completed iterations before any is compared. By default 5."
    )
    min_trials: int | None = Field(
        None, ge=1, strict=True, description="Completed iterations that must have a value at a step. By default 1."
    )
    warmup_steps: int = Field(0, ge=0, le=limits.MAX_EXACT, strict=True, description="Steps before this one are kept.")
    patience: int | None = Field(
        None,
        ge=1,
        le=limits.MAX_PATIENCE,
        strict=True,
        description="Prune only after so many steps without an improvement. Rule patient needs it.",
    )
    min_delta: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="How much worse than before counts as no improvement."
    )


class StopModel(BaseModel):
    """When the session ends early, whichever comes first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_time_s: float | None = Field(
        None, gt=0, description="Seconds of work, by the clocks of the workers, one after the other."
    )
    no_improvement: int | None = Field(
        None, ge=1, strict=True, description="Iterations without a better result. Looked at between generations."
    )
    min_delta: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="How much better a result must be to count for no_improvement."
    )
    target: float | None = Field(None, description="The metric is this good or better. Looked at between generations.")
