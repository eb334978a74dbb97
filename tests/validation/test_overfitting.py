"""The probability of backtest overfitting is that of the paper's definition, however it is computed."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from arbd.errors import NotComputableError, UsageError
from arbd.validation import overfitting_error, probability_of_backtest_overfitting
from tests.validation.seasonal_rules import rule_returns

Array = npt.NDArray[np.float64]


def _by_definition(returns: Array, groups: int, metric: str) -> tuple[list[float], list[float], list[float]]:
    """Logits, and the winner's metric in training and in test, of all splits: plainly, split by split."""
    parts = np.array_split(np.arange(len(returns)), groups)

    def score(chosen: tuple[int, ...]) -> Array:
        rows = returns[np.concatenate([parts[group] for group in chosen])]
        if metric == "mean":
            return rows.mean(axis=0)
        return rows.mean(axis=0) / rows.std(axis=0, ddof=1)

    logits, trained, tested = [], [], []
    for chosen in combinations(range(groups), groups // 2):
        train = score(chosen)
        test = score(tuple(group for group in range(groups) if group not in chosen))
        best = int(train.argmax())
        rank = (test < test[best]).sum() + ((test == test[best]).sum() + 1) / 2
        share = rank / (len(test) + 1)
        logits.append(float(np.log(share / (1 - share))))
        trained.append(float(train[best]))
        tested.append(float(test[best]))
    return logits, trained, tested


@pytest.mark.parametrize("metric", ["sharpe", "mean"])
@pytest.mark.parametrize(("groups", "steps", "trials"), [(2, 8, 3), (4, 40, 7), (6, 60, 2), (8, 80, 30), (10, 50, 5)])
def test_every_split_is_that_of_the_definition(groups: int, steps: int, trials: int, metric: str) -> None:
    returns = np.random.default_rng(groups).standard_normal((steps, trials)) + 0.1
    found = probability_of_backtest_overfitting(returns, groups, metric)
    logits, trained, tested = _by_definition(returns, groups, metric)
    assert found.combinations == comb(groups, groups // 2)
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)
    np.testing.assert_allclose(found.in_sample, trained, rtol=1e-9)
    np.testing.assert_allclose(found.out_of_sample, tested, rtol=1e-9, atol=1e-12)
    assert found.pbo == np.mean(np.array(logits) <= 1e-12)
    assert found.p_loss == np.mean(np.array(tested) < 0)
    if groups > 2:
        assert found.slope == pytest.approx(np.polyfit(trained, tested, 1)[0], rel=1e-6)


@pytest.mark.parametrize(
    ("seed", "added", "pbo", "p_loss"),
    [(0, 0.0, 37 / 70, 36 / 70), (1, 0.0, 29 / 70, 32 / 70), (2, 0.0, 56 / 70, 56 / 70), (0, 0.15, 1 / 70, None)],
)
def test_values_that_a_second_implementation_confirmed(
    seed: int, added: float, pbo: float, p_loss: float | None
) -> None:
    returns = np.random.default_rng(seed).standard_normal((1000, 100))
    returns[:, 0] += added
    found = probability_of_backtest_overfitting(returns, 8)
    assert found.pbo == pytest.approx(pbo, abs=1e-12)
    if p_loss is not None:
        assert found.p_loss == pytest.approx(p_loss, abs=1e-12)


def test_small_cases_by_hand() -> None:
    ordered = probability_of_backtest_overfitting(np.tile([0.0, 1.0, 2.0, 3.0], (8, 1)), 4, "mean")
    assert ordered.pbo == 0
    assert ordered.slope is None, "all winners are equal in training: there is no slope"
    assert probability_of_backtest_overfitting(np.eye(4), 4, "mean").pbo == 1
    found = probability_of_backtest_overfitting([[3, 1, 0], [-1, 1, 0], [2, 1, 1], [-2, 1, 2]], 4, "mean")
    assert (found.pbo, found.p_loss) == (pytest.approx(2 / 3), pytest.approx(1 / 6))
    assert found.slope == pytest.approx(-1.5)


@pytest.mark.parametrize("metric", ["sharpe", "mean"])
@pytest.mark.parametrize("level", [0.1, 1 / 3, 7e-9, 1e12])
def test_what_rounding_leaves_between_equal_winners_is_no_slope(level: float, metric: str) -> None:
    noise = np.random.default_rng(1).standard_normal((48, 1))
    returns = np.hstack([np.full((48, 1), 5 * level), level * np.clip(noise, -1, 1)])
    assert probability_of_backtest_overfitting(returns, 8, metric).slope is None


@pytest.mark.parametrize("scale", [1e-160, 1e-300, 1e140])
def test_returns_that_are_next_to_nothing_or_huge_have_the_same_slope(scale: float) -> None:
    returns = np.random.default_rng(3).standard_normal((48, 5))
    expected = probability_of_backtest_overfitting(returns, 8, "mean").slope
    with np.errstate(all="raise", under="ignore"):
        assert probability_of_backtest_overfitting(scale * returns, 8, "mean").slope == pytest.approx(expected)


@pytest.mark.parametrize("groups", [0, 1, 3, -2, 22])
def test_a_number_of_groups_that_cannot_be_is_refused(groups: int) -> None:
    with pytest.raises(UsageError, match="expected an even number from 2 to 20"):
        probability_of_backtest_overfitting(np.eye(40), groups)


@pytest.mark.parametrize(("groups", "splits"), [(8, 70), (10, 252), (16, 12_870)])
def test_the_number_of_splits_is_right(groups: int, splits: int) -> None:
    returns = np.random.default_rng(0).standard_normal((groups, 2))
    assert probability_of_backtest_overfitting(returns, groups).combinations == splits


def test_the_experiment_of_the_paper() -> None:
    """8,800 rules, 1,000 days: 0.55 is printed for one random walk, 0.13 for one with an effect on five days a month."""
    luck, effect = (
        [probability_of_backtest_overfitting(rule_returns(seed, size)).pbo for seed in range(6)] for size in (0.0, 0.25)
    )
    # One series has a standard deviation of 0.2 (luck) and 0.12 (effect) about these means.
    assert np.mean(luck) == pytest.approx(0.55, abs=3 * 0.2 / 6**0.5)
    assert np.mean(effect) == pytest.approx(0.13, abs=3 * 0.12 / 6**0.5)


@pytest.mark.parametrize("metric", ["sharpe", "mean"])
def test_block_sums_give_what_the_returns_give(metric: str) -> None:
    returns = np.random.default_rng(3).standard_normal((128 * 5, 20))
    parts = returns.reshape(128, 5, 20)
    s, q = parts.sum(axis=1).T, np.square(parts).sum(axis=1).T
    whole = probability_of_backtest_overfitting(returns, 16, metric)
    blocks = probability_of_backtest_overfitting(groups=16, metric=metric, s=s, q=q, counts=np.full(128, 5))
    np.testing.assert_allclose(blocks.logits, whole.logits, atol=1e-12)
    np.testing.assert_allclose(blocks.out_of_sample, whole.out_of_sample, rtol=1e-9, atol=1e-12)


# Integers: their sums are exact, so that equal metrics stay equal however they are summed.
tables = st.integers(2, 9).flatmap(lambda n: arrays(np.float64, (12, n), elements=st.integers(-9, 9).map(float)))


@given(returns=tables, data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_order_of_trials_and_the_unit_of_money_do_not_matter(returns: Array, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(returns.shape[1])))
    unit = 2.0 ** data.draw(st.integers(-30, 30))
    for metric in ("sharpe", "mean"):
        plain = probability_of_backtest_overfitting(returns, 6, metric)
        scaled = probability_of_backtest_overfitting(returns * unit, 6, metric)
        assert plain.logits.tolist() == scaled.logits.tolist()
        # Of equal winners in training the first is taken: where there are none, order does not matter at all.
        shuffled = probability_of_backtest_overfitting(returns[:, order], 6, metric)
        if len({tuple(column) for column in returns.T}) == returns.shape[1] and _winners_are_single(returns, metric):
            assert plain.logits.tolist() == shuffled.logits.tolist()


def _winners_are_single(returns: Array, metric: str) -> bool:
    for chosen in combinations(range(6), 3):
        rows = returns.reshape(6, 2, -1)[list(chosen)].reshape(6, -1)
        s, q = rows.sum(axis=0), np.square(rows).sum(axis=0)
        score = s if metric == "mean" else s * np.abs(s) / np.maximum(q, 1e-300)
        if np.sum(score >= score.max() - 1e-9 * abs(score.max())) != 1:
            return False
    return True


def test_trials_that_never_traded_rank_between_winners_and_losers() -> None:
    rng = np.random.default_rng(5)
    returns = np.concatenate([rng.normal(0.5, 1, (64, 1)), np.zeros((64, 5)), rng.normal(-0.5, 1, (64, 5))], axis=1)
    found = probability_of_backtest_overfitting(returns, 8)
    assert found.pbo == 0
    assert np.isfinite(found.logits).all()


def test_equal_trials_share_their_rank_so_that_copies_are_no_evidence() -> None:
    returns = np.repeat(np.random.default_rng(6).standard_normal((64, 1)), 9, axis=1)
    found = probability_of_backtest_overfitting(returns, 8)
    assert found.pbo == 1
    assert found.logits.tolist() == [0.0] * 70


@pytest.mark.parametrize(
    ("returns", "groups", "reason"),
    [
        (np.zeros((32, 1)), 16, "at least 2 trials; there are 1"),
        (np.zeros((32, 0)), 16, "at least 2 trials; there are 0"),
        (np.zeros((10, 3)), 16, "10 blocks cannot be put in 16 groups"),
        ([[1.0, np.nan]] * 4, 2, "1 of 2 trials are not finite .the first: trial 1."),
    ],
)
def test_what_cannot_be_computed_says_why(returns: npt.ArrayLike, groups: int, reason: str) -> None:
    with pytest.raises(NotComputableError, match=reason):
        probability_of_backtest_overfitting(returns, groups)


def test_blocks_without_steps_are_said() -> None:
    counts = np.zeros(8, dtype=int)
    counts[::2] = 1
    with pytest.raises(NotComputableError, match="4 steps are too few for 8 groups"):
        probability_of_backtest_overfitting(groups=8, s=np.zeros((2, 8)), q=np.zeros((2, 8)), counts=counts)


@pytest.mark.parametrize("groups", [0, 1, 7, 22, -2])
def test_groups_that_make_no_halves_are_refused(groups: int) -> None:
    with pytest.raises(UsageError, match=f"{groups} groups"):
        probability_of_backtest_overfitting(np.zeros((32, 2)), groups)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"returns": np.zeros(4)},
        {"returns": np.zeros((4, 2)), "s": np.zeros((2, 4))},
        {"s": np.zeros((2, 4))},
        {"s": np.zeros((2, 4)), "q": np.zeros((2, 3)), "counts": np.ones(4)},
        {"s": np.zeros((2, 4)), "q": np.zeros((2, 4)), "counts": np.ones(2)},
        {"s": np.zeros((2, 4)), "q": -np.ones((2, 4)), "counts": np.ones(4)},
        {"s": np.zeros((2, 4)), "q": np.zeros((2, 4)), "counts": -np.ones(4)},
        {"returns": np.zeros((4, 2)), "metric": "pnl"},
    ],
)
def test_arguments_of_the_wrong_form_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        probability_of_backtest_overfitting(groups=4, **arguments)  # type: ignore[arg-type]


def test_the_error_is_of_the_size_that_new_data_show() -> None:
    found, errors = [], []
    for seed in range(25):
        returns = np.random.default_rng(seed).standard_normal((16, 40, 60))
        s, q = returns.sum(axis=1).T, np.square(returns).sum(axis=1).T
        counts = np.full(16, 40)
        found.append(probability_of_backtest_overfitting(groups=10, s=s, q=q, counts=counts).pbo)
        errors.append(overfitting_error(groups=10, s=s, q=q, counts=counts))
    assert 0.9 * np.std(found) < np.mean(errors) < 2.5 * np.std(found)


def test_the_error_takes_groups_enough_to_leave_some_out() -> None:
    with pytest.raises(NotComputableError, match="at least 6 groups"):
        overfitting_error(np.zeros((32, 2)), 4)
