"""TPE: points that are likely under the good results and unlikely under the others (Bergstra et al. 2011).

One kernel per result, truncated to the unit cube: as wide as it is far to the next results of its kind, so that the
search narrows where it finds, and wider in parameters in which these results lie apart, so that parameters that do
not count do not hide those that do. None is narrower than the number of all results allows, so that points do not crowd
around the first good ones. Choices are equal or not, and nothing else.

Half of what is said of a point is how likely it is as a whole (kernels as products over the parameters, Falkner et
al. 2018), half how likely its parameters are each by itself; half of the candidates combine results likewise. The
first finds parameters that belong together, the second learns from fewer results.

A parameter that exists only under a condition is compared among the points that have it: where one has not, a kernel
says nothing of it.

Results are split by each constraint on metrics too, into those that keep it and the others; how likely a candidate is under
the first is how likely it keeps it, and multiplies what else is said of it (Watanabe and Hutter 2023).

What is pending counts as one of the others, and so does each point of the generation once it is chosen, so that a
generation spreads. All candidates of a generation are scored at once, which is what lets suggesting keep up.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from arbd.arrays import Floats, Ints
from arbd.search.history import History, best_first
from arbd.search.problem import SearchProblem
from arbd.search.sampler import MOST_MODELLED, AdaptiveMethod, Allowed, Proposal, Suits
from arbd.search.schedule import GenerationSizes
from arbd.search.seeds import generator
from arbd.search.space import ChoiceDimension, SearchSpace, Unit
from arbd.values import dataclass

# Chosen on the problems of benchmarks/search_problems.py that are not held back, judged on the others.
GOOD_SHARE = 0.05
FEWEST_GOOD = 3
MOST_GOOD = 25
MOST_OTHERS = 500
# Of each suggestion, while results are few, and so candidates cheap; later half as many.
CANDIDATES = 24
FEW = 250
NEIGHBOURS = 3
# Widths: in parts of the distance to neighbours, and how far they follow the spread of the results in a parameter.
WIDTH = 0.7
FOLLOWS_SPREAD = 0.5
# The spread of results that lie anywhere; how many of it lie between two values of a choice.
UNIFORM_SPREAD = 0.29
CHOICES_APART = 1.0
NARROWEST = 1e-3
# Few results that lie close together say nothing of how narrow to look: with n of them no kernel is narrower than this / n.
NARROWEST_OF_FEW = 1.5
TRIES = 8
SQRT_TAU = math.sqrt(2 * math.pi)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernels of equal weight around `centres`, of shape (kernels, dimensions).

    `levels` is the number of values of a choice, and of nothing else. `leak` is what a kernel leaves to each value
    of a choice that is not its own. `exists` says which parameters the centres have.
    """

    centres: Unit
    widths: Floats
    is_choice: Mask
    levels: Floats
    leak: float
    prior: bool
    exists: Mask

    def log_density(self, points: Unit, exist: Mask) -> Floats:
        """Of each point, up to a constant: half as a whole, half of its parameters each by itself.

        `exist` says which parameters the points have.
        """
        together = np.zeros((len(points), len(self.centres)))
        apart = np.zeros(len(points))
        for column in range(self.centres.shape[1]):
            log_each = self._log_choice(points, column) if self.is_choice[column] else self._log_normal(points, column)
            has, here = self.exists[:, column], exist[:, column]
            if not (has.all() and here.all()):
                # A kernel that does not have it takes every value for as likely as every other.
                anything = -math.log(self.levels[column]) if self.is_choice[column] else 0.0
                log_each = np.where(here[:, None], np.where(has[None, :], log_each, anything), 0.0)
            together += log_each
            apart += _log_mean(log_each[:, has] if has.any() else log_each)
        return np.asarray(0.5 * (_log_mean(together) + apart))

    def _log_normal(self, points: Unit, column: int) -> Floats:
        """Of each point (row) under each kernel (column), in one parameter."""
        centres, widths = self.centres[:, column], self.widths[:, column]
        above, below = _normal_cdf(np.stack([(1 - centres) / widths, -centres / widths]))
        inside = above - below
        scaled = (points[:, column, None] - centres) / widths
        return np.asarray(-np.log(widths * SQRT_TAU * inside) - 0.5 * scaled * scaled)

    def _log_choice(self, points: Unit, column: int) -> Floats:
        same = np.abs(points[:, None, column] - self.centres[None, :, column]) < 1e-9
        everyone = 1 + self.levels[column] * self.leak
        log_each = np.where(same, math.log((1 + self.leak) / everyone), math.log(self.leak / everyone))
        if self.prior:
            log_each[:, 0] = -math.log(self.levels[column])
        return log_each

    def sample(self, rng: np.random.Generator, count: int) -> Unit:
        """Points inside of the cube, half of them of one kernel each, half with a kernel for each parameter."""
        dimensions = np.arange(self.centres.shape[1])
        chosen = rng.integers(0, len(self.centres), (count, len(dimensions)))
        chosen = np.where(rng.random((count, 1)) < 0.5, chosen, chosen[:, :1])
        centres, widths = self.centres[chosen, dimensions], self.widths[chosen, dimensions]
        points = np.empty_like(centres)
        left = np.ones(centres.shape, dtype=bool)
        for _ in range(TRIES):
            points[left] = centres[left] + widths[left] * rng.standard_normal(int(left.sum()))
            left = (points < 0) | (points >= 1)
        points[left] = np.clip(points[left], 0.0, 1.0 - 1e-12)
        for column in np.flatnonzero(self.is_choice).tolist():
            levels = int(self.levels[column])
            any_value = (rng.integers(0, levels, count) + 0.5) / levels
            keeps = rng.random(count) < 1 / (1 + levels * self.leak)
            keeps &= (chosen[:, column] > 0) | (not self.prior)
            points[:, column] = np.where(keeps, centres[:, column], any_value)
        if not self.exists.all():
            points = np.where(self.exists[chosen, dimensions], points, rng.random(points.shape))
        return points


