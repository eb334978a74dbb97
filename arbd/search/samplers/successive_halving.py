"""Successive halving: many parameter sets on a small share of the data, the better ones on more and more of it.

Asynchronous rungs (Li et al. 2020): whenever a generation is made, every set that is among the best 1 / `REDUCTION`
of its rung goes up, the highest rungs first; what is left of the generation are new sets, which TPE suggests from
the highest rung that has enough results (Falkner et al. 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from arbd.search.history import Floats, History, best_first
from arbd.search.point_keys import TakenPoints
from arbd.search.problem import SearchProblem
from arbd.search.sampler import AdaptiveMethod, Allowed, Proposal
from arbd.search.samplers.tpe import TpeSampler
from arbd.search.schedule import GenerationSizes
from arbd.search.seeds import generator
from arbd.search.space import Unit

REDUCTION = 3.0


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
                fresh = generator(self.seed, generation).random((missing, history.points.shape[1]))
            points = np.concatenate([points, fresh])
            budgets = np.concatenate([budgets, np.full(missing, shares[0])])
        return Proposal(points, budgets)

    def _promoted(self, history: History, shares: Floats, count: int) -> tuple[Unit, Floats]:
        points: list[Unit] = []
        budgets: list[float] = []
        for share, higher in zip(shares[-2::-1], shares[:0:-1], strict=True):
            rung = history.select(np.abs(history.budget - share) < 1e-9)
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


def _named(points: Unit) -> Unit:
    """The same for a point that went through the values of its space: the way there and back may change the last bit."""
    return np.round(points, 9)


def _make(problem: SearchProblem) -> SuccessiveHalvingSampler:
    """Depends on space, seed and the budgets."""
    return SuccessiveHalvingSampler(
        TpeSampler(problem.space, problem.seed), problem.seed, np.array(problem.budgets, dtype=np.float64)
    )


METHOD = AdaptiveMethod(
    summary="Many parameter sets on a small budget, the better ones on more and more.",
    make=_make,
    revision=2,
    fields=("min_budget",),
    max_metrics=1,
    budgets=rungs,
    generation=GenerationSizes(usual=4),
)
