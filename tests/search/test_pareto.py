"""Pareto fronts and hypervolumes are those of a public implementation."""

from __future__ import annotations

import math

import moocore
import numpy as np
import pytest

from arbd.search.pareto import crowding, front_numbers, hypervolume, pareto_mask


@pytest.mark.parametrize("seed", range(50))
def test_front_and_hypervolume_equal_those_of_moocore(seed: int) -> None:
    rng = np.random.default_rng(seed)
    objectives = int(rng.integers(2, 5))
    losses = rng.random((int(rng.integers(1, 90)), objectives))
    if seed % 3 == 0:
        # Ties and equal points.
        losses = np.round(losses, 1)
    reference = np.full(objectives, rng.choice((0.7, 1.1)))
    assert pareto_mask(losses).tolist() == moocore.is_nondominated(losses, keep_weakly=True).tolist()
    assert hypervolume(losses, reference) == pytest.approx(
        moocore.hypervolume(losses, ref=reference), rel=1e-12, abs=1e-15
    )
    ranks = moocore.pareto_rank(losses)
    assert front_numbers(losses).tolist() == (ranks - ranks.min()).tolist()


def test_a_point_with_an_undefined_loss_is_in_no_front() -> None:
    losses = np.array([[np.nan, 0.0], [1.0, 1.0], [2.0, 2.0]])
    assert pareto_mask(losses).tolist() == [False, True, False]
    assert front_numbers(losses).tolist() == [3, 0, 1]


def test_large_sets_are_cut_into_blocks_without_changing_the_front() -> None:
    losses = np.random.default_rng(1).random((3_000, 3))
    assert pareto_mask(losses).tolist() == moocore.is_nondominated(losses, keep_weakly=True).tolist()


def test_the_ends_of_a_front_are_the_least_crowded() -> None:
    distance = crowding(np.array([[0.0, 1.0], [0.4, 0.6], [0.5, 0.5], [1.0, 0.0]]))
    assert np.isinf(distance[[0, 3]]).all()
    assert distance[2] > distance[1]


def test_nothing_dominates_no_volume() -> None:
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0.0
    assert hypervolume(np.full((1, 2), 2.0), np.ones(2)) == 0.0


@pytest.mark.parametrize("decimals", [1, 2, 16])
def test_a_thousand_points_of_three_objectives_are_swept(decimals: int) -> None:
    points = np.abs(np.random.default_rng(decimals).normal(size=(1_000, 3)))
    losses = np.round(1 - points / np.linalg.norm(points, axis=1)[:, None], decimals)
    assert hypervolume(losses, np.ones(3)) == pytest.approx(moocore.hypervolume(losses, ref=np.ones(3)), rel=1e-12)


def test_a_volume_of_too_much_work_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = np.random.default_rng(1).random((60, 5))
    assert hypervolume(losses, np.ones(5)) == pytest.approx(moocore.hypervolume(losses, ref=np.ones(5)), rel=1e-12)
    monkeypatch.setattr("arbd.search.pareto.MOST_COMPARISONS", 1e6)
    assert math.isnan(hypervolume(losses, np.ones(5)))


def test_an_infinite_loss_makes_no_volume_and_one_of_nothing_adds_none() -> None:
    losses = np.array([[-np.inf, 3.0], [-2.0, 1.0]])
    assert math.isnan(hypervolume(losses, np.array([0.0, 5.0])))
    assert hypervolume(np.array([[np.inf, 0.0], [1.0, 1.0]]), np.array([2.0, 2.0])) == 1.0
