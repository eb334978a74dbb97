"""What a resolved job says of validation: the windows of each fold, and what judges the winner beside them.

Keeps I5: windows are fixed here in nanoseconds, before any host starts, as are the conditions of every stress.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from arbd.records import INT64_MAX
from arbd.search.phases import Counts, Phase, Stretch
from arbd.values import dataclass

# A half-open interval of time, in nanoseconds UTC; and those of each market of the job, in its order.
Window = tuple[int, int]
Windows = tuple[tuple[Window, ...], ...]


class NamedWindow(NamedTuple):
    """A `Window` as objectives get it."""

    from_ns: int
    to_ns: int


OPEN_FROM, OPEN_TO = -INT64_MAX, INT64_MAX
MAX_FINALISTS, MAX_NEIGHBOURS, MAX_STRESSES, MAX_NULL_SEARCHES = 10_000, 10_000, 100, 10_000
MAX_FOLDS, MAX_WINDOWS = 10_000, 200_000


@dataclass(frozen=True, slots=True)
class FoldWindows:
    """What one search may see, and what its finalists are tested on; no `test` where nothing is tested."""

    train: Windows
    test: Windows = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a stress does to a parameter: sets it (`=`), multiplies it (`x`), or adds to it (`+`)."""

    name: str
    how: str
    by: float

    def of(self, value: Any) -> Any:
        """The changed value, or column of values."""
        return self.by if self.how == "=" else value * self.by if self.how == "x" else value + self.by

    def __str__(self) -> str:
        return f"{self.name} {'' if self.how == '=' else self.how}{self.by:g}"


@dataclass(frozen=True, slots=True)
class Stress:
    """Conditions that are worse than those of the search."""

    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """What an iteration is evaluated on: windows of each market (none: all of it), which market without an edge, changes."""

    windows: Windows = ()
    null: int = 0
    changes: tuple[Change, ...] = ()

    def changed(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Parameters under the changed conditions; those that a change names and are not there are left out."""
        if not self.changes:
            return params
        return {
            **params,
            **{change.name: change.of(params[change.name]) for change in self.changes if change.name in params},
        }

    @property
    def window(self) -> NamedWindow | None:
        """The one window of an objective that sees no markets of arbd's; None where it is to use everything."""
        return NamedWindow(*self.windows[0][0]) if self.windows else None


WHOLE = Setting()


@dataclass(frozen=True, slots=True)
class ValidationSpec:
    """A job's validation. `search_n` iterations are those of each search; `folds[0]` is the session's own search."""

    search_n: int
    scheme: str = ""
    folds: tuple[FoldWindows, ...] = (FoldWindows(()),)
    finalists: int = 0
    neighbours: int = 0
    stresses: tuple[Stress, ...] = ()
    null_searches: int = 0

    @property
    def counts(self) -> Counts:
        """How much of everything there is."""
        tests = tuple(number for number, fold in enumerate(self.folds) if fold.test)
        return Counts(
            len(self.folds) - 1, tests, self.finalists, self.neighbours, len(self.stresses), self.null_searches
        )

    def setting(self, stretch: Stretch) -> Setting:
        """What the iterations of a stretch are evaluated on."""
        own = self.folds[0].train
        match stretch.phase:
            case Phase.SEARCH:
                return Setting(self.folds[stretch.fold].train)
            case Phase.TEST:
                return Setting(self.folds[stretch.fold].test)
            case Phase.STRESS:
                return Setting(own, changes=self.stresses[stretch.fold - 1].changes)
            case Phase.NULL:
                return Setting(own, null=stretch.fold)
            case _:
                return Setting(own)

    def to_plain(self) -> dict[str, Any]:
        """For msgpack and JSON."""
        return {
            "search_n": self.search_n,
            "scheme": self.scheme,
            "folds": [{"train": _plain(fold.train), "test": _plain(fold.test)} for fold in self.folds],
            "finalists": self.finalists,
            "neighbours": self.neighbours,
            "stresses": [
                {"name": stress.name, "changes": [[c.name, c.how, c.by] for c in stress.changes]}
                for stress in self.stresses
            ],
            "null_searches": self.null_searches,
        }


def _plain(windows: Windows) -> list[list[list[int]]]:
    return [[list(window) for window in market] for market in windows]
