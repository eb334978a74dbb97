"""The process is the textbook's, and its shortcuts change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from arbd.search.models.gaussian_process import Hyperparameters, Posterior, _loss, fit, matern, squared_differences

RNG = np.random.default_rng(5)
POINTS = RNG.random((25, 3))
POINTS[:, 2] = (RNG.integers(0, 3, 25) + 0.5) / 3
IS_CHOICE = np.array([False, False, True])
VALUES = np.sin(5 * POINTS[:, 0]) + POINTS[:, 1] ** 2 + (POINTS[:, 2] > 0.5)
VALUES = (VALUES - VALUES.mean()) / VALUES.std()
PARAMETERS = Hyperparameters(np.array([4.0, 2.0, 0.5]), 1.3, 1e-4)
ELSEWHERE = np.column_stack([RNG.random((7, 2)), np.full(7, 0.5)])


def textbook(points: np.ndarray, values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found = np.empty((len(a), len(b)))
        for i, one in enumerate(a):
            for j, other in enumerate(b):
                difference = one - other
                difference[2] = float(difference[2] != 0)
                r = np.sqrt(5 * (PARAMETERS.precision * difference**2).sum())
                found[i, j] = PARAMETERS.scale * (1 + r + r * r / 3) * np.exp(-r)
        return found

    inverse = np.linalg.inv(kernel(points, points) + (PARAMETERS.noise + 1e-9) * np.eye(len(points)))
    cross = kernel(points, at)
    return cross.T @ inverse @ values, np.sqrt(np.diag(kernel(at, at) - cross.T @ inverse @ cross))


def test_mean_and_deviation_are_the_textbooks() -> None:
    mean, deviation = Posterior(POINTS, VALUES, PARAMETERS, IS_CHOICE).predict(ELSEWHERE)
    expected_mean, expected_deviation = textbook(POINTS, VALUES, ELSEWHERE)
    assert mean == pytest.approx(expected_mean, rel=1e-6, abs=1e-8)
    assert deviation == pytest.approx(expected_deviation, rel=1e-5)


def test_an_expected_point_changes_the_deviation_as_a_result_would_and_the_mean_not_at_all() -> None:
    posterior = Posterior(POINTS, VALUES, PARAMETERS, IS_CHOICE)
    candidates = posterior.candidates(ELSEWHERE, most_expected=2)
    mean_before, _ = posterior.predict(ELSEWHERE)
    for point in ELSEWHERE[:2] + 0.01:
        candidates.expect(point)
    mean, deviation = posterior.predict(ELSEWHERE)
    assert mean == pytest.approx(mean_before)
    assert candidates.deviation == pytest.approx(deviation, rel=1e-6)
    more = np.concatenate([POINTS, ELSEWHERE[:2] + 0.01])
    assert deviation == pytest.approx(textbook(more, np.append(VALUES, [0.0, 0.0]), ELSEWHERE)[1], rel=1e-4)


def test_the_gradient_of_the_fit_is_right() -> None:
    squares = squared_differences(POINTS, POINTS, IS_CHOICE)
    x = np.log(np.array([3.0, 0.7, 1.1, 0.9, 1e-3]))
    _, gradient = _loss(x, squares, VALUES)
    for i in range(len(x)):
        step = np.zeros_like(x)
        step[i] = 1e-5
        numeric = (_loss(x + step, squares, VALUES)[0] - _loss(x - step, squares, VALUES)[0]) / 2e-5
        assert gradient[i] == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_a_fit_finds_which_dimension_matters() -> None:
    points = RNG.random((60, 2))
    values = np.sin(9 * points[:, 0])
    found = fit(points, (values - values.mean()) / values.std(), np.array([False, False]))
    assert found.precision[0] > 20 * found.precision[1]
    assert found.noise < 1e-3


def test_climbing_ends_higher_and_inside() -> None:
    posterior = Posterior(POINTS, VALUES, PARAMETERS, IS_CHOICE)

    def score(mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return deviation - mean, np.full_like(mean, -1.0), np.ones_like(mean)

    ended = posterior.climb(ELSEWHERE, score, 30)
    before, after = posterior.predict(ELSEWHERE), posterior.predict(ended)
    assert (after[1] - after[0] >= before[1] - before[0] - 1e-9).all()
    assert ((ended >= 0) & (ended <= 1)).all()
    assert ended[:, 2].tolist() == ELSEWHERE[:, 2].tolist()


def test_the_kernels_slope_is_its_derivative() -> None:
    squares = np.linspace(0.1, 9, 20)
    numeric = (matern(squares + 1e-6, 2.0)[0] - matern(squares - 1e-6, 2.0)[0]) / 2e-6
    assert matern(squares, 2.0)[1] == pytest.approx(numeric, rel=1e-5)


def test_a_candidate_that_is_left_out_is_not_among_the_best_while_others_are_left() -> None:
    candidates = Posterior(POINTS, VALUES, PARAMETERS, IS_CHOICE).candidates(ELSEWHERE, most_expected=0)
    values = np.arange(len(ELSEWHERE), dtype=float)
    assert np.array_equal(candidates.best(values, 2), ELSEWHERE[[-1, -2]])
    candidates.leave_out(ELSEWHERE[-1])
    assert np.array_equal(candidates.best(values, 2), ELSEWHERE[[-2, -3]])
    for point in ELSEWHERE:
        candidates.leave_out(point)
    assert np.array_equal(candidates.best(values, 1), ELSEWHERE[[-1]])
