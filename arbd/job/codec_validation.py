"""What a resolved job says of validation in its file, declared once; see `codec`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from arbd.job.validation import (
    MAX_FINALISTS,
    MAX_FOLDS,
    MAX_NEIGHBOURS,
    MAX_NULL_SEARCHES,
    MAX_STRESSES,
    MAX_WINDOWS,
    Change,
    FoldWindows,
    Stress,
    ValidationSpec,
    Windows,
)
from arbd.records import Positive, Signed

Name = Annotated[str, Meta(min_length=1, max_length=200)]
WindowsRecord = Annotated[
    tuple[Annotated[tuple[tuple[Signed, Signed], ...], Meta(max_length=MAX_WINDOWS)], ...], Meta(max_length=MAX_WINDOWS)
]


class FoldRecord(Struct, frozen=True):
    """See `FoldWindows`."""

    train: WindowsRecord
    test: WindowsRecord


class ChangeRecord(Struct, frozen=True, array_like=True):
    """See `Change`."""

    name: Name
    how: Literal["=", "x", "+"]
    by: float


class StressRecord(Struct, frozen=True):
    """See `Stress`."""

    name: Name
    changes: Annotated[tuple[ChangeRecord, ...], Meta(min_length=1, max_length=1_000)]


class ValidationRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """See `ValidationSpec`. What this version does not know it would not run."""

    search_n: Positive
    scheme: Literal["", "holdout", "walk_forward", "cpcv"]
    folds: Annotated[tuple[FoldRecord, ...], Meta(min_length=1, max_length=MAX_FOLDS)]
    finalists: Annotated[int, Meta(ge=0, le=MAX_FINALISTS)]
    neighbours: Annotated[int, Meta(ge=0, le=MAX_NEIGHBOURS)]
    stresses: Annotated[tuple[StressRecord, ...], Meta(max_length=MAX_STRESSES)]
    null_searches: Annotated[int, Meta(ge=0, le=MAX_NULL_SEARCHES)]

    def spec(self) -> ValidationSpec:
        """ValueError when a window ends before it begins, or there are too many."""
        stresses = (Stress(s.name, tuple(Change(c.name, c.how, c.by) for c in s.changes)) for s in self.stresses)
        if sum(len(market) for fold in self.folds for market in (*fold.train, *fold.test)) > MAX_WINDOWS:
            raise ValueError(f"more than {MAX_WINDOWS:,} windows")
        return ValidationSpec(
            self.search_n,
            self.scheme,
            tuple(FoldWindows(_checked(fold.train), _checked(fold.test)) for fold in self.folds),
            self.finalists,
            self.neighbours,
            tuple(stresses),
            self.null_searches,
        )


def _checked(windows: Windows) -> Windows:
    for start, end in (window for market in windows for window in market):
        if end < start:
            raise ValueError(f"a window from {start} to {end}")
    return windows
