"""Ages of two venues' quotes in the room of one column.

Where a row stands for each time at which either venue quoted, one of its ages is 0: their difference tells both. Rows of
which it does not (a payment of funding, the first after a gap) are kept beside it. Whoever reads some rows gets the ages
themselves; nobody holds those of a whole market.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.paper.market.growing import GrowingArray, mapped

IntArray = npt.NDArray[np.int64]

# Arrays of an entry: A's age less B's, and the rows that it does not tell with both of their ages, shape (m, 2).
LAG, ODD_ROWS, ODD_AGES = "age_lag_ns", "age_odd_rows", "age_odd_ns"
# Of more rows than one in so many that the difference does not tell, both columns are less room.
ODD_SHARE = 16
PIECE_ROWS = 1 << 18


class LagAges:
    """A column of ages, in ns, that is told by a difference; some rows of it are one too, and `np.asarray` makes them.

    Only what ages are asked for: length, stretches of rows (with a step), the largest.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], venue: int, rows: range | None = None) -> None:
        self._arrays, self._venue = arrays, venue
        self._rows = range(len(arrays[LAG])) if rows is None else rows
        self.strides, self.shape = (8,), (len(self._rows),)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> LagAges:
        found = self._rows[rows]
        assert found.step > 0
        return LagAges(self._arrays, self._venue, found)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        rows = self._rows
        lag = self._arrays[LAG][rows.start : rows.stop : rows.step]
        ages: IntArray = np.maximum(lag if self._venue == 0 else np.negative(lag), 0)
        odd = self._arrays[ODD_ROWS]
        among = slice(*np.searchsorted(odd, [rows.start, rows.stop]).tolist())
        at = odd[among] - rows.start
        met = at % rows.step == 0
        ages[at[met] // rows.step] = self._arrays[ODD_AGES][among][met, self._venue]
        return ages if dtype is None else ages.astype(dtype)

    def max(self) -> int:
        """The largest age; there is a row at least."""
        starts = range(0, len(self), PIECE_ROWS)
        return max(int(np.asarray(self[start : start + PIECE_ROWS]).max()) for start in starts)


AgeColumn = IntArray | LagAges


def write_lag(age_a: Path, age_b: Path, folder: Path) -> None:
    """Put the difference in the place of two columns on disk, which may not be constant, unless that saves nothing."""
    ages_a, ages_b = mapped(age_a), mapped(age_b)
    n = len(ages_a)
    none = np.empty(0, dtype=np.int64)
    lag, rows, both = (
        GrowingArray(folder / f"{name}.npy", like)
        for name, like in ((LAG, none), (ODD_ROWS, none), (ODD_AGES, np.empty((0, 2), dtype=np.int64)))
    )
    for start in range(0, n, PIECE_ROWS):
        a, b = ages_a[start : start + PIECE_ROWS], ages_b[start : start + PIECE_ROWS]
        odd = np.flatnonzero(np.minimum(a, b) != 0)
        lag.append(a - b)
        rows.append(odd + start)
        both.append(np.stack([a[odd], b[odd]], axis=1))
    saves = rows.n <= n // ODD_SHARE
    for array in (lag, rows, both):
        array.finish()
        if not saves:
            array.path.unlink()
    if saves:
        age_a.unlink()
        age_b.unlink()
