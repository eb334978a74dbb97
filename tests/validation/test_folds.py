"""No search sees a row of its test, nor one from which a position could reach into it."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arbd.errors import NotComputableError, UsageError
from arbd.validation import CombinatorialFolds, Fold, combinatorial_purged, walk_forward


@st.composite
def schemes(draw: st.DrawFn) -> tuple[np.ndarray, tuple[Fold, ...], int, int]:
    """Times of rows, folds over them, purge and embargo."""
    start = draw(st.integers(-50, 50))
    length = draw(st.integers(20, 300))
    purge = draw(st.integers(0, 6))
    at = np.sort(np.array(draw(st.lists(st.integers(start, start + length - 1), min_size=1, max_size=80))))
    if draw(st.booleans()):
        train, test = draw(st.integers(purge + 1, 40)), draw(st.integers(1, 30))
        assume(train + test <= length)
        step = draw(st.none() | st.integers(1, 40))
        folds = walk_forward(start, start + length, train, test, step, anchored=draw(st.booleans()), purge=purge)
        return at, folds, purge, 0
    groups = draw(st.integers(3, 7))
    embargo = draw(st.integers(0, 6))
    test_groups = draw(st.integers(1, groups - 1))
    try:
        made = combinatorial_purged(start, start + length, groups, test_groups, purge=purge, embargo=embargo)
    except NotComputableError:
        assume(False)
        raise
    return at, made.folds, purge, embargo


@settings(deadline=None)
@given(schemes(), st.data())
def test_changing_any_row_of_a_test_changes_no_row_that_its_search_sees(
    scheme: tuple[np.ndarray, tuple[Fold, ...], int, int], data: st.DataObject
) -> None:
    at, folds, _, _ = scheme
    fold = data.draw(st.sampled_from(folds))
    prices = np.arange(len(at), dtype=float)
    changed = np.where(fold.test_rows(at), -1.0, prices)
    assert prices[fold.train_rows(at)].tolist() == changed[fold.train_rows(at)].tolist()


@settings(deadline=None)
@given(schemes())
def test_training_keeps_its_distance_before_and_after_every_test(
    scheme: tuple[np.ndarray, tuple[Fold, ...], int, int],
) -> None:
    at, folds, purge, embargo = scheme
    for fold in folds:
        for row in at[fold.train_rows(at)]:
            for test in fold.test:
                assert row + purge < test.start or row >= test.end + embargo


@settings(deadline=None)
@given(schemes())
def test_windows_are_in_order_of_time_without_overlap(scheme: tuple[np.ndarray, tuple[Fold, ...], int, int]) -> None:
    _, folds, _, _ = scheme
    for fold in folds:
        for windows in (fold.train, fold.test):
            assert windows
            assert all(window.start < window.end for window in windows)
            assert all(one.end <= two.start for one, two in pairwise(windows))


def test_walk_forward_rolls_or_grows() -> None:
    rolling = walk_forward(0, 10, 4, 2, purge=1)
    assert [(f.train[0].start, f.train[0].end, f.test[0].start, f.test[0].end) for f in rolling] == [
        (0, 3, 4, 6), (2, 5, 6, 8), (4, 7, 8, 10),
    ]  # fmt: skip
    anchored = walk_forward(0, 10, 4, 2, anchored=True)
    assert [(f.train[0].start, f.train[0].end) for f in anchored] == [(0, 4), (0, 6), (0, 8)]
    assert [f.test[0].start for f in walk_forward(0, 10, 4, 2, 3)] == [4, 7]


@pytest.mark.parametrize(("groups", "tests", "splits", "paths"), [(6, 2, 15, 5), (10, 8, 45, 36), (10, 2, 45, 9)])
def test_combinations_and_paths_are_as_many_as_published(groups: int, tests: int, splits: int, paths: int) -> None:
    made = combinatorial_purged(0, 600, groups, tests)
    assert (len(made.folds), len(made.paths)) == (splits, paths)
    assert paths == comb(groups, tests) * tests // groups


@settings(deadline=None)
@given(groups=st.integers(2, 8), data=st.data())
def test_each_path_tests_every_group_once_and_no_test_is_used_twice(groups: int, data: st.DataObject) -> None:
    tests = data.draw(st.integers(1, groups - 1))
    made: CombinatorialFolds = combinatorial_purged(0, 100, groups, tests)
    used = [(fold, group) for path in made.paths for group, fold in enumerate(path)]
    assert len(used) == len(set(used)) == len(made.folds) * tests
    for fold, group in used:
        window = made.groups[group]
        assert any(test.start <= window.start and window.end <= test.end for test in made.folds[fold].test)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: walk_forward(0, 10, 8, 3), "training 8 and test 3 need 11; there are 10"),
        (lambda: combinatorial_purged(0, 5, 10), "5 cannot be cut into 10 groups"),
        (lambda: combinatorial_purged(0, 100, 4, 2, purge=50), "leave nothing to train on"),
    ],
)
def test_schemes_that_do_not_fit_say_why(make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(NotComputableError, match=reason):
        make()


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: walk_forward(0, 10, 0, 3), "train 0"),
        (lambda: walk_forward(0, 10, 3, 3, purge=3), "leaves nothing"),
        (lambda: walk_forward(0, 10**9, 1, 1), "more than 10,000 folds"),
        (lambda: combinatorial_purged(0, 100, 4, 4), "at least 1 left to train on"),
        (lambda: combinatorial_purged(0, 100, 4, 2, purge=-1), "purge of -1"),
        (lambda: combinatorial_purged(0, 100, 40, 20), "more than 10,000 folds"),
    ],
)
def test_schemes_that_make_no_sense_are_refused(make: object, fault: str) -> None:
    assert callable(make)
    with pytest.raises(UsageError, match=fault):
        make()
