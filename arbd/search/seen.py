"""Which points stood before: kept as more iterations become known, so that a suggestion never reads them all again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import numpy as np
import numpy.typing as npt

from arbd.search.plan import RUN, PlannedRows
from arbd.search.space import Column
from arbd.values import dataclass


@dataclass(slots=True)
class SeenPoints:
    """The first iteration at each point: of the iterations that are known, and of those planned since.

    `look_at` counts the rows that it was shown, which is what keeping it costs.
    """

    _known: dict[bytes, int] = field(default_factory=dict)
    _planned: dict[bytes, int] = field(default_factory=dict)
    _up_to: int = 0
    looked_at: int = 0

    def begin(self, rows: PlannedRows, up_to: int) -> None:
        """Know iterations 1 to `up_to`, which are `rows`, and forget what was planned."""
        if up_to < self._up_to:
            self._known, self._up_to = {}, 0
        self._planned = {}
        if up_to > self._up_to:
            self._add(self._known, rows.select(slice(self._up_to, up_to)), self._up_to + 1)
            self._up_to = up_to

    def plan(self, rows: PlannedRows, first: int) -> None:
        """Consecutive iterations from `first` on, whose results are not known."""
        self._add(self._planned, rows, first)

    def _add(self, into: dict[bytes, int], rows: PlannedRows, first: int) -> None:
        self.looked_at += len(rows)
        for row, key in enumerate(keys_of(rows.columns, rows.budget)):
            if rows.origin[row] == RUN:
                into.setdefault(key, first + row)

    def put(self, key: bytes, iteration: int) -> None:
        """One iteration that is planned."""
        self._planned.setdefault(key, iteration)

    def of(self, key: bytes) -> int:
        """The iteration, 0 when there is none."""
        return self._known.get(key) or self._planned.get(key, 0)


def keys_of(columns: Mapping[str, Column], budget: npt.NDArray[np.float64] | None) -> list[bytes]:
    """A key for each row: the same for the same values and the same budget (None: all of the data)."""
    n = len(next(iter(columns.values())))
    parts = [*columns.values(), np.ones(n) if budget is None else budget]
    table = np.empty((n, len(parts)), dtype=np.uint64)
    for position, part in enumerate(parts):
        table[:, position] = np.ascontiguousarray(part).view(np.uint64)
    data, width = table.tobytes(), 8 * len(parts)
    return [data[start : start + width] for start in range(0, n * width, width)]
