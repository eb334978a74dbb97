"""The form of a job's `validation:` block."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Span = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(d|h|m|s)$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HoldoutFrom(_Strict):
    """From a moment on."""

    from_: Any = Field(
        alias="from", description="ISO 8601, UTC where it says nothing else.", examples=["2024-08-08T12:00Z"]
    )


class WalkForward(_Strict):
    """Searches on windows that move on through time, each tested on what follows."""

    train: Span = Field(description="Length of a training window.", examples=["10d"])
    test: Span = Field(description="Length of the test behind it.", examples=["2d"])
    step: Span | None = Field(None, description="By how much windows move on; by default the length of a test.")
    anchored: bool = Field(False, description="Every training begins where the data do.")


class CombinatorialModel(_Strict):
    """Every choice of `test_groups` of `groups` equal parts of time is tested by a search on the rest."""

    groups: int = Field(10, ge=2, le=100, strict=True, description="Equal parts of time.")
    test_groups: int = Field(2, ge=1, strict=True, description="How many of them are tested at a time.")


class ValidationModel(_Strict):
    """What judges the winner beside its own returns. One of holdout, walk_forward and cpcv."""

    holdout: Annotated[str, Field(pattern=r"^(\d+(\.\d+)?%|\d+(\.\d+)?(d|h|m|s))$")] | HoldoutFrom | None = Field(
        None,
        description="The end of every market, which the search never sees: a share, a length, or from a moment on.",
        examples=["20%", "2d", {"from": "2024-08-08T12:00Z"}],
    )
    walk_forward: WalkForward | None = Field(None, description="Folds that move on through time.")
    cpcv: CombinatorialModel | None = Field(None, description="Combinatorial purged cross-validation.")
    purge: Span | None = Field(
        None,
        description="How long before a test training ends, and behind one begins; by default the longest holding time "
        "and latencies that the job allows.",
    )
    finalists: int | None = Field(
        None, ge=1, le=10_000, strict=True, description="How many of the best are tested and stressed; by default 20."
    )
    neighbours: int | None = Field(
        None, ge=1, le=10_000, strict=True, description="Sets around the winner that are run, for its plateau."
    )
    stress: Literal["default"] | list[dict[str, Any]] | None = Field(
        None,
        description="Worse conditions for the finalists: default, or a list; parameters are set, multiplied (x2) or added "
        "to (+1).",
        examples=["default", [{"name": "fees", "fee_a_bps": "x1.5", "fee_b_bps": "x1.5"}]],
    )
    null_searches: int | None = Field(
        None, ge=1, le=10_000, strict=True, description="The whole search again on so many markets without an edge."
    )

    @property
    def schemes(self) -> tuple[str, ...]:
        """What is named of those that keep a part of the data from a search."""
        return tuple(name for name in ("holdout", "walk_forward", "cpcv") if getattr(self, name) is not None)
