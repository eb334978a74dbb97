"""What a slot's report says beside its rows: how long it was busy, the first error, manners of the objective."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field

from arbd.daemon.slots.cell import Finding
from arbd.daemon.slots.surroundings import NOT_TOLD
from arbd.errors import ObjectiveError
from arbd.objective import error_place
from arbd.objective.modules import ObjectiveModules
from arbd.values import dataclass

MAX_NAMES = 50


@dataclass(slots=True)
class Tally:
    """What a task's report says beside its rows. `unseen` are the metrics to optimise that no iteration returned yet."""

    unseen: set[str]
    busy_s: float = 0.0
    first_error: str = ""
    names: tuple[str, ...] = ()
    notes: dict[str, None] = field(default_factory=dict)

    def returned(self, names: Collection[str]) -> None:
        """An iteration, or a batch, completed with these metrics."""
        if self.unseen:
            self.unseen.difference_update(names)
            self.names = self.names or tuple(names)[:MAX_NAMES]

    def failed(self, error: str) -> None:
        """An iteration failed."""
        self.first_error = self.first_error or error

    def note(self, finding: Finding) -> None:
        """Keep what people should know of an objective's manners."""
        for change in finding.changed:
            if change in NOT_TOLD:
                continue
            self.notes[f"the objective changes {change}, which is put back after the iteration"] = None


def describe(error: BaseException) -> str:
    """An exception in words, with the place in the objective's code that it came from."""
    folders = ObjectiveModules.of_this_process().folders
    return error_place.describe(error, folders, named=not isinstance(error, ObjectiveError))
