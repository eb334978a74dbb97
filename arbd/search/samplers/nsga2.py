"""NSGA-II: parents by front and crowding, children by crossover and mutation (Deb et al. 2002).

The parents are the best of everything known, which is what elitism comes to. Crossover is simulated binary, mutation
polynomial; choices are swapped and redrawn. Also for one objective, where the front is the order by loss.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arbd.search.history import History, best_first
from arbd.search.point_keys import TakenPoints, point_keys
from arbd.search.problem import SearchProblem
from arbd.search.sampler import AdaptiveMethod, Allowed, Proposal
from arbd.search.schedule import GenerationSizes
from arbd.search.seeds import generator
from arbd.search.space import ChoiceDimension, SearchSpace, Unit
from arbd.values import dataclass

FEWEST_PARENTS = 12
CROSSOVER = 0.9
# Small indices reach far, which a search of some hundred iterations needs.
CROSSOVER_INDEX = 3.0
MUTATION_INDEX = 1.0
TRIES = 20


@dataclass(frozen=True, slots=True)
class Nsga2Sampler:
    """See the module."""

    space: SearchSpace
    seed: int
    population: int

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """See `AdaptiveSampler`."""
        rng = generator(self.seed, generation)
        parents = history.points[best_first(history)[: max(self.population, FEWEST_PARENTS)]]
        children = self._children(rng, parents, count)
        taken = TakenPoints.of(np.concatenate([history.points, history.pending]))
        for _ in range(TRIES):
            again = ~allowed(children) | _twins(children, taken)
            if not again.any():
                break
            children[again] = self._children(rng, parents, int(again.sum()))
        return Proposal(children)

    def _children(self, rng: np.random.Generator, parents: Unit, count: int) -> Unit:
        n, d = parents.shape
        # Parents are in order, so the better of two is the one that comes first.
        one = parents[rng.integers(0, n, (count, 2)).min(axis=1)]
        other = parents[rng.integers(0, n, (count, 2)).min(axis=1)]
        one, other = self._with_genes(rng, one, other)
        children = np.clip(_crossed(rng, one, other), 0.0, 1.0)
        is_choice = np.array([isinstance(dimension, ChoiceDimension) for dimension in self.space.dimensions])
        swapped = np.where(rng.random((count, d)) < 0.5, one, other)
        mutates = rng.random((count, d)) < 1.0 / d
        redrawn = rng.random((count, d))
        children = np.where(mutates, _mutated(rng, children), children)
        children = np.where(is_choice, np.where(mutates, redrawn, swapped), children)
        return self.space.to_unit(self.space.from_unit(np.clip(children, 0.0, 1.0 - 1e-12)))

    def _with_genes(self, rng: np.random.Generator, one: Unit, other: Unit) -> tuple[Unit, Unit]:
        """Parents with a value for what does not exist there: the other one's, or any, for children that have it."""
        if not self.space.conditions:
            return one, other
        has_one, has_other = self.space.active_at(one), self.space.active_at(other)
        anything = rng.random(one.shape)
        first = np.where(has_one, one, np.where(has_other, other, anything))
        return first, np.where(has_other, other, first)


def _crossed(rng: np.random.Generator, one: Unit, other: Unit) -> Unit:
    u = rng.random(one.shape)
    power = 1.0 / (CROSSOVER_INDEX + 1.0)
    spread = np.where(u <= 0.5, (2 * u) ** power, (1 / (2 * (1 - u))) ** power)
    child = 0.5 * ((1 + spread) * one + (1 - spread) * other)
    crosses = (rng.random((len(one), 1)) < CROSSOVER) & (rng.random(one.shape) < 0.5)
    return np.where(crosses, child, one)


def _mutated(rng: np.random.Generator, points: Unit) -> Unit:
    u = rng.random(points.shape)
    power = 1.0 / (MUTATION_INDEX + 1.0)
    down = (2 * u + (1 - 2 * u) * (1 - points) ** (MUTATION_INDEX + 1)) ** power - 1
    up = 1 - (2 * (1 - u) + 2 * (u - 0.5) * points ** (MUTATION_INDEX + 1)) ** power
    return points + np.where(u < 0.5, down, up)


def _twins(children: Unit, taken: TakenPoints) -> npt.NDArray[np.bool_]:
    """Children that stand there already, or before them among themselves."""
    _, first = np.unique(point_keys(children), return_index=True)
    again = np.ones(len(children), dtype=bool)
    again[first] = False
    return again | taken.among(children)


def _make(problem: SearchProblem) -> Nsga2Sampler:
    """Depends on space, seed, and the size of a generation."""
    return Nsga2Sampler(problem.space, problem.seed, problem.generation_size)


METHOD = AdaptiveMethod(
    summary="An evolving population, for fronts of several metrics.",
    make=_make,
    revision=2,
    generation=GenerationSizes(usual=12, short=4, waits=1),
)
