"""nevergrad's optimisers behind arbd, as `optuna_search`: made anew for each generation, and told what is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arbd.plugins.sampler import (
    AdaptiveMethod,
    Allowed,
    GenerationSizes,
    History,
    Option,
    Proposal,
    SearchProblem,
    iteration_seed,
)

TRIES = 20


@dataclass(frozen=True, slots=True)
class NevergradSampler:
    """The unit cube is an array of nevergrad's; its optimiser is told points that it did not ask for."""

    problem: SearchProblem
    optimizer: str

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """Points that are asked for together."""
        import nevergrad  # noqa: PLC0415 - listing methods does not need it

        cube = nevergrad.p.Array(init=np.full(len(self.problem.space.dimensions), 0.5)).set_bounds(0.0, 1.0)
        cube.random_state = np.random.RandomState(iteration_seed(self.problem.seed, generation) % (1 << 32))
        search = nevergrad.optimizers.registry[self.optimizer](cube, budget=self.problem.n, num_workers=count)
        for row in np.flatnonzero(history.known & (history.violation <= 0)).tolist():
            search.tell(cube.spawn_child(new_value=history.points[row]), float(history.losses[row, 0]))
        points = np.empty((count, len(self.problem.space.dimensions)))
        for row in range(count):
            for _ in range(TRIES):
                points[row] = np.clip(search.ask().value, 0.0, 1.0 - 1e-12)
                if allowed(points[[row]])[0]:
                    break
        return Proposal(points)


def _make(problem: SearchProblem) -> NevergradSampler:
    import nevergrad  # noqa: F401, PLC0415 - what computes is imported here

    return NevergradSampler(problem, str(problem.options["optimizer"]))


METHOD = AdaptiveMethod(
    summary="nevergrad's optimisers.",
    make=_make,
    libraries=("numpy", "nevergrad"),
    max_metrics=1,
    generation=GenerationSizes(usual=4),
    options=(Option("optimizer", "CMA", "its name in nevergrad", values=("CMA", "DE", "OnePlusOne", "PSO")),),
)
