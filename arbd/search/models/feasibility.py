"""Where constraints on metrics hold: a Gaussian process for each, of how far it is from being broken (Gardner et al. 2014).

The probability of keeping all of them, multiplied with what else makes a point worthwhile, is what a search follows. Where
no constraint has been kept together with the others, there is nothing to multiply, and the violation is to become small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from arbd.arrays import Floats, Ints
from arbd.search.history import History
from arbd.search.models.acquisition import keeps
from arbd.search.models.gaussian_process import Posterior, Scored, fit
from arbd.search.space import Unit
from arbd.values import dataclass

# Each costs as much as the process of the loss; of more constraints the rest share one, of whichever is nearest to broken.
MOST_MODELS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Feasibility:
    """Processes, and what each says of the probability that its constraint holds."""

    terms: tuple[tuple[Posterior, Scored], ...]

    @classmethod
    def of(
        cls,
        history: History,
        known: Ints,
        sample: Callable[[npt.NDArray[np.bool_]], Ints],
        is_choice: npt.NDArray[np.bool_],
    ) -> Feasibility:
        """Of the results `known`; `sample` chooses from some of all results those that hyperparameters follow from."""
        terms: list[tuple[Posterior, Scored]] = []
        for margins in _columns(history):
            told = ~np.isnan(margins)
            if not told.any() or not (margins[told] > 0).any():
                continue
            # Far from where it is broken, how far does not matter.
            scale = float(np.median(np.abs(margins[told]))) or 1.0
            values = np.arcsinh(np.where(told, margins, 0.0) / scale)
            center, spread = float(values[told].mean()), float(values[told].std()) or 1.0
            values = (values - center) / spread
            fitted, seen = sample(told), known[told[known]]
            parameters = fit(history.points[fitted], values[fitted], is_choice)
            posterior = Posterior(history.points[seen], values[seen], parameters, is_choice)
            terms.append((posterior, partial(_kept, -center / spread)))
        return cls(tuple(terms))

    def log_probability(self, points: Unit) -> Floats:
        """Of keeping all of them at points."""
        total = np.zeros(len(points))
        for posterior, kept in self.terms:
            total = total + kept(*posterior.predict(points))[0]
        return total


def _kept(most: float, mean: Floats, deviation: Floats) -> tuple[Floats, Floats, Floats]:
    return keeps(mean, deviation, most)


def _columns(history: History) -> list[Floats]:
    """The margins of each constraint, or of those that share a process."""
    margins = history.margins
    if margins is None:
        return []
    if margins.shape[1] <= MOST_MODELS:
        return list(margins.T)
    return [*margins.T[: MOST_MODELS - 1], margins[:, MOST_MODELS - 1 :].max(axis=1)]
