"""A plateau is told from a spike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import NotComputableError, UsageError
from arbd.validation import plateau, plateau_optimum


@pytest.mark.parametrize(
    ("best", "neighbours", "ratio", "floor", "kept"),
    [
        (1.0, [1.0] * 8, 1.0, 1.0, 1.0),
        (1.0, [0.0] * 8, 0.0, 0.0, 0.0),
        (1.0, [0.9, 0.9, 0.8, 0.8], 0.85, 0.8, 1.0),
        (2.0, [2.0, math.nan, math.nan], 0.0, 0.0, 1 / 3),
        (2.0, [-4.0, math.nan, -4.0], -2.0, -2.0, 0.0),
        (2.0, [math.inf, -math.inf, math.nan, 2.0], -math.inf, -math.inf, 0.5),
    ],
    ids=["flat", "spike", "tent", "failed neighbours", "failed are no better than the worst", "infinite"],
)
def test_shares_of_the_winner(best: float, neighbours: list[float], ratio: float, floor: float, kept: float) -> None:
    found = plateau(best, neighbours)
    assert (found.ratio, found.floor, found.kept) == pytest.approx((ratio, floor, kept))
    assert found.neighbours == len(neighbours)


@settings(deadline=None)
@given(unit=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_the_unit_and_order_of_scores_do_not_matter(unit: float, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(0.5, 0.5, 12)
    plain, scaled = plateau(1.0, scores), plateau(unit, scores[::-1] * unit)
    assert (plain.ratio, plain.floor) == pytest.approx((scaled.ratio, scaled.floor))


@pytest.mark.parametrize(
    ("best", "neighbours", "reason"),
    [
        (0.0, [1.0], "not above 0"),
        (-1.0, [1.0], "not above 0"),
        (math.nan, [1.0], "no finite number"),
        (math.inf, [1.0], "no finite number"),
        (1.0, [], "no neighb"),
    ],
)
def test_what_cannot_be_computed_says_why(best: float, neighbours: list[float], reason: str) -> None:
    with pytest.raises(NotComputableError, match=reason):
        plateau(best, neighbours)


def test_the_plateau_optimum_is_on_the_hill_not_on_the_spike() -> None:
    axis = np.linspace(0, 1, 41)
    scores = np.maximum(0, 1 - 4 * np.abs(axis - 0.7))
    scores[5] = 3.0
    assert int(scores.argmax()) == 5
    assert axis[plateau_optimum(axis[:, None], scores)] == pytest.approx(0.7)


def test_points_without_neighbours_and_failed_ones_are_passed_over() -> None:
    points = [[0.0], [0.5], [0.51], [0.52], [0.53]]
    assert plateau_optimum(points, [9.0, math.nan, 1.0, 2.0, 1.0]) == 3
    with pytest.raises(NotComputableError, match="no point has 3 others within 5% of the range on each of 1 axes"):
        plateau_optimum([[0.0], [1.0]], [1.0, 2.0])


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="points of shape"):
        plateau_optimum([[0.0]], [1.0, 2.0])
    with pytest.raises(UsageError, match="neighbours of shape"):
        plateau(1.0, [[1.0]])


@pytest.mark.parametrize(("step", "near"), [(0.05, True), (0.06, False), (0.09, False)])
def test_neighbours_are_within_the_radius_which_is_near_enough(step: float, near: bool) -> None:
    points, scores = [[number * step] for number in range(5)], [1.0, 2.0, 3.0, 2.0, 1.0]
    if near:
        assert plateau_optimum(points, scores, radius=0.05, min_neighbours=2) == 2
        return
    with pytest.raises(NotComputableError, match="no point has 2 others within 5% of the range"):
        plateau_optimum(points, scores, radius=0.05, min_neighbours=2)
