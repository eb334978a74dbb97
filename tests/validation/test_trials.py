"""Trials that trade alike count as few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import NotComputableError, UsageError
from arbd.validation import effective_trials


@pytest.mark.parametrize(("steps", "trials"), [(64, 50), (64, 1_000), (2_000, 100)])
def test_independent_trials_count_in_full_even_where_steps_are_fewer(steps: int, trials: int) -> None:
    returns = np.random.default_rng(steps).standard_normal((steps, trials))
    assert effective_trials(returns) == pytest.approx(trials, rel=0.15)


@given(clusters=st.integers(1, 12), copies=st.integers(1, 20))
@settings(deadline=None)
def test_copies_count_once(clusters: int, copies: int) -> None:
    originals = np.random.default_rng(1).standard_normal((2_000, clusters))
    assert effective_trials(np.tile(originals, (1, copies))) == pytest.approx(clusters, rel=0.1)


@given(scale=st.floats(0.01, 100), shift=st.floats(-1, 1))
@settings(deadline=None)
def test_unit_and_mean_of_a_trial_do_not_matter(scale: float, shift: float) -> None:
    returns = np.random.default_rng(2).standard_normal((64, 10))
    changed = returns.copy()
    changed[:, 3] = changed[:, 3] * scale + shift
    assert effective_trials(changed) == pytest.approx(effective_trials(returns), rel=1e-6)


def test_sums_over_blocks_do_and_trials_that_never_traded_do_not_count() -> None:
    returns = np.random.default_rng(3).standard_normal((64, 10))
    idle = np.concatenate([returns, np.zeros((64, 5))], axis=1)
    assert effective_trials(s=returns.T) == effective_trials(returns)
    assert effective_trials(idle) == pytest.approx(effective_trials(returns))


@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        (np.zeros((64, 3)), "all 3 trials are without any spread"),
        (np.zeros((64, 0)), "all 0 trials"),
        (np.ones((3, 2)), "at least 4 steps"),
        ([[np.inf]] * 5, "1 of 1 trials are not finite"),
    ],
)
def test_what_cannot_be_computed_says_why(returns: np.ndarray, reason: str) -> None:
    with pytest.raises(NotComputableError, match=reason):
        effective_trials(returns)


def test_returns_or_sums_are_given_not_both() -> None:
    with pytest.raises(UsageError, match="either"):
        effective_trials(np.zeros((8, 2)), s=np.zeros((2, 8)))
