"""CMA-ES: a normal distribution that moves and stretches towards the better half (Hansen and Ostermeier 2001).

Where generations are suggested before the results of the one before are known, so many strategies take turns, each of
which sees its own generations alone: told points that another state of itself drew, it would take the distance between
the two states for a direction. The state of each follows from the known generations: it is told them in turn, and its
random numbers are begun anew for each, so that any worker gets the same, and finds again what it drew for a point whose
values say less than that (`arbd.search.models.distributions`).
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from arbd.arrays import Floats, Ints
from arbd.search.history import History, best_first
from arbd.search.point_keys import point_keys
from arbd.search.problem import SearchProblem
from arbd.search.sampler import AdaptiveMethod, Allowed, Proposal
from arbd.search.schedule import GenerationSizes
from arbd.search.space import SearchSpace, Unit
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.search.models.evolution import Chain

# Draws for one point, until one may be run and was not run before.
TRIES = 20


@dataclass(slots=True)
class _Told:
    """A strategy, and what it was told: rows of the history, points, and the order of these results."""

    chain: Chain
    rows: Ints
    points: Unit
    order: Ints


@dataclass(frozen=True, slots=True)
class _Known:
    """All points before a suggestion, results and what is pending, earlier sessions first; and where each stood first."""

    keys: npt.NDArray[np.uint64]
    first: Ints

    @classmethod
    def of(cls, points: Unit) -> _Known:
        """Of points in order."""
        keys, first = np.unique(point_keys(points), return_index=True)
        return cls(keys, first.astype(np.int64))

    def has(self, key: np.uint64, before: int) -> bool:
        """Whether a point stands among the first `before`."""
        at = int(np.searchsorted(self.keys, key))
        return at < len(self.keys) and bool(self.keys[at] == key) and int(self.first[at]) < before


@dataclass(slots=True)
class CmaesSampler:
    """See the module. `past` is how many results of the history came from elsewhere; `turns`, how many strategies there are.

    Remembers each strategy after the generations that it was told, and uses it while these and their order are the same.
    """

    space: SearchSpace
    seed: int
    population: int
    past: int
    turns: int
    _told: dict[int, _Told] = field(default_factory=dict)

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """See `AdaptiveSampler`. Which generation it is follows from what is known and pending."""
        del generation
        before = np.concatenate([history.points, history.pending])
        # Between real numbers no point comes again.
        known = _Known.of(before if self.space.size is not None else before[:0])
        number, offset = divmod(len(history) - self.past + len(history.pending), self.population)
        parts: list[Unit] = []
        left = count
        while left:
            wanted = min(left, self.population - offset)
            chain = self._told_all(number % self.turns, history, known, allowed)
            parts.append(self._drawn(chain, number, offset + wanted, known, allowed)[0][offset:])
            number, offset, left = number + 1, 0, left - wanted
        return Proposal(np.concatenate(parts))

    def _drawn(
        self, chain: Chain, number: int, count: int, known: _Known, allowed: Allowed
    ) -> tuple[Unit, list[Floats]]:
        """The first points of generation `number`, from 0, and what was drawn for each."""
        chain.reseed(number + 1)
        points, draws = np.empty((count, len(self.space.dimensions))), list[Floats]()
        finite, own, before = self.space.size is not None, set[int](), self.past + number * self.population
        for row in range(count):
            for _ in range(TRIES):
                points[row], draw = chain.run.draw()
                key = point_keys(self._snapped(points[[row]]))[0] if finite else np.uint64(0)
                taken = finite and (int(key) in own or known.has(key, before))
                if not taken and allowed(points[[row]])[0]:
                    break
            draws.append(draw)
            own.add(int(key))
        return points, draws

    def _told_all(self, turn: int, history: History, known: _Known, allowed: Allowed) -> Chain:
        """The strategy whose turn it is, told all of its generations that are known as a whole."""
        places = _places(history)
        own, size = history.points[self.past :], self.population
        worked, own_places = history.known[self.past :], places[self.past :]
        starts = np.arange(turn * size, len(own) - size + 1, self.turns * size)
        told = self._remembered(turn, own, worked, own_places)
        chain, done = (
            (told.chain, len(told.rows) // size) if told is not None else (self._begun(turn, history, places), 0)
        )
        for first in starts[done:].tolist():
            rows = np.arange(first, first + size)
            draws = self._found_again(chain, first // size, own[rows], known, allowed)
            chain.tell(draws, rows, worked[rows], own_places)
        rows = (starts[:, None] + np.arange(size)).ravel()
        self._told[turn] = _Told(chain, rows, _but_failed(own[rows], worked[rows]), np.argsort(own_places[rows]))
        return chain

    def _found_again(self, chain: Chain, number: int, points: Unit, known: _Known, allowed: Allowed) -> Floats:
        """What was drawn for each point of a generation; the point itself where it came from elsewhere."""
        from arbd.search.models.distributions import has_shares  # noqa: PLC0415 - a declaration imports no library

        given = chain.run.draws_of(points)
        found = chain.run.nearer(given)
        if not self.space.conditions and not has_shares(self.space) and np.array_equal(found, given):
            return found
        asked, draws = self._drawn(chain, number, len(points), known, allowed)
        at = {int(key): row for row, key in enumerate(point_keys(self._snapped(asked)))}
        for row, key in enumerate(point_keys(points).tolist()):
            if key in at:
                found[row] = draws[at[key]]
        # What does not exist at a point is to say nothing of a direction.
        return np.where(chain.run.parts(self.space.active_at(points)), found, np.array(draws))

    def _snapped(self, points: Unit) -> Unit:
        return self.space.to_unit(self.space.from_unit(points))

    def _remembered(self, turn: int, own: Unit, worked: npt.NDArray[np.bool_], places: Floats) -> _Told | None:
        told = self._told.get(turn)
        if told is None or (len(told.rows) and told.rows[-1] >= len(own)):
            return None
        same = np.array_equal(told.points, _but_failed(own[told.rows], worked[told.rows])) and np.array_equal(
            told.order, np.argsort(places[told.rows])
        )
        return told if same else None

    def _begun(self, turn: int, history: History, places: Floats) -> Chain:
        from arbd.search.models.evolution import Chain, beginning  # noqa: PLC0415 - a declaration imports no library

        worked = np.flatnonzero(history.known[: self.past])
        begin = beginning(len(self.space.dimensions), history.points[worked], places[worked])
        return Chain(self.space, self.seed, turn, self.population, begin)


def _but_failed(points: Unit, worked: npt.NDArray[np.bool_]) -> Unit:
    """Points with another one in the place of those that failed, which is where nothing lies."""
    return np.where(worked[:, None], points, -1.0)


def _places(history: History) -> Floats:
    """The strategy looks at order alone, so places do, which failed results have too."""
    places = np.empty(len(history))
    places[best_first(history)] = np.arange(len(history), dtype=np.float64)
    return places


def _make(problem: SearchProblem) -> CmaesSampler:
    """Depends on space, seed, size and lag of generations. Loads what computes, whose threads are then limited."""
    import arbd.search.models.evolution  # noqa: F401, PLC0415 - a declaration imports no library

    past = len(problem.past.points) if problem.past is not None else 0
    return CmaesSampler(problem.space, problem.seed, problem.generation_size, past, problem.generation_lag)


METHOD = AdaptiveMethod(
    summary="A normal distribution that moves and stretches towards the better half.",
    make=_make,
    revision=4,
    libraries=("numpy", "scipy", "cmaes"),
    max_metrics=1,
    start=None,
    # A generation is its population.
    generation=GenerationSizes(usual=8, short=4, required=4, max_lag=2, waits=4),
)
