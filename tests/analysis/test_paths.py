"""Returns of folds that overlap in time are put together into one history."""

from __future__ import annotations

import numpy as np
import pytest

from arbd.analysis.paths import path_mean
from arbd.job.validation import FoldWindows
from arbd.validation import combinatorial_purged


@pytest.mark.parametrize(("groups", "test_groups"), [(4, 1), (4, 2), (5, 3), (6, 2)])
def test_every_group_of_time_is_the_mean_of_the_folds_that_test_it(groups: int, test_groups: int) -> None:
    made = combinatorial_purged(0, groups * 100, groups, test_groups, purge=3)
    folds = [
        FoldWindows((tuple((w.start, w.end) for w in fold.train),), (tuple((w.start, w.end) for w in fold.test),))
        for fold in made.folds
    ]
    parts, expected = [], np.zeros((groups, 8))
    rng = np.random.default_rng(1)
    for fold in made.folds:
        tested = [g for g in range(groups) if any(w.start <= g * 100 < w.end for w in fold.test)]
        own = rng.standard_normal((len(tested), 8))
        for group, returns in zip(tested, own, strict=True):
            expected[group] += returns
        parts.append(own.reshape(-1))
    per_group = len(made.folds) * test_groups / groups
    assert path_mean(parts, folds) == pytest.approx((expected / per_group).reshape(-1))
