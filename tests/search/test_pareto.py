"""Pareto fronts, ranks and hypervolumes are what their definitions say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.search import pareto
from arbd.search.pareto import Floats, crowding, front_numbers, hypervolume, pareto_mask

# Few different values: ties and equal points abound.
VALUES = st.sampled_from([-math.inf, -1.0, 0.0, -0.0, 1.0, 2.0, math.inf, math.nan])


@st.composite
def losses(draw: st.DrawFn, values: st.SearchStrategy[float] = VALUES) -> Floats:
    objectives = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(values, min_size=objectives, max_size=objectives), max_size=12))
    return np.array(rows, dtype=np.float64).reshape(-1, objectives)


def dominates(one: Floats, other: Floats) -> bool:
    return bool((one <= other).all() and (one < other).any())


def fronts_by_definition(points: Floats) -> list[int]:
    n = len(points)
    left = [i for i in range(n) if not np.isnan(points[i]).any()]
    numbers, number = [n] * n, 0
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        for i in front:
            numbers[i] = number
        left = [i for i in left if i not in front]
        number += 1
    return numbers


def volume_by_definition(points: Floats, reference: Floats) -> float:
    """Of all boxes together: what each set of them has in common, added and taken away in turn."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for chosen in itertools.combinations(range(len(points)), size):
            corner = np.maximum.reduce([points[i] for i in chosen])
            total += (-1) ** (size + 1) * float(np.prod(np.maximum(reference - corner, 0.0)))
    return total


@given(losses())
@settings(max_examples=300, deadline=None)
def test_fronts_are_those_of_the_definition_and_hold_every_equal_point(points: Floats) -> None:
    expected = fronts_by_definition(points)
    assert front_numbers(points).tolist() == expected
    known = ~np.isnan(points).any(axis=1)
    assert pareto_mask(points).tolist() == [bool(k) and number == 0 for k, number in zip(known, expected, strict=True)]


@given(losses(st.sampled_from([-1.0, -0.25, 0.0, 0.5, 1.0, 2.0])), st.sampled_from([0.75, 3.0]))
@settings(max_examples=100, deadline=None)
def test_a_volume_is_that_of_the_union_of_boxes(points: Floats, corner: float) -> None:
    reference = np.full(points.shape[1], corner)
    inside = np.unique(points[(points < reference).all(axis=1)], axis=0)
    assert hypervolume(points, reference) == pytest.approx(volume_by_definition(inside, reference), rel=1e-9)


def test_a_point_with_an_undefined_loss_is_in_no_front() -> None:
    found = np.array([[np.nan, 0.0], [1.0, 1.0], [2.0, 2.0]])
    assert pareto_mask(found).tolist() == [False, True, False]
    assert front_numbers(found).tolist() == [3, 0, 1]


def test_the_ends_of_a_front_are_the_least_crowded() -> None:
    distance = crowding(np.array([[0.0, 1.0], [0.4, 0.6], [0.5, 0.5], [1.0, 0.0]]))
    assert np.isinf(distance[[0, 3]]).all()
    assert distance[2] > distance[1]


def test_nothing_dominates_no_volume() -> None:
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0.0
    assert hypervolume(np.full((1, 2), 2.0), np.ones(2)) == 0.0


@pytest.mark.parametrize("objectives", [4, 11])
def test_a_volume_of_too_much_work_is_left_out(objectives: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A step of the front's own for each point, so that none dominates another.
    points = np.random.default_rng(1).random((20, objectives))
    points[:, 0] = np.sort(points[:, 0])
    points[:, 1] = np.sort(points[:, 1])[::-1]
    assert hypervolume(points, np.ones(objectives)) > 0
    monkeypatch.setattr(pareto, "MOST_POINTS", {4: 19})
    monkeypatch.setattr(pareto, "MOST_POINTS_BEYOND", 19)
    assert math.isnan(hypervolume(points, np.ones(objectives)))
    # Equal points cost nothing.
    assert hypervolume(points[np.repeat(np.arange(19), 3)], np.ones(objectives)) > 0


def test_an_infinite_loss_makes_no_volume_and_one_of_nothing_adds_none() -> None:
    found = np.array([[-np.inf, 3.0], [-2.0, 1.0]])
    assert math.isnan(hypervolume(found, np.array([0.0, 5.0])))
    assert hypervolume(np.array([[np.inf, 0.0], [1.0, 1.0]]), np.array([2.0, 2.0])) == 1.0
