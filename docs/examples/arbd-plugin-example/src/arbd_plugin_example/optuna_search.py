"""Optuna's samplers behind arbd: on many slots and hosts, the same on all of them, however often a host is killed.

Optuna's own state is not needed: a study is made anew for each generation, and told all results that it is to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from arbd.plugins.sampler import (
    AdaptiveMethod,
    Allowed,
    ChoiceDimension,
    GenerationSizes,
    History,
    Option,
    Proposal,
    SearchProblem,
    iteration_seed,
)

if TYPE_CHECKING:
    import optuna

TRIES = 20
BELOW_ONE = 1.0 - 1e-12


@dataclass(frozen=True, slots=True)
class OptunaSampler:
    """Points of the unit cube are parameters of an Optuna study, choices among them as choices."""

    problem: SearchProblem
    sampler: str

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """Trials that are asked for together, so that Optuna knows of each beside the next."""
        import optuna  # noqa: PLC0415 - listing methods does not need it

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        known = np.flatnonzero(history.known & (history.violation <= 0))
        study = optuna.create_study(
            directions=["minimize"] * len(self.problem.metrics),
            sampler=self._sampler(optuna, iteration_seed(self.problem.seed, generation)),
        )
        distributions = self._distributions(optuna)
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params=self._params(history.points[row]),
                    distributions=distributions,
                    values=history.losses[row].tolist(),
                )
                for row in known.tolist()
            ]
        )
        for point in history.pending:
            study.enqueue_trial(self._params(point))
            study.ask(distributions)
        return Proposal(np.array([self._asked(study, distributions, allowed) for _ in range(count)]))

    def _sampler(self, optuna: Any, seed: int) -> optuna.samplers.BaseSampler:
        seed %= 1 << 32
        if self.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=0)
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=12)

    def _distributions(self, optuna: Any) -> dict[str, Any]:
        return {
            d.name: optuna.distributions.CategoricalDistribution(range(d.levels))
            if isinstance(d, ChoiceDimension)
            else optuna.distributions.FloatDistribution(0.0, BELOW_ONE)
            for d in self.problem.space.dimensions
        }

    def _params(self, point: np.ndarray[Any, Any]) -> dict[str, float | int]:
        return {
            d.name: min(int(place * d.levels), d.levels - 1)
            if isinstance(d, ChoiceDimension)
            else min(place, BELOW_ONE)
            for d, place in zip(self.problem.space.dimensions, point.tolist(), strict=True)
        }

    def _asked(self, study: optuna.Study, distributions: dict[str, Any], allowed: Allowed) -> list[float]:
        """The first of some trials whose point may be run."""
        point: list[float] = []
        for _ in range(TRIES):
            params = study.ask(distributions).params
            point = [
                (params[d.name] + 0.5) / d.levels if isinstance(d, ChoiceDimension) else params[d.name]
                for d in self.problem.space.dimensions
            ]
            if allowed(np.array([point]))[0]:
                break
        return point


def _make(problem: SearchProblem) -> OptunaSampler:
    import optuna  # noqa: F401, PLC0415 - what computes is imported here

    return OptunaSampler(problem, str(problem.options["sampler"]))


METHOD = AdaptiveMethod(
    summary="Optuna's samplers.",
    make=_make,
    libraries=("numpy", "optuna"),
    generation=GenerationSizes(usual=4),
    options=(Option("sampler", "tpe", "which of them", values=("tpe", "nsga2")),),
)
