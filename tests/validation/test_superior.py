"""The bootstrap tests know how many trials there were, and hold their level."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import NotComputableError, UsageError
from arbd.validation import step_m, superior_predictive_ability
from arbd.validation.superior import bootstrap_deviation, stationary_bootstrap


def _noise(seed: int = 7, steps: int = 500, trials: int = 30) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 0.01, (steps, trials))


@pytest.mark.parametrize(
    ("added", "golden"), [(0.0, (0.476, 0.687, 0.6905)), (0.0015, (0.0015, 0.0035, 0.0035))], ids=["luck", "edge"]
)
def test_p_values_without_studentising_are_those_of_arch(added: float, golden: tuple[float, float, float]) -> None:
    returns = _noise()
    returns[:, 0] += added
    found = superior_predictive_ability(returns, 10, 2000, studentise=False)
    assert (found.p_lower, found.p_consistent, found.p_upper) == pytest.approx(golden, abs=0.03)


def test_the_bootstrap_keeps_blocks_together_and_uses_every_time_alike() -> None:
    together = {}
    for block in (1.0, 10.0):
        counts = stationary_bootstrap(50, block, 4_000, np.random.default_rng(1))
        assert (counts.sum(axis=1) == 50).all()
        np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.12)
        together[block] = np.corrcoef(counts[:, 20], counts[:, 21])[0, 1]
    assert abs(together[1.0]) < 0.1
    assert together[10.0] > 0.75


@pytest.mark.parametrize("block", [1.0, 5.0, 20.0])
def test_the_deviation_is_that_of_resampled_means(block: float) -> None:
    rng = np.random.default_rng(2)
    returns = np.cumsum(rng.standard_normal((60, 3)), axis=0)
    weights = stationary_bootstrap(60, block, 20_000, np.random.default_rng(3)) / 60
    found = bootstrap_deviation(returns, block)
    np.testing.assert_allclose(found, np.std(weights @ returns, axis=0) * np.sqrt(60), rtol=0.03)


@pytest.mark.parametrize("shape", ["normal", "small wins and large losses", "bursts"])
@pytest.mark.parametrize("trials", [20, 400])
def test_the_test_holds_its_level_on_noise_of_few_steps(shape: str, trials: int) -> None:
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        returns = 1 - rng.exponential(1, (64, trials)) if shape.startswith("small") else rng.normal(0, 1, (64, trials))
        if shape == "bursts":
            returns *= np.exp(rng.normal(0, 1, (64, 1)))
        found.append(superior_predictive_ability(returns, 1, 200).p_consistent <= 0.05)
    # 5 % of 200 is 10, with a standard deviation of 3.
    assert sum(found) <= 10 + 3 * 3


def test_an_edge_is_found_among_many_trials() -> None:
    found = []
    for seed in range(50):
        returns = _noise(seed, 64, 400)
        returns[:, 3] += 0.007
        found.append(superior_predictive_ability(returns, 1, 200).p_consistent <= 0.05)
    assert np.mean(found) >= 0.8


def test_studentised_trials_are_compared_by_how_sure_they_are() -> None:
    returns = _noise(steps=400, trials=10)
    returns[:, 4] = returns[:, 4] / 50 + 0.0001
    assert superior_predictive_ability(returns, 5, 400).p_consistent < 0.01
    assert superior_predictive_ability(returns, 5, 400, studentise=False).p_consistent > 0.05
    assert superior_predictive_ability(returns, 5, 400).trial == 4


@given(seed=st.integers(0, 1_000), edge=st.floats(-0.01, 0.01), unit=st.floats(1e-6, 1e6), studentise=st.booleans())
@settings(max_examples=40, deadline=None)
def test_p_values_are_ordered_and_the_unit_of_money_does_not_matter(
    seed: int, edge: float, unit: float, studentise: bool
) -> None:
    returns = _noise(seed, 40, 6) + edge
    found = superior_predictive_ability(returns, 4, 99, studentise=studentise)
    assert 0 < found.p_lower <= found.p_consistent <= found.p_upper <= 1
    scaled = superior_predictive_ability(returns * unit, 4, 99, studentise=studentise)
    assert scaled.p_consistent == pytest.approx(found.p_consistent, abs=1e-9)
    turned = superior_predictive_ability(returns[:, ::-1], 4, 99, studentise=studentise)
    assert turned.p_consistent == pytest.approx(found.p_consistent, abs=1e-9)
    assert turned.trial == 5 - found.trial or found.statistic == 0


def test_adding_trials_that_never_traded_changes_nothing() -> None:
    returns = _noise()
    found = superior_predictive_ability(returns, 5, 200)
    more = superior_predictive_ability(np.concatenate([np.zeros((500, 4)), returns], axis=1), 5, 200)
    assert (more.p_consistent, more.tested, more.trial) == (found.p_consistent, 30, found.trial + 4)


def test_a_crowd_of_clearly_bad_trials_does_not_hide_a_good_one() -> None:
    rng = np.random.default_rng(11)
    returns = np.concatenate([rng.normal(0.002, 0.01, (300, 1)), rng.normal(-0.01, 0.01, (300, 500))], axis=1)
    found = superior_predictive_ability(returns, 5, 500)
    assert found.p_consistent < 0.02
    assert found.p_upper > 3 * found.p_consistent


def test_where_no_trial_earned_nothing_speaks_for_skill() -> None:
    found = superior_predictive_ability(_noise() - 0.05, 5, 100)
    assert (found.statistic, found.p_consistent, found.p_upper) == (0.0, 1.0, 1.0)


def test_the_superior_set_is_found_step_by_step() -> None:
    returns = _noise(steps=400, trials=50)
    returns[:, [4, 17]] += 0.004
    assert step_m(returns, block=5, reps=400).tolist() == [4, 17]
    assert step_m(_noise(), block=5, reps=400).tolist() == []
    assert step_m(np.abs(_noise(trials=3)), block=5, reps=400).tolist() == [0, 1, 2]


@pytest.mark.parametrize("statistic", [superior_predictive_ability, step_m])
@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        (np.zeros((100, 0)), "no trial"),
        (np.ones((5, 2)), "at least 8 steps; there are 5"),
        (np.zeros((100, 3)), "all 3 trials are without any spread"),
        (np.eye(20)[:, :3], "none of 3 trials has returns in at least 10 steps"),
        (np.full((100, 2), np.nan), "2 of 2 trials are not finite"),
    ],
)
def test_what_cannot_be_computed_says_why(statistic: object, returns: npt.ArrayLike, reason: str) -> None:
    assert callable(statistic)
    with pytest.raises(NotComputableError, match=reason):
        statistic(returns, block=2)


@pytest.mark.parametrize("block", [0.5, 101.0])
def test_blocks_that_make_no_sense_are_refused(block: float) -> None:
    with pytest.raises(UsageError, match="mean block"):
        superior_predictive_ability(np.zeros((100, 1)), block)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_levels_that_make_no_sense_are_refused(level: float) -> None:
    with pytest.raises(UsageError, match="level"):
        step_m(_noise(), level)


def test_a_trial_that_is_asked_for_is_judged_among_all() -> None:
    returns = _noise()
    returns[:, 3] += 0.002
    best = superior_predictive_ability(returns, 5, 400)
    assert superior_predictive_ability(returns, 5, 400, trial=3) == best
    other = superior_predictive_ability(returns, 5, 400, trial=4)
    assert other.p_consistent > best.p_consistent
    assert other.trial == 4
    with pytest.raises(NotComputableError, match="trial 30 has no returns"):
        superior_predictive_ability(returns, 5, 400, trial=30)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.5])
def test_the_critical_value_is_where_the_p_value_reaches_the_level(level: float) -> None:
    for seed in range(30):
        returns = _noise(seed, 100, 8) + 0.001
        found = superior_predictive_ability(returns, 2, 199, level=level)
        assert (found.p_consistent <= level) == (found.statistic > found.critical)


def test_a_level_finer_than_the_resamples_is_never_reached() -> None:
    assert superior_predictive_ability(_noise() + 0.01, 2, 99, level=0.001).critical == float("inf")
