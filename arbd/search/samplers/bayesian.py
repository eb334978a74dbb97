"""Bayesian optimisation: a Gaussian process of the loss, and an acquisition function that says where to look next.

Losses are made more Gaussian first (Yeo and Johnson 2000), so that one enormous loss does not flatten all others.
Each constraint on metrics has a process of its own (`arbd.search.models.feasibility`).
A generation is chosen point by point, each expected to be evaluated before the next, and so is what is pending.
Several objectives are weighed anew for each generation (ParEGO, Knowles 2006).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from arbd.arrays import Floats, Ints
from arbd.search.history import History, best_first, bounded
from arbd.search.point_keys import TakenPoints, point_keys
from arbd.search.problem import SearchProblem
from arbd.search.sampler import MOST_MODELLED, AdaptiveMethod, Allowed, Proposal, Suits
from arbd.search.schedule import GenerationSizes
from arbd.search.seeds import generator
from arbd.search.space import ChoiceDimension, SearchSpace, Unit
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.search.models.acquisition import Acquisition

DEFAULT_ACQUISITION = "ei"
# Results that the process knows: the best of them, and the newest.
MOST_RESULTS = 400
# Of these, so many tell the hyperparameters.
MOST_FITTED = 128
EVERYWHERE = 1024
NEARBY = 64
NEARBY_SCALES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)
STARTS = 4
CLIMB_STEPS = 16
QUICK_STEPS = 5
# Decimals of losses in units of their spread; far below what the process takes for noise.
DIGITS = 8
CAREFUL_PICKS = 2
# Point by point in turn, what is to be beaten is the best less so many standard deviations of the losses. With the best
# alone, generations would be spent on the last digits of a local minimum: one in four asks for so much more that it
# goes where little is known.
AMBITIONS = (0.0, 0.2, 0.0, 2.0)


@dataclass(frozen=True, slots=True)
class BayesianSampler:
    """See the module. Remembers nothing: a suggestion follows from the history that it is given."""

    space: SearchSpace
    seed: int
    acquisition: str

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """See `AdaptiveSampler`."""
        rng = generator(self.seed, generation)
        if not history.known.any():
            return Proposal(self._snapped(rng.random((count, len(self.space.dimensions)))))
        objectives = history.losses.shape[1]
        losses = history.losses[:, 0]
        if objectives > 1:
            losses = _weighed(history, rng.dirichlet(np.ones(objectives)))
        return Proposal(self._chosen(rng, count, history, losses, allowed))

    def _chosen(
        self,
        rng: np.random.Generator,
        count: int,
        history: History,
        losses: Floats,
        allowed: Allowed,
    ) -> Unit:
        from arbd.search.models.acquisition import ACQUISITIONS  # noqa: PLC0415 - SciPy; a declaration imports none
        from arbd.search.models.feasibility import Feasibility  # noqa: PLC0415 - as above
        from arbd.search.models.gaussian_process import Posterior, fit  # noqa: PLC0415 - as above

        is_choice = np.array([isinstance(d, ChoiceDimension) for d in self.space.dimensions])
        known, sample = _few(history), _sample(history)
        keeping = Feasibility(())
        if history.margins is not None and history.feasible.any():
            keeping = Feasibility.of(history, known, partial(_sample_of, history), is_choice)
        # What breaks a constraint tells as much of the loss as what keeps it, where the probability of that is known.
        values = _gaussian(history, losses, history.known if keeping.terms else history.feasible)
        parameters = fit(history.points[sample], _standard(values[sample]), is_choice)
        posterior = Posterior(history.points[known], values[known], parameters, is_choice)
        posterior.expect(history.pending)
        best = float(values[history.feasible].min()) if history.feasible.any() else float(values.min())
        scores = [partial(_scored, ACQUISITIONS[self.acquisition], best - ambition) for ambition in AMBITIONS]
        several = history.losses.shape[1] > 1
        leaders = history.points[np.argsort(values)[:3] if several else best_first(history)[:3]]
        points = self._spread(rng, leaders)
        taken = TakenPoints.of(self._snapped(np.concatenate([history.points, history.pending])))
        may = allowed(points) & ~taken.among(points)
        candidates = posterior.candidates(points[may] if may.any() else points, count - 1)
        kept = keeping.log_probability(candidates.points)
        chosen: list[Unit] = []
        for pick in range(count):
            score = scores[pick % len(scores)]
            value = score(candidates.mean, candidates.deviation)[0] + kept
            careful = pick < CAREFUL_PICKS
            starts = candidates.best(value, STARTS if careful else 1)
            steps = CLIMB_STEPS if careful else QUICK_STEPS
            ended = self._snapped(posterior.climb(starts, score, steps, keeping.terms))
            ended = np.concatenate([ended, starts])
            after = score(*posterior.predict(ended))[0] + keeping.log_probability(ended)
            # A point that was evaluated, or will be, would tell nothing, however good it is.
            after[~allowed(ended) | taken.among(ended)] = -np.inf
            point = ended[int(np.argmax(after))]
            taken.add(point)
            candidates.leave_out(point)
            chosen.append(point)
            if pick < count - 1:
                candidates.expect(point)
        return np.array(chosen)

    def _spread(self, rng: np.random.Generator, leaders: Unit) -> Unit:
        """Points everywhere, and around the best ones at every distance."""
        d = leaders.shape[1]
        parts = [rng.random((EVERYWHERE, d))]
        for leader in leaders:
            for scale in NEARBY_SCALES:
                moved = leader + scale * rng.standard_normal((NEARBY // len(leaders) + 1, d))
                # Moving along a few axes only reaches other choices and other values of a grid one at a time.
                moved = np.where(rng.random(moved.shape) < 0.6, moved, leader)
                parts.append(np.clip(np.abs(moved), 0.0, 1.0 - 1e-12))
        points = np.concatenate(parts)
        for column, dimension in enumerate(self.space.dimensions):
            if isinstance(dimension, ChoiceDimension):
                other = rng.random(len(points)) < 0.2
                points[other, column] = rng.random(int(other.sum()))
        return self._snapped(points)

    def _snapped(self, points: Unit) -> Unit:
        return self.space.to_unit(self.space.from_unit(np.minimum(points, 1.0 - 1e-15)))


def _scored(acquisition: Acquisition, best: float, mean: Floats, deviation: Floats) -> tuple[Floats, Floats, Floats]:
    return acquisition(mean, deviation, best)


def _few(history: History) -> Ints:
    """Positions of what the process is to know, in order: each point once, the best and the newest."""
    _, first = np.unique(point_keys(history.points), return_index=True)
    index = np.sort(first)
    if len(index) <= MOST_RESULTS:
        return index
    order = best_first(history.select(index))
    best = index[order[: MOST_RESULTS // 2]]
    newest = np.setdiff1d(index, best)[-(MOST_RESULTS - len(best)) :]
    return np.sort(np.concatenate([best, newest]))


def _sample(history: History) -> Ints:
    """Positions of what the hyperparameters follow from: a third the best, the rest evenly from all others."""
    return _sample_of(history, np.ones(len(history), dtype=bool))


def _sample_of(history: History, among: npt.NDArray[np.bool_]) -> Ints:
    """The same from some of the results."""
    index = _few(history)
    index = index[among[index]]
    if len(index) <= MOST_FITTED:
        return index
    best = index[best_first(history.select(index))[: MOST_FITTED // 3]]
    others = np.setdiff1d(index, best)
    even = others[np.linspace(0, len(others) - 1, MOST_FITTED - len(best)).astype(np.int64)]
    return np.sort(np.concatenate([best, even]))


def _weighed(history: History, weights: Floats) -> Floats:
    """One loss from several, each scaled to 0..1: the largest weighed one, and a little of their sum."""
    known = history.feasible if history.feasible.any() else history.known
    low, high = history.losses[known].min(axis=0), history.losses[known].max(axis=0)
    scaled = _rounded((history.losses - low) / np.where(high > low, high - low, 1.0)) * weights
    return np.asarray(scaled.max(axis=1) + 0.05 * scaled.sum(axis=1))


def _gaussian(history: History, losses: Floats, good: npt.NDArray[np.bool_]) -> Floats:
    """Losses standardised, made Gaussian; those that are `good` as they are.

    What breaks a constraint is worse than the worst of them, the more so the more it breaks; what failed is worst.
    While nothing keeps them all, it is the violation that is to become small.
    """
    breaking = history.known & ~good
    if not good.any():
        losses, good, breaking = bounded(history.violation[:, None])[:, 0], history.known, np.zeros_like(good)
    values = losses[good]
    center, scale = np.median(values), float(np.subtract(*np.percentile(values, [75, 25])))
    scaled = _rounded((losses - center) / (scale or float(values.std()) or 1.0))
    bent = _yeo_johnson(scaled, _power(scaled[good]))
    worst, step = bent[good].max(), float(bent[good].std()) or 1.0
    bent = np.where(good, bent, worst + step)
    if breaking.any():
        place = np.searchsorted(np.unique(history.violation[breaking]), history.violation[breaking]) + 1
        bent[breaking] = worst + step * place / (place.max() + 1)
    return _standard(bent)


def _rounded(scaled: Floats) -> Floats:
    """Without the last digits, which differ when a loss is told in another unit or from another zero."""
    return np.round(scaled, DIGITS)


def _standard(values: Floats) -> Floats:
    deviation = float(values.std())
    return np.asarray((values - values.mean()) / (deviation if deviation > 0 else 1.0))


def _power(values: Floats) -> float:
    """The power under which the values look most like a normal sample."""
    from scipy import optimize  # noqa: PLC0415 - as above

    def loss(power: float) -> float:
        variance = float(_yeo_johnson(values, power).var())
        jacobian = (power - 1.0) * float((np.sign(values) * np.log1p(np.abs(values))).sum())
        return 0.5 * len(values) * math.log(max(variance, 1e-300)) - jacobian

    return float(optimize.minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 1e-3}).x)


def _yeo_johnson(values: Floats, power: float) -> Floats:
    positive, negative = np.maximum(values, 0.0), np.maximum(-values, 0.0)
    up = np.log1p(positive) if abs(power) < 1e-9 else (np.power(positive + 1.0, power) - 1.0) / power
    other = 2.0 - power
    down = np.log1p(negative) if abs(other) < 1e-9 else (np.power(negative + 1.0, other) - 1.0) / other
    return np.where(values >= 0, up, -down)


def _make(problem: SearchProblem) -> BayesianSampler:
    """Depends on space, seed and acquisition function. Loads what computes, whose threads are then limited."""
    from arbd.search.models import acquisition, feasibility, gaussian_process  # noqa: F401, PLC0415 - as above

    return BayesianSampler(problem.space, problem.seed, problem.acquisition_fn or DEFAULT_ACQUISITION)


METHOD = AdaptiveMethod(
    summary="A Gaussian process of the metric, for few and expensive iterations.",
    make=_make,
    revision=4,
    start=5,
    libraries=("numpy", "scipy"),
    fields=("acquisition_fn",),
    suits=Suits(most=MOST_MODELLED),
    generation=GenerationSizes(generations=100, waits=1),
)
