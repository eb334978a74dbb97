"""Annealing: steps around one of the best results, wide at first and narrower with every generation."""

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
    best_first,
    generator,
)

TRIES = 20


@dataclass(frozen=True, slots=True)
class AnnealingSampler:
    """Remembers nothing: a suggestion follows from its arguments, so that every host suggests the same."""

    seed: int
    width: float
    cooling: float

    def suggest(self, generation: int, count: int, history: History, allowed: Allowed) -> Proposal:
        """Points of the unit cube. All randomness comes from the seed and the generation's number."""
        rng = generator(self.seed, generation)
        leaders = history.points[best_first(history)[: max(1, count // 2)]]
        width = self.width * self.cooling**generation
        points = np.empty((count, history.points.shape[1]))
        for row in range(count):
            for _ in range(TRIES):
                leader = leaders[rng.integers(len(leaders))]
                points[row] = np.clip(leader + width * rng.standard_normal(len(leader)), 0.0, 1.0 - 1e-12)
                if allowed(points[[row]])[0]:
                    break
        return Proposal(points)


def _make(problem: SearchProblem) -> AnnealingSampler:
    return AnnealingSampler(problem.seed, float(problem.options["width"]), float(problem.options["cooling"]))


METHOD = AdaptiveMethod(
    summary="Steps around the best results that become narrower.",
    make=_make,
    generation=GenerationSizes(usual=4),
    options=(
        Option("width", 0.3, "how far steps go at first, in parts of a parameter's range", 0.001, 1.0),
        Option("cooling", 0.9, "by how much steps shrink with every generation", 0.1, 1.0),
    ),
)
