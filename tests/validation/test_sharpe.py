"""Sharpe ratios are worth what the papers print, and what cannot be computed says why."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import NotComputableError, UsageError
from arbd.validation import (
    deflated_sharpe_ratio,
    expected_max_sharpe,
    min_backtest_length,
    min_track_record_length,
    probabilistic_sharpe_ratio,
)

SPREAD = math.sqrt(0.5 / 250)
DAILY = 2.5 / math.sqrt(250)


def _per_step(annual: float, steps_per_year: int) -> float:
    return annual / math.sqrt(steps_per_year)


@pytest.mark.parametrize(
    ("found", "published"),
    [
        (expected_max_sharpe(100), 2.5306028932),
        (probabilistic_sharpe_ratio(_per_step(1.585, 12), 24, -2.448, 10.164), 0.9132343069),
        (deflated_sharpe_ratio(DAILY, 1250, 100, SPREAD, -3, 10), 0.9003968),
        (min_backtest_length(45, 1.0), 4.9980870),
        (min_track_record_length(_per_step(2, 250), _per_step(1, 250)) / 250, 2.7311878),
        (min_track_record_length(_per_step(2, 52), _per_step(1, 52)) / 52, 2.8288336),
        (
            min_track_record_length(_per_step(3, 12), _per_step(2.5, 12), skew=-0.72, kurtosis=5.78) / 12,
            27.3529202,
        ),
    ],
)
def test_published_values_to_their_printed_digits(found: float, published: float) -> None:
    digits = len(str(published).split(".")[1])
    assert round(found, digits) == published


@pytest.mark.parametrize(
    ("found", "rounded"),
    [
        (probabilistic_sharpe_ratio(_per_step(1.585, 12), 24), 0.98159),
        (expected_max_sharpe(100, SPREAD), 0.1132),
        (deflated_sharpe_ratio(DAILY, 1250, 46, SPREAD, -3, 10), 0.9505),
        (deflated_sharpe_ratio(DAILY, 1250, 88, SPREAD), 0.9505),
        (probabilistic_sharpe_ratio(0.036 / 0.079, 24, -2.448, 10.164), 0.9127),
        (min_track_record_length(0.036 / 0.079, skew=-2.448, kurtosis=10.164), 34.76),
    ],
)
def test_values_quoted_with_fewer_digits(found: float, rounded: float) -> None:
    assert round(found, len(str(rounded).split(".")[1])) == rounded


def test_the_deflated_ratio_of_noise_is_that_of_a_second_implementation() -> None:
    returns = np.random.default_rng(0).standard_normal((1250, 100)) * 0.01 + 0.0002
    ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    best = int(ratios.argmax())
    z = (returns[:, best] - returns[:, best].mean()) / returns[:, best].std()
    skew, kurtosis = float((z**3).mean()), float((z**4).mean())
    found = deflated_sharpe_ratio(ratios[best], 1250, 100, ratios.std(ddof=1), skew, kurtosis)
    assert found == pytest.approx(0.73435136, abs=5e-9)


@pytest.mark.parametrize("n_trials", [5, 20, 100, 2_000])
def test_the_line_of_luck_is_where_the_best_of_noise_is(n_trials: int) -> None:
    best = np.random.default_rng(n_trials).standard_normal((4_000, n_trials)).max(axis=1)
    assert expected_max_sharpe(n_trials) == pytest.approx(best.mean(), abs=0.05)


def test_one_trial_has_no_luck_to_be_the_best_of() -> None:
    assert expected_max_sharpe(1) == 0.0
    assert deflated_sharpe_ratio(0.1, 100, 1, 0.05) == probabilistic_sharpe_ratio(0.1, 100)


moments = st.floats(-2, 2).flatmap(lambda skew: st.tuples(st.just(skew), st.floats(1.01 + skew * skew, 50)))


@settings(deadline=None)
@given(sr=st.floats(0.001, 0.8), shape=moments, confidence=st.floats(0.6, 0.999))
def test_the_shortest_track_record_is_the_one_that_reaches_its_confidence(
    sr: float, shape: tuple[float, float], confidence: float
) -> None:
    steps = min_track_record_length(sr, 0.0, confidence, *shape)
    if steps >= 2:
        assert probabilistic_sharpe_ratio(sr, steps, *shape) == pytest.approx(confidence, abs=1e-9)


@settings(deadline=None)
@given(few=st.floats(1, 1e6), more=st.floats(1, 1e6))
def test_more_trials_raise_the_line_of_luck(few: float, more: float) -> None:
    few, more = sorted((few, more))
    assert expected_max_sharpe(few) <= expected_max_sharpe(more) + 1e-12


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda: probabilistic_sharpe_ratio(0.1, 1), "at least 2 steps; there are 1"),
        (lambda: probabilistic_sharpe_ratio(math.nan, 100), "sr is nan"),
        (lambda: probabilistic_sharpe_ratio(1.0, 100, 1.0, 2.0 + 1e-12), None),
        (lambda: probabilistic_sharpe_ratio(2.0, 100, 1.0, 2.0), "no uncertainty"),
        (lambda: deflated_sharpe_ratio(0.1, 100, 10, math.nan), "sd is nan"),
        (lambda: expected_max_sharpe(0), "at least 1"),
        (lambda: min_track_record_length(0.1, 0.1), "not above 0.1: no length of track"),
        (lambda: min_track_record_length(-0.1), "no length of track"),
    ],
)
def test_what_cannot_be_computed_says_why(compute: object, reason: str | None) -> None:
    assert callable(compute)
    if reason is None:
        assert 0 <= compute() <= 1
    else:
        with pytest.raises(NotComputableError, match=reason):
            compute()


@pytest.mark.parametrize(
    ("compute", "fault"),
    [
        (lambda: probabilistic_sharpe_ratio(0.1, 100, 0.0, 0.5), "kurtosis is not in excess"),
        (lambda: expected_max_sharpe(10, -1.0), "negative"),
        (lambda: min_track_record_length(0.1, confidence=1.0), "confidence of 1"),
        (lambda: min_backtest_length(10, 0.0), "above 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(compute: object, fault: str) -> None:
    assert callable(compute)
    with pytest.raises(UsageError, match=fault):
        compute()
