"""TPE: values that are likely under the good results and unlikely under the others (Bergstra et al. 2011).

Of each parameter by itself: a mixture of one kernel per result, as wide as the gaps to its neighbours, truncated to
the unit interval. What is pending counts as one of the others, and so does each point of the generation once it is
chosen, so that a generation spreads. The candidates of a whole generation are scored at once, which is what makes
suggesting keep up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arbd.tuning.history import Floats, History, best_first
from arbd.tuning.jobspec import JobSpec
from arbd.tuning.samplers import Proposal
from arbd.tuning.seeds import generator
from arbd.tuning.space import ChoiceDimension, Dimension, SearchSpace, Unit

GOOD_SHARE = 0.1
MAX_GOOD = 25
MAX_OTHERS = 1_000
CANDIDATES = 24
# Whole points among which the best is taken, each put together of the best values.
FLAT_WEIGHTS = 25
SQRT_TAU = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Mixture:
    """One parameter's kernels around `centres`; the last is the prior, wide and in the middle."""

    centres: Floats
    widths: Floats
    log_weights: Floats

    def log_density(self, values: Floats) -> Floats:
        """Of each value."""
        scaled = (values[:, None] - self.centres) / self.widths
        inside = _normal_cdf((1 - self.centres) / self.widths) - _normal_cdf(-self.centres / self.widths)
        log_each = -0.5 * scaled * scaled + (self.log_weights - np.log(self.widths * SQRT_TAU * inside))
        top = log_each.max(axis=1)
        return np.asarray(top + np.log(np.exp(log_each - top[:, None]).sum(axis=1)))

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        """Values inside of the interval."""
        chosen = rng.choice(len(self.centres), count, p=np.exp(self.log_weights))
        centres, widths = self.centres[chosen], self.widths[chosen]
        values = np.empty(count)
        left = np.ones(count, dtype=bool)
        for _ in range(8):
            values[left] = centres[left] + widths[left] * rng.standard_normal(int(left.sum()))
            left = (values < 0) | (values >= 1)
        # After eight tries only what lies at an edge is left.
        values[left] = np.clip(values[left], 0.0, 1.0 - 1e-12)
        return values


@dataclass(frozen=True, slots=True)
class Shares:
    """The same of a choice: how likely each of its values is."""

    shares: Floats

    def log_density(self, values: Floats) -> Floats:
        """Of each value."""
        levels = len(self.shares)
        return np.asarray(np.log(self.shares)[np.minimum((values * levels).astype(np.int64), levels - 1)])

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        """Values in the middle of their intervals."""
        return (rng.choice(len(self.shares), count, p=self.shares) + 0.5) / len(self.shares)


def _normal_cdf(values: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(values / math.sqrt(2.0))))


def _weights(n: int) -> Floats:
    """Of n results in order: the newest alike, the older ones the less the older they are; then the prior."""
    weights = np.ones(n + 1)
    if n > FLAT_WEIGHTS:
        weights[: n - FLAT_WEIGHTS] = np.linspace(1.0 / n, 1.0, n - FLAT_WEIGHTS)
    return np.asarray(weights / weights.sum())


def _density(dimension: Dimension, values: Floats) -> Mixture | Shares:
    n, weights = len(values), _weights(len(values))
    if isinstance(dimension, ChoiceDimension):
        levels = dimension.levels
        places = np.minimum((values * levels).astype(np.int64), levels - 1)
        # Each result leaves a little, as much as one kernel's share of the prior, to every other value.
        own = np.bincount(places, weights=weights[:n], minlength=levels) if n else np.zeros(levels)
        rest = 1.0 / (n + 1)
        shares = (own + weights[:n].sum() * rest) / (1.0 + levels * rest) + weights[n] / levels
        return Shares(shares / shares.sum())
    order = np.argsort(values, kind="stable")
    edged = np.concatenate([[0.0], values[order], [1.0]])
    gaps = np.diff(edged)
    widths = np.empty(n)
    widths[order] = np.maximum(gaps[:-1], gaps[1:])
    if n >= 2:
        # An end of the interval is no neighbour.
        widths[order[0]], widths[order[-1]] = gaps[1], gaps[-2]
    narrowest = 1.0 / min(100, n + 2)
    if dimension.levels is not None:
        narrowest = max(narrowest, 0.5 / dimension.levels)
    widths = np.clip(widths, min(narrowest, 1.0), 1.0)
    return Mixture(np.append(values, 0.5), np.append(widths, 1.0), np.log(weights))


@dataclass(frozen=True, slots=True)
class TpeSampler:
    """See the module."""

    space: SearchSpace
    seed: int

    def suggest(
        self, generation: int, count: int, history: History, allowed: Callable[[Unit], npt.NDArray[np.bool_]]
    ) -> Proposal:
        """See `GuidedSampler`."""
        rng = generator(self.seed, generation)
        good, others = self._split(history)
        points = np.empty((count, good.shape[1]))
        for column, dimension in enumerate(self.space.dimensions):
            likely, unlikely = _density(dimension, good[:, column]), _density(dimension, others[:, column])
            values = likely.sample(rng, count * CANDIDATES)
            score = (likely.log_density(values) - unlikely.log_density(values)).reshape(count, CANDIDATES)
            best = score.argmax(axis=1)
            points[:, column] = values.reshape(count, CANDIDATES)[np.arange(count), best]
        return Proposal(self.space.to_unit(self.space.from_unit(points)))

    def _split(self, history: History) -> tuple[Unit, Unit]:
        order = best_first(history)
        n_good = min(math.ceil(GOOD_SHARE * len(order)), MAX_GOOD)
        others = np.sort(order[n_good:])
        if len(others) > MAX_OTHERS:
            others = others[np.linspace(0, len(others) - 1, MAX_OTHERS).astype(np.int64)]
        return history.points[np.sort(order[:n_good])], np.concatenate([history.points[others], history.pending])


def make(spec: JobSpec) -> TpeSampler:
    """Depends on space and seed."""
    return TpeSampler(spec.space, spec.seed)
