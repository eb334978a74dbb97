"""What a fixed plan runs in the place of a point that may not run: another point, that may, by its number alone.

Keeps I5: a range of iterations is the slice of the whole, whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Callable

from arbd.arrays import Mask, np
from arbd.search.samplers.random import uniform_points
from arbd.search.seeds import iteration_seed
from arbd.search.space import Columns, SearchSpace

# Points that are tried for one iteration, so many at once. Where none of them may run, the iteration does not.
TRIES, AT_ONCE = 4_096, 256

MayRun = Callable[[Columns, int], Mask]


def refilled(space: SearchSpace, seed: int, columns: Columns, first: int, may_run: MayRun) -> Columns:
    """Iterations from `first` on, of which those that may not run have other points, as far as some are found."""
    count = len(next(iter(columns.values())))
    bad = np.flatnonzero(~may_run(columns, count))
    if not len(bad):
        return columns
    found = {name: column.copy() for name, column in columns.items()}
    own = iteration_seed(seed, -1)
    for row in bad.tolist():
        for start in range(0, TRIES, AT_ONCE):
            points = uniform_points(own, len(space.dimensions), (first + row - 1) * TRIES + start + 1, AT_ONCE)
            drawn = space.from_unit(points)
            good = np.flatnonzero(may_run(drawn, AT_ONCE))
            if len(good):
                for name, column in found.items():
                    column[row] = drawn[name][good[0]]
                break
    return found
