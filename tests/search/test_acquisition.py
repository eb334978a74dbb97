"""Each acquisition function is its own formula, and each chooses differently."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from arbd.search.models.acquisition import ACQUISITIONS, POI_MARGIN, UCB_WIDTH, ei, keeps, log_improvement, poi, ucb

MEAN = np.array([0.0, 0.8, 1.5, -0.02])
DEVIATION = np.array([0.05, 0.9, 1.6, 0.001])
BEST = 0.0


def test_ucb_is_the_lower_bound_of_a_loss() -> None:
    assert ucb(MEAN, DEVIATION, BEST)[0].tolist() == (UCB_WIDTH * DEVIATION - MEAN).tolist()


def test_ei_is_the_logarithm_of_the_expected_improvement() -> None:
    for mean, deviation, found in zip(MEAN, DEVIATION, ei(MEAN, DEVIATION, BEST)[0], strict=True):
        density = stats.norm(mean, deviation).pdf
        expected, _ = integrate.quad(
            lambda y, density=density: (BEST - y) * density(y), mean - 10 * deviation, BEST, limit=200
        )
        assert np.exp(found) == pytest.approx(expected, rel=1e-6)


def test_poi_is_the_logarithm_of_the_probability_of_an_improvement() -> None:
    expected = stats.norm(MEAN, DEVIATION).cdf(BEST - POI_MARGIN)
    assert np.exp(poi(MEAN, DEVIATION, BEST)[0]) == pytest.approx(expected)


def test_on_one_posterior_each_chooses_another_point() -> None:
    # Surely a little better; perhaps better; hardly better, and hardly known.
    mean, deviation = np.array([-0.05, 0.3, 1.9]), np.array([0.01, 1.0, 1.9])
    chosen = {name: int(np.argmax(acquisition(mean, deviation, 0.0)[0])) for name, acquisition in ACQUISITIONS.items()}
    assert chosen == {"poi": 0, "ei": 1, "ucb": 2}


@pytest.mark.parametrize("name", [*sorted(ACQUISITIONS), "keeps"])
def test_derivatives_are_those_of_the_value(name: str) -> None:
    acquisition = {**ACQUISITIONS, "keeps": keeps}[name]
    mean, deviation, step = np.linspace(-2, 3, 9), np.linspace(0.1, 2, 9), 1e-6
    _, by_mean, by_deviation = acquisition(mean, deviation, 0.3)
    numeric = (acquisition(mean + step, deviation, 0.3)[0] - acquisition(mean - step, deviation, 0.3)[0]) / (2 * step)
    assert by_mean == pytest.approx(numeric, rel=1e-4, abs=1e-6)
    numeric = (acquisition(mean, deviation + step, 0.3)[0] - acquisition(mean, deviation - step, 0.3)[0]) / (2 * step)
    assert by_deviation == pytest.approx(numeric, rel=1e-4, abs=1e-6)


def test_a_hopeless_point_still_has_a_slope() -> None:
    z = np.array([-1.0, -1.0 - 1e-9, -30.0, -1e3, -1e5, -1e8])
    found = log_improvement(z)
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


@pytest.mark.parametrize("name", [*sorted(ACQUISITIONS), "keeps"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_slopes_are_numbers_however_far_down(name: str) -> None:
    acquisition = {**ACQUISITIONS, "keeps": keeps}[name]
    mean = 10.0 ** np.arange(0, 100)
    for found in acquisition(mean, np.full(len(mean), 1e-3), 0.0):
        assert np.isfinite(found).all()