def _log_mean(log_each: Floats) -> Floats:
    """The logarithm of the mean of each row, of logarithms."""
    top = log_each.max(axis=1)
    return np.asarray(top + np.log(np.exp(log_each - top[:, None]).mean(axis=1)))


def _normal_cdf(values: Floats) -> Floats:
    erf = np.fromiter(map(math.erf, (values / math.sqrt(2.0)).ravel().tolist()), np.float64, values.size)
    return np.asarray(0.5 * (1.0 + erf.reshape(values.shape)))


def _widths(points: Unit, is_choice: Mask, exist: Mask) -> Floats:
    """Of a kernel at each point, per parameter: how far it is to the `NEIGHBOURS`-th nearest, and how far all lie apart."""
    n, dimensions = points.shape
    if n < 2:
        return np.full((n, dimensions), WIDTH * UNIFORM_SPREAD)
    deviation = points.std(axis=0) if exist.all() else _deviation(points, exist)
    spread = UNIFORM_SPREAD * (np.maximum(deviation, NARROWEST) / UNIFORM_SPREAD) ** FOLLOWS_SPREAD
    squares = np.zeros((n, n))
    for column in range(dimensions):
        apart = points[:, None, column] - points[None, :, column]
        if not exist[:, column].all():
            apart = np.where(exist[:, None, column] & exist[None, :, column], apart, 0.0)
        squares += (apart != 0) * CHOICES_APART**2 if is_choice[column] else (apart / spread[column]) ** 2
    np.fill_diagonal(squares, np.inf)
    nearest = min(NEIGHBOURS, n - 1) - 1
    distance = np.sqrt(np.partition(squares, nearest, axis=1)[:, nearest] / dimensions)
    return np.asarray(WIDTH * distance[:, None] * spread)


def _deviation(points: Unit, exist: Mask) -> Floats:
    """How far the points that have a parameter lie apart in it."""
    count = np.maximum(exist.sum(axis=0), 1)
    mean = np.where(exist, points, 0.0).sum(axis=0) / count
    variance = np.where(exist, (points - mean) ** 2, 0.0).sum(axis=0) / count
    # One that at most one of them has may lie anywhere.
    return np.asarray(np.where(exist.sum(axis=0) > 1, np.sqrt(variance), UNIFORM_SPREAD))


