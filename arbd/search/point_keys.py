"""Points of the unit cube as numbers, so that those that are taken are found among many without a look at each."""

from __future__ import annotations

from dataclasses import field

import numpy as np
import numpy.typing as npt

from arbd.search.space import Unit
from arbd.values import dataclass

Keys = npt.NDArray[np.uint64]
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


def point_keys(points: Unit) -> Keys:
    """A number for each row: the same for the same numbers. Others have it too once in 2^64."""
    # Adding 0 makes -0 the 0 that it equals.
    bits = np.ascontiguousarray(points + 0.0).view(np.uint64)
    keys = np.zeros(len(points), dtype=np.uint64)
    for column in range(bits.shape[1]):
        keys = (keys ^ bits[:, column]) * _MULTIPLIER
        keys ^= keys >> _SHIFT
    return keys


@dataclass(slots=True)
class TakenPoints:
    """Points of the unit cube that are not to be proposed again."""

    _sorted: Keys
    _added: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, points: Unit) -> TakenPoints:
        """All of these."""
        return cls(np.sort(point_keys(points)))

    def add(self, point: Unit) -> None:
        """One more."""
        self._added.add(int(point_keys(point[None, :])[0]))

    def among(self, points: Unit) -> npt.NDArray[np.bool_]:
        """Which of these points are taken."""
        keys = point_keys(points)
        found = np.zeros(len(keys), dtype=bool)
        if len(self._sorted):
            place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
            found = self._sorted[place] == keys
        if self._added:
            found |= np.isin(keys, np.array(sorted(self._added), dtype=np.uint64))
        return np.asarray(found)
