"""Acquisition functions: how worthwhile a point is, from the mean and deviation that a model has of its loss.

Lower loss is better. Each returns its value and its derivatives by mean and by deviation; `ei` and `poi` in the
logarithm, because far from the best both underflow and a search would have nothing to climb.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import special

from arbd.arrays import Floats

# sqrt(beta) of the confidence bound.
UCB_WIDTH = 2.0
# What an improvement must be to count for `poi`, in standard deviations of all losses; with 0 it never explores.
POI_MARGIN = 0.01
# Standard deviations below what is asked for, from where on densities are told by their leading terms.
FAR = -1e3

Acquisition = Callable[[Floats, Floats, float], tuple[Floats, Floats, Floats]]


def ucb(mean: Floats, deviation: Floats, best: float) -> tuple[Floats, Floats, Floats]:
    """Confidence bound (Srinivas et al. 2010): -(mean - w deviation). `best` does not matter."""
    del best
    return UCB_WIDTH * deviation - mean, np.full_like(mean, -1.0), np.full_like(mean, UCB_WIDTH)


def ei(mean: Floats, deviation: Floats, best: float) -> tuple[Floats, Floats, Floats]:
    """Logarithm of the expected improvement (Jones et al. 1998): deviation (z P(z) + p(z)), z = (best - mean)/deviation."""
    z = (best - mean) / deviation
    log_h = log_improvement(z)
    ratio = _ratio(z, special.log_ndtr(z) - log_h)
    return np.log(deviation) + log_h, -ratio / deviation, (1.0 - z * ratio) / deviation


def poi(mean: Floats, deviation: Floats, best: float) -> tuple[Floats, Floats, Floats]:
    """Logarithm of the probability of an improvement (Kushner 1964) by at least `POI_MARGIN`."""
    return keeps(mean, deviation, best - POI_MARGIN)


def keeps(mean: Floats, deviation: Floats, most: float) -> tuple[Floats, Floats, Floats]:
    """Logarithm of the probability that what is modelled is at most `most`."""
    z = (most - mean) / deviation
    log_p = special.log_ndtr(z)
    ratio = _ratio(z, -0.5 * z * z - 0.5 * np.log(2 * np.pi) - log_p)
    return log_p, -ratio / deviation, -z * ratio / deviation


def _ratio(z: Floats, logarithm: Floats) -> Floats:
    """exp(logarithm) of a ratio that tends to -z; far down its logarithm is the small difference of two that are huge."""
    far = z < FAR
    return np.where(far, -z, np.exp(np.where(far, 0.0, logarithm)))


def log_improvement(z: Floats) -> Floats:
    """log(z P(z) + p(z)) without cancellation (Ament et al. 2023)."""
    near = np.maximum(z, -1.0)
    above = np.log(np.exp(-0.5 * near * near) / np.sqrt(2 * np.pi) + near * special.ndtr(near))
    # Beyond 1e6 the bracket below rounds to 0, and its leading term is all there is.
    far = np.clip(z, -1e6, -1.0)
    scaled = special.erfcx(-far / np.sqrt(2)) * -far * np.sqrt(np.pi / 2)
    rest = np.where(far > -1e3, np.log1p(-np.minimum(scaled, 1 - 1e-16)), -2.0 * np.log(-far))
    below = -0.5 * z * z - 0.5 * np.log(2 * np.pi) + rest
    return np.asarray(np.where(z > -1.0, above, below))


ACQUISITIONS: Mapping[str, Acquisition] = {"ucb": ucb, "ei": ei, "poi": poi}
