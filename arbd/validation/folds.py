"""Windows of training and test that do not leak: walk-forward, and combinatorial purged cross-validation.

Windows are half-open, [start, end), in any whole unit: nanoseconds of a market, or numbers of rows. Before a test,
training ends early by the `purge`, so that no position begun in training reaches into the test; after a test, training
begins late by the `embargo`, so that none of the test reaches into training. Both should be the longest holding time
plus latencies.

Sources: Pardo, "The Evaluation and Optimization of Trading Strategies", 2008; López de Prado, "Advances in Financial
Machine Learning", 2018, chapters 7 and 12.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from math import comb

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError, UsageError
from arbd.values import dataclass

MAX_FOLDS = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open interval [start, end)."""

    start: int
    end: int

    def rows(self, at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the times or numbers `at` are in it."""
        return np.asarray((at >= self.start) & (at < self.end))


@dataclass(frozen=True, slots=True)
class Fold:
    """What one search may see, and what its finalists are tested on; both in order of time, without overlap."""

    train: tuple[Window, ...]
    test: tuple[Window, ...]

    def train_rows(self, at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the times or numbers `at` the search may see."""
        return _in_any(self.train, at)

    def test_rows(self, at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the times or numbers `at` are tested on."""
        return _in_any(self.test, at)


@dataclass(frozen=True, slots=True)
class CombinatorialFolds:
    """One fold for each choice of test groups; `paths` (n_paths, n_groups): the fold that tests each group of a path.

    A path takes every group once from a fold that had it in its test, so each is a whole history out of sample.
    """

    groups: tuple[Window, ...]
    folds: tuple[Fold, ...]
    paths: tuple[tuple[int, ...], ...]


def walk_forward(
    start: int, end: int, train: int, test: int, step: int | None = None, *, anchored: bool = False, purge: int = 0
) -> tuple[Fold, ...]:
    """Folds that train on `train` and test on the `test` after it, moved on by `step` (default: `test`) each time.

    `anchored` lets every training begin at `start`. Training ends `purge` before its test; no embargo is needed, as
    no training follows its own test. A last test that would reach over `end` is left out. NotComputableError where
    not even one fold fits; UsageError for lengths that make no sense.
    """
    step = test if step is None else step
    if train <= 0 or test <= 0 or step <= 0 or purge < 0:
        raise UsageError(f"walk-forward with train {train}, test {test}, step {step}, purge {purge}; expected lengths")
    if purge >= train:
        raise UsageError(f"a purge of {purge} leaves nothing of a training window of {train}")
    if start + train + test > end:
        raise NotComputableError(f"training {train} and test {test} need {train + test}; there are {end - start}")
    if (end - start - train - test) // step >= MAX_FOLDS:
        raise UsageError(f"steps of {step} give more than {MAX_FOLDS:,} folds")
    return tuple(
        Fold((Window(start if anchored else at - train, at - purge),), (Window(at, at + test),))
        for at in range(start + train, end - test + 1, step)
    )


def combinatorial_purged(
    start: int, end: int, groups: int = 10, test_groups: int = 2, *, purge: int = 0, embargo: int | None = None
) -> CombinatorialFolds:
    """All choices of `test_groups` of `groups` equal parts of [start, end) as test, the rest as training.

    Training ends `purge` before each test and begins `embargo` (default: as much) after it. There are
    C(groups, test_groups) folds and C(groups - 1, test_groups - 1) paths. NotComputableError where purge and embargo
    leave a fold no training, or a group would be empty.
    """
    embargo = purge if embargo is None else embargo
    if not 1 <= test_groups < groups:
        raise UsageError(
            f"{test_groups} of {groups} groups are tested; expected at least 1, and at least 1 left to train on"
        )
    if purge < 0 or embargo < 0:
        raise UsageError(f"a purge of {purge} and an embargo of {embargo}; expected 0 or more")
    if comb(groups, test_groups) > MAX_FOLDS:
        raise UsageError(f"{test_groups} of {groups} groups give more than {MAX_FOLDS:,} folds")
    if end - start < groups:
        raise NotComputableError(f"{end - start} cannot be cut into {groups} groups")
    edges = [start + (end - start) * group // groups for group in range(groups + 1)]
    windows = tuple(Window(*edge) for edge in pairwise(edges))
    folds = []
    tested: list[list[int]] = [[] for _ in windows]
    for number, chosen in enumerate(combinations(range(groups), test_groups)):
        test = _joined([windows[group] for group in chosen])
        train = _outside(start, end, test, purge, embargo)
        if not train:
            raise NotComputableError(f"purge {purge} and embargo {embargo} leave nothing to train on beside {test}")
        folds.append(Fold(train, test))
        for group in chosen:
            tested[group].append(number)
    return CombinatorialFolds(windows, tuple(folds), tuple(zip(*tested, strict=True)))


def _joined(windows: list[Window]) -> tuple[Window, ...]:
    joined = windows[:1]
    for window in windows[1:]:
        if window.start == joined[-1].end:
            joined[-1] = Window(joined[-1].start, window.end)
        else:
            joined.append(window)
    return tuple(joined)


def _outside(start: int, end: int, test: tuple[Window, ...], purge: int, embargo: int) -> tuple[Window, ...]:
    train, at = [], start
    for window in test:
        train.append(Window(at, window.start - purge))
        at = window.end + embargo
    train.append(Window(at, end))
    return tuple(window for window in train if window.start < window.end)


def _in_any(windows: tuple[Window, ...], at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    inside = np.zeros(at.shape, dtype=np.bool_)
    for window in windows:
        inside |= window.rows(at)
    return inside
