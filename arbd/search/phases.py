"""What stands where in a session: its search, and after it the phases that judge what the search chose.

Keeps I5: which phase and fold an iteration belongs to, how many there are, and which of them have to be recorded before
others can be planned, follows from the job alone. So every host knows it before the first one runs, a row need not say
it, and a session has as many iterations at its end as it had when it was accepted.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum
from functools import cached_property
from typing import Any

from arbd.arrays import np, npt
from arbd.search.schedule import Schedule
from arbd.values import dataclass

# Iterations of a phase that are published together, where nothing has to be learnt in between.
AT_ONCE = 4_096
JUDGES = Schedule(AT_ONCE)


class Phase(StrEnum):
    """What an iteration is for."""

    SEARCH = "search"
    """It was chosen by the method. Fold 0 is the session's own search; others see their fold's training windows alone."""
    TEST = "test"
    """A finalist of the fold's search on the fold's test windows."""
    NEIGHBOUR = "neighbour"
    """A set near the winner, on the data of the search."""
    STRESS = "stress"
    """A finalist on the data of the search under worse conditions; the fold is the number of the stress."""
    NULL = "null"
    """The search again on a market without an edge; the fold is the number of the market."""


SEARCHES = (Phase.SEARCH, Phase.NULL)


@dataclass(frozen=True, slots=True)
class Counts:
    """How much validation a job asks for. `folds` are those beside the session's own search; `tests` all that are tested."""

    folds: int = 0
    tests: tuple[int, ...] = ()
    finalists: int = 0
    neighbours: int = 0
    stresses: int = 0
    null_searches: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive iterations of one phase and fold, published `schedule.size` at a time.

    What its first ones are follows from the results of iterations up to `after`; 0 where it needs none.
    """

    phase: Phase
    fold: int
    first: int
    count: int
    schedule: Schedule
    after: int = 0

    @property
    def last(self) -> int:
        """Its last iteration."""
        return self.first + self.count - 1

    @property
    def generations(self) -> int:
        """How many files hold it."""
        return -(-self.count // self.schedule.size)

    @property
    def is_own_search(self) -> bool:
        """True for the iterations that rankings, samplers, stop rules and warm starts see."""
        return self.phase is Phase.SEARCH and self.fold == 0


@dataclass(frozen=True)
class Layout:
    """All stretches of a session, in the order in which they run."""

    stretches: tuple[Stretch, ...]

    @classmethod
    def plain(cls, n: int, schedule: Schedule) -> Layout:
        """A search and nothing else."""
        return cls((Stretch(Phase.SEARCH, 0, 1, n, schedule),))

    @classmethod
    def of(cls, n: int, schedule: Schedule, counts: Counts) -> Layout:
        """A search of `n` iterations, the searches of its folds, and what judges them: tests, neighbours, stresses, nulls."""
        found: list[Stretch] = []

        def add(phase: Phase, fold: int, count: int, schedule: Schedule, after: int = 0) -> None:
            if count:
                first = found[-1].last + 1 if found else 1
                found.append(Stretch(phase, fold, first, count, schedule, after))

        for fold in range(counts.folds + 1):
            add(Phase.SEARCH, fold, n, schedule)
        searched = found[-1].last
        for fold in counts.tests:
            add(Phase.TEST, fold, counts.finalists, JUDGES, searched)
        add(Phase.NEIGHBOUR, 0, counts.neighbours, JUDGES, searched)
        for stress in range(1, counts.stresses + 1):
            add(Phase.STRESS, stress, counts.finalists, JUDGES, searched)
        for market in range(1, counts.null_searches + 1):
            add(Phase.NULL, market, n, schedule)
        return cls(tuple(found))

    @property
    def n(self) -> int:
        """Iterations in all."""
        return self.stretches[-1].last

    @cached_property
    def generations(self) -> int:
        """Files in all."""
        return sum(stretch.generations for stretch in self.stretches)

    @cached_property
    def _firsts(self) -> list[int]:
        return [stretch.first for stretch in self.stretches]

    @cached_property
    def _numbers(self) -> list[int]:
        """The generation that each stretch begins with."""
        numbers, number = [], 1
        for stretch in self.stretches:
            numbers.append(number)
            number += stretch.generations
        return numbers

    def at(self, iteration: int) -> Stretch:
        """Where an iteration stands."""
        return self.stretches[bisect_right(self._firsts, iteration) - 1]

    def indices(self, iterations: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The positions of iterations' stretches in `stretches`."""
        return np.searchsorted(np.array(self._firsts), iterations, side="right") - 1

    def own_search(self, iterations: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which iterations are of the session's own search."""
        return np.asarray(iterations <= self.stretches[0].last)

    def find(self, phase: Phase, fold: int = 0) -> Stretch | None:
        """The stretch of a phase and fold."""
        return next((each for each in self.stretches if each.phase is phase and each.fold == fold), None)

    def number_of(self, iteration: int) -> int:
        """The generation that an iteration is in."""
        at = bisect_right(self._firsts, iteration) - 1
        return self._numbers[at] + (iteration - self.stretches[at].first) // self.stretches[at].schedule.size

    def generation(self, number: int) -> tuple[Stretch, int]:
        """The stretch that a generation is of, and its number in there, from 1."""
        at = bisect_right(self._numbers, number) - 1
        return self.stretches[at], number - self._numbers[at] + 1

    def last_of(self, number: int) -> int:
        """The last iteration of a generation; 0 for none."""
        if number <= 0:
            return 0
        stretch, own = self.generation(number)
        return min(stretch.last, stretch.first + own * stretch.schedule.size - 1)

    def known_before(self, number: int) -> int:
        """The last iteration whose result a generation depends on; 0 for none."""
        stretch, own = self.generation(number)
        within = stretch.schedule.known_before(own) if stretch.phase in SEARCHES else 0
        return stretch.first - 1 + within if within else stretch.after

    def pending(self, number: int) -> range:
        """The generations of the same search before `number` whose results it does not depend on."""
        stretch, own = self.generation(number)
        if stretch.phase not in SEARCHES:
            return range(0)
        within = stretch.schedule.pending(own)
        return range(number - own + within.start, number - own + within.stop)
