"""Some rows of a table, ranked by themselves."""

from __future__ import annotations

from arbd.analysis.table import ResultTable
from arbd.arrays import Array
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class SomeRows:
    """Some rows of a table, as `RankedColumns`."""

    table: ResultTable
    ranked: Array

    def __len__(self) -> int:
        return len(self.table)

    @property
    def completed(self) -> Array:
        """Which rows have a result."""
        return self.table.completed

    @property
    def violation(self) -> Array | None:
        """By how much each row breaks the constraints."""
        return self.table.violation

    @property
    def budget(self) -> Array | None:
        """The part of the data that each row used."""
        return self.table.budget

    def column(self, metric: str) -> Array | None:
        """A metric of all rows."""
        return self.table.column(metric)
