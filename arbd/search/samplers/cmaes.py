"""CMA-ES: a normal distribution that moves and stretches towards the better half (Hansen and Ostermeier 2001).

The strategy itself is the library `cmaes`. Its state after the known generations follows from them: it is told
each in turn, and its random numbers are begun anew for each generation, so that any worker gets the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from arbd.search.history import Floats, History, best_first
from arbd.search.problem import SearchProblem
from arbd.search.sampler import AdaptiveMethod, Allowed, GenerationSizes, Proposal
from arbd.search.seeds import iteration_seed
from arbd.search.space import Unit

if TYPE_CHECKING:
    from cmaes import CMA

FIRST_WIDTH = 0.25
# The library's warm start looks at the best tenth; of fewer results it is begun around the best.
FEWEST_PAST = 10
_SEED_SPACE = 2**32


@dataclass(frozen=True, slots=True)
class CmaesSampler:
    """See the module. `past` is how many results of the history came from elsewhere, before iteration 1."""

    dimensions: int
    seed: int
    population: int
    past: int

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """See `AdaptiveSampler`."""
        losses = _ranks(history)
        strategy = self._begun(history, losses)
        own = history.points[self.past :]
        for start in range(0, len(own) - self.population + 1, self.population):
            if strategy.should_stop():
                # It has shrunk to a point: begin anew around the best of all, wide again.
                strategy = self._begun(history, losses, own[int(np.argmin(losses[self.past : self.past + start]))])
            solutions = [
                (self._padded(own[i]), float(losses[self.past + i])) for i in range(start, start + self.population)
            ]
            strategy.tell(solutions)
        strategy.reseed_rng(iteration_seed(self.seed, generation) % _SEED_SPACE)
        points = np.empty((count, self.dimensions))
        for row in range(count):
            for _ in range(20):
                points[row] = np.clip(strategy.ask()[: self.dimensions], 0.0, 1.0 - 1e-12)
                if allowed(points[[row]])[0]:
                    break
        return Proposal(points)

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


def _ranks(history: History) -> Floats:
    """The strategy looks at order alone, so places do, which failed results have too."""
    ranks = np.empty(len(history))
    ranks[best_first(history)] = np.arange(len(history), dtype=np.float64)
    return ranks


def _make(problem: SearchProblem) -> CmaesSampler:
    """Depends on space, seed, and the size of a generation. Loads what computes, whose threads are then limited."""
    import cmaes  # noqa: F401, PLC0415 - a declaration imports no library

    past = len(problem.past.points) if problem.past is not None else 0
    return CmaesSampler(len(problem.space.dimensions), problem.seed, problem.generation_size, past)


METHOD = AdaptiveMethod(
    summary="A normal distribution that moves and stretches towards the better half.",
    make=_make,
    libraries=("numpy", "cmaes"),
    max_metrics=1,
    # A generation is its population.
    generation=GenerationSizes(usual=8, short=4, required=4),
)
