"""TPE: candidates that are likely under the good results and unlikely under the others (Bergstra et al. 2011).

Multivariate: a mixture of product kernels, one per result, truncated to the unit cube (Falkner et al. 2018). What
is pending counts as one of the others, and so does each point of the generation once it is chosen, so that a
generation spreads. All candidates of a generation are scored at once, which is why there is no suggesting one by one.
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
from arbd.tuning.space import ChoiceDimension, SearchSpace, Unit

GOOD_SHARE = 0.1
MAX_GOOD = 25
MAX_OTHERS = 1_000
CANDIDATES = 32
MAGNITUDE = 0.2
SQRT_TAU = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Kernels of equal weight around `centres` (the first is the prior: wide, in the middle)."""

    centres: Unit
    widths: Floats
    is_choice: npt.NDArray[np.bool_]
    levels: Floats

    def log_density(self, points: Unit) -> Floats:
        """Of each point."""
        numeric = ~self.is_choice
        scaled = (points[:, None, numeric] - self.centres[None, :, numeric]) / self.widths[None, :, numeric]
        log_each = -0.5 * np.einsum("ijk,ijk->ij", scaled, scaled) - self._log_norms()[None, :]
        for column in np.flatnonzero(self.is_choice):
            same = np.abs(points[:, None, column] - self.centres[None, :, column]) < 1e-9
            hit, miss = self._choice_shares(int(column))
            log_each += np.where(same, np.log(hit)[None, :], np.log(miss)[None, :])
        top = log_each.max(axis=1)
        return np.asarray(top + np.log(np.exp(log_each - top[:, None]).sum(axis=1)) - math.log(len(self.centres)))

    def _log_norms(self) -> Floats:
        numeric = ~self.is_choice
        centres, widths = self.centres[:, numeric], self.widths[:, numeric]
        inside = _normal_cdf((1 - centres) / widths) - _normal_cdf(-centres / widths)
        return np.asarray(np.log(widths * SQRT_TAU * np.maximum(inside, 1e-12)).sum(axis=1))

    def _choice_shares(self, column: int) -> tuple[Floats, Floats]:
        """The probability of a kernel's own value, and of each other one; the prior's are all alike."""
        levels, n = self.levels[column], len(self.centres)
        share = 1.0 / n
        hit = np.full(n, (1 + share) / (1 + levels * share))
        miss = np.full(n, share / (1 + levels * share))
        hit[0] = miss[0] = 1.0 / levels
        return hit, miss

    def sample(self, rng: np.random.Generator, count: int) -> Unit:
        """Points from the mixture, inside of the cube."""
        chosen = rng.integers(0, len(self.centres), count)
        centres, widths = self.centres[chosen], self.widths[chosen]
        points = np.empty_like(centres)
        left = np.ones(centres.shape, dtype=bool)
        for _ in range(8):
            points[left] = centres[left] + widths[left] * rng.standard_normal(int(left.sum()))
            left = (points < 0) | (points >= 1)
        # After eight tries only what lies far outside is left.
        points[left] = rng.random(int(left.sum()))
        for column in np.flatnonzero(self.is_choice):
            levels = int(self.levels[column])
            hit, _ = self._choice_shares(int(column))
            other = (rng.integers(0, levels, count) + 0.5) / levels
            keeps = rng.random(count) < hit[chosen]
            points[:, column] = np.where(keeps & (chosen > 0), centres[:, column], other)
        return points


def _normal_cdf(values: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(values / math.sqrt(2.0))))


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
        good, others = self._mixtures(history)
        candidates = self._snapped(good.sample(rng, count * CANDIDATES))
        score = good.log_density(candidates)
        against = others.log_density(candidates) + math.log(len(others.centres))
        score[~allowed(candidates)] = -np.inf
        chosen: list[int] = []
        for pick in range(count):
            # Each pick has candidates of its own: the best few of all would lie in one place.
            own = np.arange(pick * CANDIDATES, (pick + 1) * CANDIDATES)
            best = int(own[np.argmax(score[own] - against[own])])
            chosen.append(best)
            one = Mixture(candidates[[best]], others.widths[[-1]], others.is_choice, others.levels)
            against = np.logaddexp(against, one.log_density(candidates))
        return Proposal(candidates[chosen])

    def _mixtures(self, history: History) -> tuple[Mixture, Mixture]:
        order = best_first(history)
        n_good = min(math.ceil(GOOD_SHARE * len(order)), MAX_GOOD)
        others = np.sort(order[n_good:])
        if len(others) > MAX_OTHERS:
            # The worst half of a long history says the same as an even sample of it.
            others = others[np.linspace(0, len(others) - 1, MAX_OTHERS).astype(np.int64)]
        # A pending point near which a good one lies would else be pushed away from: it is weighed like any other.
        return (
            self._mixture(history.points[np.sort(order[:n_good])]),
            self._mixture(np.concatenate([history.points[others], history.pending])),
        )

    def _mixture(self, points: Unit) -> Mixture:
        n, dimensions = points.shape
        levels = np.array([d.levels or np.inf for d in self.space.dimensions], dtype=np.float64)
        is_choice = np.array([isinstance(d, ChoiceDimension) for d in self.space.dimensions])
        width = MAGNITUDE * max(n, 1) ** (-1.0 / (dimensions + 4))
        # Between neighbouring values of a grid there is nothing to be narrower for.
        narrowest = np.maximum(1.0 / min(100, n + 2), np.where(np.isfinite(levels), 0.5 / levels, 0.0))
        widths = np.maximum(np.full((n, dimensions), width), narrowest[None, :])
        return Mixture(
            np.concatenate([np.full((1, dimensions), 0.5), points]),
            np.concatenate([np.ones((1, dimensions)), widths]),
            is_choice,
            levels,
        )

    def _snapped(self, points: Unit) -> Unit:
        return self.space.to_unit(self.space.from_unit(points))


def make(spec: JobSpec) -> TpeSampler:
    """Depends on space and seed."""
    return TpeSampler(spec.space, spec.seed)