@dataclass(frozen=True, slots=True)
class TpeSampler:
    """See the module."""

    space: SearchSpace
    seed: int

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """See `AdaptiveSampler`."""
        rng = generator(self.seed, generation)
        good, others = self._split(history)
        each = CANDIDATES if len(history) <= FEW else CANDIDATES // 2
        candidates = self.space.to_unit(self.space.from_unit(good.sample(rng, count * each)))
        exist = self.space.active_at(candidates)
        score = good.log_density(candidates, exist)
        score += self._keeping(history, candidates, exist)
        score[~allowed(candidates)] = -np.inf
        against = others.log_density(candidates, exist)
        typical = np.median(good.widths[1:], axis=0)[None, :] if len(good.widths) > 1 else good.widths
        chosen: list[int] = []
        for pick in range(count):
            # Each has candidates of its own: the best few of all would lie in one place.
            own = slice(pick * each, (pick + 1) * each)
            best = pick * each + int(np.argmax(score[own] - against[own]))
            chosen.append(best)
            one = Kernels(
                candidates[[best]], typical, good.is_choice, good.levels, others.leak, prior=False, exists=exist[[best]]
            )
            against = np.logaddexp(against, one.log_density(candidates, exist) - math.log(len(others.centres)))
        return Proposal(candidates[chosen])

    def _keeping(self, history: History, candidates: Unit, exist: Mask) -> Floats:
        """The logarithm of how likely candidates keep all constraints on metrics, up to a constant."""
        total = np.zeros(len(candidates))
        for margins in history.margins.T if history.margins is not None else ():
            told = np.flatnonzero(~np.isnan(margins))
            nearest = told[np.argsort(margins[told], kind="stable")]
            holds = int((margins[told] <= 0).sum())
            if holds == len(told) or len(told) == 1:
                continue
            # Where hardly any holds it, those that come nearest do.
            holds = min(max(holds, FEWEST_GOOD), len(told) - 1)
            share = max(holds, 1) / len(told)
            keeping, breaking = (
                self._kernels(history.points[_evenly(np.sort(part))], len(history)).log_density(candidates, exist)
                for part in (nearest[:holds], nearest[holds:])
            )
            total -= np.logaddexp(math.log(share), math.log1p(-share) + breaking - keeping)
        return total

    def _split(self, history: History) -> tuple[Kernels, Kernels]:
        order = best_first(history)
        n_good = min(max(FEWEST_GOOD, math.ceil(GOOD_SHARE * len(order))), MOST_GOOD, len(order))
        others = _evenly(np.sort(order[n_good:]))
        return (
            self._kernels(history.points[order[:n_good]], len(order)),
            self._kernels(np.concatenate([history.points[others], history.pending]), len(order)),
        )

    def _kernels(self, points: Unit, known: int) -> Kernels:
        """Around some of so many results."""
        n, dimensions = points.shape
        is_choice = np.array([isinstance(d, ChoiceDimension) for d in self.space.dimensions])
        # Between neighbouring values of a grid there is nothing to be narrower for.
        steps = np.array([0.5 / d.levels if d.levels else 0.0 for d in self.space.dimensions])
        exist = self.space.active_at(points)
        narrowest = max(NARROWEST, min(1.0, NARROWEST_OF_FEW / max(known, 1)))
        widths = np.clip(_widths(points, is_choice, exist), narrowest, 1.0)
        return Kernels(
            np.concatenate([np.full((1, dimensions), 0.5), points]),
            np.concatenate([np.ones((1, dimensions)), np.maximum(widths, steps)]),
            is_choice,
            np.array([d.levels if isinstance(d, ChoiceDimension) else np.nan for d in self.space.dimensions]),
            leak=1.0 / (n + 1),
            prior=True,
            exists=np.concatenate([np.ones((1, dimensions), dtype=bool), exist]),
        )


def _evenly(index: Ints) -> Ints:
    """Some of many: an even sample of a long history says the same."""
    if len(index) <= MOST_OTHERS:
        return index
    return np.asarray(index[np.linspace(0, len(index) - 1, MOST_OTHERS).astype(np.int64)])


def _make(problem: SearchProblem) -> TpeSampler:
    """Depends on space and seed."""
    return TpeSampler(problem.space, problem.seed)


METHOD = AdaptiveMethod(
    summary="Points that are likely under the good results and unlikely under the others.",
    make=_make,
    revision=5,
    suits=Suits(fewest=MOST_MODELLED + 1),
    start=8,
    # Of those chosen one at a time too many would lie around the first good result.
    generation=GenerationSizes(generations=100, waits=1, together=4),
)
