"""A search in this process: what the farm does with many slots, one iteration after the other.

The generations are the farm's own, so parameters and results are the same to the bit. Owns nothing on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from arbd.errors import UsageError
from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner
from arbd.search.plan import PRUNED, RUN, NonAdaptivePlan, PlannedRows
from arbd.search.problem import SearchProblem
from arbd.search.pruning import Report, Thresholds
from arbd.search.trial_history import TrialResults
from arbd.search.versions import sampler_versions


class Search:
    """Asks for iterations and tells their results. A search that learns needs the results that it learns from."""

    def __init__(self, spec: SearchProblem) -> None:
        self.spec = spec
        self._plan = NonAdaptivePlan(spec) if not spec.generation_size else None
        self._planner = GenerationPlanner(spec, sampler_versions(spec.method)) if spec.generation_size else None
        self._made: list[Generation] = []
        self.stopped = ""

    def row(self, iteration: int) -> PlannedRows | None:
        """What an iteration is to do; None when the search ended before it. UsageError when it must learn first."""
        if self._plan is not None:
            return self._plan.rows(iteration, 1)
        assert self._planner is not None
        size = self.spec.generation_size
        number = (iteration - 1) // size + 1
        while len(self._made) < number and not self.stopped:
            self._next(self._planner)
        if len(self._made) < number:
            return None
        generation = self._made[number - 1]
        return generation.rows.select(slice(iteration - generation.first, iteration - generation.first + 1))

    def _next(self, planner: GenerationPlanner) -> None:
        number = len(self._made) + 1
        missing = planner.trial_history.missing(planner.schedule.known_before(number))
        if missing:
            raise UsageError(
                f"generation {number} of a search by {self.spec.method} learns from iteration {missing[0]}: "
                "run the iterations in order"
            )
        generation = planner.generation(number, [self._made[at - 1] for at in planner.schedule.pending(number)])
        if generation.stop:
            self.stopped = generation.stop
        else:
            self._made.append(generation)

    def thresholds(self, iteration: int) -> Thresholds:
        """See `arbd.search.plan.Plan`; of an iteration whose `row` was asked for."""
        if self._planner is None:
            return Thresholds.none()
        return self._made[(iteration - 1) // self.spec.generation_size].thresholds

    def tell(
        self,
        iteration: int,
        metrics: Mapping[str, float] | None,
        reports: Sequence[Report] = (),
        *,
        pruned: bool = False,
    ) -> None:
        """The result of an iteration, None when it failed; what it reported, and whether it was ended by that."""
        if self._planner is None:
            return
        row = self.row(iteration)
        if row is None:
            return
        columns = {name: np.array([value]) for name, value in (metrics or {}).items()}
        if row.budget is not None:
            columns["budget"] = row.budget
        completed = np.array([metrics is not None or pruned or int(row.origin[0]) != RUN])
        origin = np.array([PRUNED]) if pruned else row.origin
        told = {iteration: reports} if reports else {}
        self._planner.trial_history.learn(
            TrialResults(np.array([iteration]), completed, origin, row.columns, columns, told)
        )
