"""Pareto fronts and hypervolumes are those of a public implementation."""

from __future__ import annotations

import moocore
import numpy as np
import pytest

from arbd.tuning.pareto import crowding, front_numbers, hypervolume, pareto_mask


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
