"""Successive halving: many parameter sets on a small share of the data, the better ones on more and more of it.

Asynchronous rungs (Li et al. 2020): whenever a generation is made, every set that is among the best 1 / `REDUCTION`
of its rung goes up, the highest rungs first; what is left of the generation are new sets, which TPE suggests from
the highest rung that has enough results (Falkner et al. 2018).

With `brackets` (Hyperband, Li et al. 2018) new sets begin on several rungs, not on the lowest alone, each bracket with
about as much of the data in all, and a set competes with those alone that began where it did: where little data misleads,
the sets that began on more are not judged by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import numpy as np

from arbd.arrays import Floats, Ints
from arbd.search.history import History, best_first
from arbd.search.options import Option
from arbd.search.point_keys import TakenPoints, point_keys
from arbd.search.problem import SearchProblem
from arbd.search.sampler import AdaptiveMethod, Allowed, Proposal
from arbd.search.samplers.tpe import TpeSampler
from arbd.search.schedule import GenerationSizes
from arbd.search.seeds import generator, iteration_seed
from arbd.search.space import Unit
from arbd.values import dataclass

REDUCTION = 3.0
# A stream of random numbers of its own.
BRACKETS = 7
DRAWS = 64


def rungs(min_budget: float) -> Floats:
    """The shares of the data, from the smallest to all of it, growing evenly by about `REDUCTION`."""
    steps = max(1, round(math.log(1.0 / min_budget, REDUCTION))) if min_budget < 1.0 else 0
    growth = REDUCTION if abs(min_budget * REDUCTION**steps - 1.0) < 1e-9 else min_budget ** (-1.0 / max(1, steps))
    shares = [1.0]
    for _ in range(steps):
        shares.append(shares[-1] / growth)
    return np.array(shares[::-1])


@dataclass(frozen=True, slots=True)
class SuccessiveHalvingSampler:
    """See the module."""

    new_sets: TpeSampler
    seed: int
    budgets: Floats
    brackets: int = 1

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """See `AdaptiveSampler`."""
        shares = self.budgets
        points, budgets = self._promoted(history, shares, count)
        missing = count - len(points)
        if missing:
            enough = 2 * (history.points.shape[1] + 1)
            usable = [
                rung for rung in (history.budget >= share - 1e-9 for share in shares[::-1]) if rung.sum() >= enough
            ]
            if usable:
                fresh = self.new_sets.suggest(generation, missing, history.select(usable[0]), allowed).points
            else:
                fresh = self._anywhere(generation, (missing, history.points.shape[1]), allowed)
            points = np.concatenate([points, fresh])
            budgets = np.concatenate([budgets, self._first(generation, missing)])
        return Proposal(points, budgets)

    def _anywhere(self, generation: int, shape: tuple[int, int], allowed: Allowed) -> Unit:
        rng = generator(self.seed, generation)
        if self.brackets == 1:
            # What may not run is replaced later, as are all sets on the lowest rung.
            return rng.random(shape)
        drawn = rng.random((DRAWS * shape[0], shape[1]))
        fit = allowed(drawn)
        return np.concatenate([drawn[fit], drawn[~fit]])[: shape[0]]

    def _first(self, generation: int, count: int) -> Floats:
        """The shares that new sets begin with."""
        odds = bracket_odds(len(self.budgets), self.brackets)
        if len(odds) == 1:
            return np.full(count, self.budgets[0])
        return self.budgets[generator(iteration_seed(self.seed, BRACKETS), generation).choice(len(odds), count, p=odds)]

    def _promoted(self, history: History, shares: Floats, count: int) -> tuple[Unit, Floats]:
        points: list[Unit] = []
        budgets: list[float] = []
        began = self._began(history)
        for share, higher, first in self._rungs():
            rung = history.select((np.abs(history.budget - share) < 1e-9) & (began == first))
            best = best_first(rung)[: int(len(rung) / REDUCTION)]
            above = np.concatenate(
                [
                    history.points[history.budget > share + 1e-9],
                    history.pending[history.pending_budget > share + 1e-9],
                ]
            )
            there = TakenPoints.of(_named(above))
            feasible, named = rung.feasible[best], _named(rung.points[best])
            for position, name in zip(best[feasible].tolist(), named[feasible], strict=True):
                if len(points) == count:
                    break
                if not there.among(name[None, :])[0]:
                    points.append(rung.points[position])
                    budgets.append(float(higher))
                    there.add(name)
        d = history.points.shape[1]
        return np.array(points).reshape(-1, d), np.array(budgets, dtype=np.float64)

    def _rungs(self) -> Iterator[tuple[float, float, int]]:
        """Each rung of each bracket: its share, the next one, and the rung that the bracket begins on; the highest first."""
        several = len(bracket_odds(len(self.budgets), self.brackets)) > 1
        for rung in range(len(self.budgets) - 2, -1, -1):
            for first in range(min(rung, self.brackets - 1), -1, -1) if several else (0,):
                yield float(self.budgets[rung]), float(self.budgets[rung + 1]), first

    def _began(self, history: History) -> Ints:
        """The rung that the set of each result began on: the lowest that it was, or is, evaluated on."""
        if self.brackets == 1:
            return np.zeros(len(history), dtype=np.int64)
        points = _named(np.concatenate([history.points, history.pending]))
        budgets = np.concatenate([history.budget, history.pending_budget])
        rung = np.searchsorted(self.budgets, budgets - 1e-9)
        _, set_of = np.unique(point_keys(points), return_inverse=True)
        lowest = np.full(len(points), len(self.budgets), dtype=np.int64)
        np.minimum.at(lowest, set_of, rung)
        return np.asarray(lowest[set_of][: len(history)])


def bracket_odds(rungs: int, brackets: int) -> Floats:
    """How new sets are shared out to brackets, from the one that begins on the lowest rung.

    As many as the same data in all pays for, when a bracket lets 1 / `REDUCTION` of the sets of each rung rise.
    """
    left = np.arange(rungs, rungs - min(brackets, rungs), -1)
    odds = REDUCTION ** (left - 1) / left
    return np.asarray(odds / odds.sum())


def _named(points: Unit) -> Unit:
    """The same for a point that went through the values of its space: the way there and back may change the last bit."""
    return np.round(points, 9)


def _make(problem: SearchProblem) -> SuccessiveHalvingSampler:
    """Depends on space, seed and the budgets."""
    return SuccessiveHalvingSampler(
        TpeSampler(problem.space, problem.seed),
        problem.seed,
        np.array(problem.budgets, dtype=np.float64),
        int(cast("int", problem.options.get("brackets", 1))),
    )


METHOD = AdaptiveMethod(
    summary="Many parameter sets on a small budget, the better ones on more and more.",
    make=_make,
    revision=3,
    fields=("min_budget",),
    options=(
        Option(
            "brackets",
            1,
            "on how many rungs new sets begin, from the lowest: more where little data may mislead",
            1,
            20,
        ),
    ),
    max_metrics=1,
    budgets=rungs,
    generation=GenerationSizes(usual=4),
)
