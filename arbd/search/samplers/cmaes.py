"""CMA-ES: a normal distribution that moves and stretches towards the better half (Hansen and Ostermeier 2001).

The strategy itself is the library `cmaes`. Its state after the known generations follows from them: it is told
each in turn, and its random numbers are begun anew for each generation, so that any worker gets the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from arbd.search.history import Floats, History, Ints, best_first
from arbd.search.problem import SearchProblem
from arbd.search.sampler import AdaptiveMethod, Allowed, Proposal
from arbd.search.schedule import GenerationSizes
from arbd.search.seeds import iteration_seed
from arbd.search.space import SearchSpace, Unit

if TYPE_CHECKING:
    from cmaes import CMA

# Chosen on the problems of benchmarks/search_problems.py that are not held back.
FIRST_WIDTH = 0.18
# The library's warm start looks at the best tenth; of fewer results it is begun around the best.
FEWEST_PAST = 10
_SEED_SPACE = 2**32
# Stands for a point that failed, in what is remembered.
FAILED = -1.0


@dataclass(slots=True)
class _Told:
    """A strategy after `count` results, and what it was told: points, and the order of all results known then."""

    strategy: CMA
    count: int
    points: Unit
    order: Ints


@dataclass(slots=True)
class CmaesSampler:
    """See the module. `past` is how many results of the history came from elsewhere, before iteration 1.

    Remembers the strategy after the generations that it was told, and uses it while these and their order are the same.
    """

    space: SearchSpace
    seed: int
    population: int
    past: int
    _told: _Told | None = None

    @property
    def dimensions(self) -> int:
        """How many parameters there are."""
        return len(self.space.dimensions)

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """See `AdaptiveSampler`."""
        # Asking changes nothing but the random numbers, which begin anew each time. (A copy would differ in last bits.)
        strategy = self._told_all(history)
        strategy.reseed_rng(iteration_seed(self.seed, generation) % _SEED_SPACE)
        points = np.empty((count, self.dimensions))
        for row in range(count):
            for _ in range(20):
                points[row] = np.clip(strategy.ask()[: self.dimensions], 0.0, 1.0 - 1e-12)
                if allowed(points[[row]])[0]:
                    break
        return Proposal(points)

    def _told_all(self, history: History) -> CMA:
        """The strategy that was told all whole generations."""
        places = _places(history)
        own, size = history.points[self.past :], self.population
        # What failed is worst, and says nothing of a direction: it may have failed for any reason, anywhere.
        worked = history.known[self.past :]
        own = np.where(worked[:, None], own, FAILED)
        told = self._remembered(own, places)
        strategy, start = (told.strategy, told.count) if told is not None else (self._begun(history, places), 0)
        for first in range(start, len(own) - size + 1, size):
            if strategy.should_stop():
                # It has shrunk to a point: begin anew around the best of all, wide again.
                best = int(np.argmin(places[self.past : self.past + first]))
                strategy = self._begun(history, places, own[best] if worked[best] else None)
            # It looks at the order within a generation alone, which stays what it is whatever comes later.
            order = np.argsort(places[self.past + first : self.past + first + size])
            part = self._with_neutral(strategy, own, first)
            strategy.tell(
                [
                    (self._padded(part[at]) if worked[first + at] else strategy.mean.copy(), float(place))
                    for place, at in enumerate(order.tolist())
                ]
            )
        count = len(own) // size * size
        self._told = _Told(strategy, count, own[:count].copy(), np.argsort(places[: self.past + count]))
        return strategy

    def _with_neutral(self, strategy: CMA, own: Unit, first: int) -> Unit:
        """A generation, in which what does not exist is drawn from the strategy: it is to say nothing of a direction."""
        part = own[first : first + self.population]
        if not self.space.conditions:
            return part
        strategy.reseed_rng(iteration_seed(self.seed, -1 - first) % _SEED_SPACE)
        drawn = np.array([strategy.ask()[: self.dimensions] for _ in part])
        return np.where(self.space.active_at(np.clip(part, 0.0, 1.0)), part, np.clip(drawn, 0.0, 1.0))

    def _remembered(self, own: Unit, places: Floats) -> _Told | None:
        told = self._told
        same = (
            told is not None
            and told.count <= len(own)
            and np.array_equal(told.points, own[: told.count])
            and np.array_equal(told.order, np.argsort(places[: self.past + told.count]))
        )
        return told if same else None

    def _begun(self, history: History, losses: Floats, best: Unit | None = None) -> CMA:
        from cmaes import CMA, get_warm_start_mgd  # noqa: PLC0415 - a declaration imports no library

        # The library has no strategy of one dimension: a second one is added that nothing depends on.
        size = max(2, self.dimensions)
        mean, width, covariance = np.full(size, 0.5), FIRST_WIDTH, None
        if best is not None:
            mean = self._padded(best)
        elif (worked := np.flatnonzero(history.known[: self.past])).size >= FEWEST_PAST:
            solutions = [(self._padded(history.points[i]), float(losses[i])) for i in worked]
            mean, width, covariance = get_warm_start_mgd(solutions)
        elif worked.size:
            mean = self._padded(history.points[worked[np.argmin(losses[worked])]])
        return CMA(
            mean=np.clip(mean, 0.0, 1.0), sigma=float(width), cov=covariance, bounds=np.array([[0.0, 1.0]] * size),
            population_size=self.population, seed=self.seed % _SEED_SPACE,
        )  # fmt: skip

    def _padded(self, point: Unit) -> Unit:
        return np.append(point, 0.5) if self.dimensions == 1 else point


def _places(history: History) -> Floats:
    """The strategy looks at order alone, so places do, which failed results have too."""
    places = np.empty(len(history))
    places[best_first(history)] = np.arange(len(history), dtype=np.float64)
    return places


def _make(problem: SearchProblem) -> CmaesSampler:
    """Depends on space, seed, and the size of a generation. Loads what computes, whose threads are then limited."""
    import cmaes  # noqa: F401, PLC0415 - a declaration imports no library

    past = len(problem.past.points) if problem.past is not None else 0
    return CmaesSampler(problem.space, problem.seed, problem.generation_size, past)


METHOD = AdaptiveMethod(
    summary="A normal distribution that moves and stretches towards the better half.",
    make=_make,
    revision=3,
    libraries=("numpy", "cmaes"),
    max_metrics=1,
    start=None,
    # A generation is its population.
    generation=GenerationSizes(usual=8, short=4, required=4, max_lag=2, waits=True),
)
