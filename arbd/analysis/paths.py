"""Returns of folds that test the same times, put together into one history."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from arbd.arrays import Array
from arbd.job.validation import FoldWindows


def path_mean(parts: Sequence[Array], folds: Sequence[FoldWindows]) -> Array:
    """The mean return of all folds in each block of time, from the returns of each fold on its test groups, in order.

    The groups are those between any two neighbouring edges of the folds' test windows, which all have the same length.
    """
    edges = edges_of(folds)
    found: dict[int, list[Array]] = {}
    for part, fold in zip(parts, folds, strict=True):
        groups = [start for start, end in pairwise(edges) if any(a <= start and end <= b for a, b in fold.test[0])]
        for start, returns in zip(groups, np.array_split(part, len(groups)), strict=True):
            found.setdefault(start, []).append(returns)
    means = []
    for start in sorted(found):
        # Groups whose length is no multiple of a step differ by one.
        length = min(len(returns) for returns in found[start])
        means.append(np.mean([returns[:length] for returns in found[start]], axis=0))
    return np.concatenate(means)


def edges_of(folds: Sequence[FoldWindows]) -> list[int]:
    """Where the test windows of one market begin and end."""
    return sorted({edge for fold in folds for window in fold.test[0] for edge in window})
