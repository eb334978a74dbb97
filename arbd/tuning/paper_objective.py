"""The paper engine as an objective: a job's data files and scenarios, one set of parameters per iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.paper.cache import load_quotes
from arbd.paper.compiled import use_cache
from arbd.paper.objective import PaperObjective
from arbd.paper.quotes import Quotes
from arbd.paper.scenario import load_scenario
from arbd.tuning.digests import check_digest
from arbd.tuning.jobspec import JobSpec
from arbd.tuning.objective import Outcome, Params, Trial


class PaperEvaluator:
    """Evaluates over all data files and scenarios of a job together.

    Parameters of the job go before those of a scenario's risk profile, which go before the engine's defaults.
    """

    batch = True

    def __init__(self, spec: JobSpec, cache_dir: Path | None, *, verify: bool) -> None:
        if cache_dir is not None:
            use_cache(cache_dir)
        markets: list[Quotes] = []
        defaults: list[Mapping[str, Any]] = []
        for name in spec.data:
            quotes = load_quotes(Path(name), cache_dir, spec.on_bad_rows, spec.digests.get(name) if verify else None)
            markets.append(quotes)
            defaults.append({})
        for name in spec.scenarios:
            if verify:
                check_digest("the scenario", Path(name), spec.digests.get(name))
            scenario = load_scenario(Path(name))
            markets.extend(scenario.markets)
            defaults.extend([scenario.risk_profile] * len(scenario.markets))
        self._markets, self._defaults, self._fixed = markets, defaults, spec.fixed
        self._objective = PaperObjective(markets, spec.fixed, defaults)
        self._shares = {1.0: self._objective}
        # Compiling is part of loading: it must neither count against an iteration's time limit nor be taken for its pace.
        self._objective.compile()

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`."""
        metrics, blocks = self._of_share(trial.budget).evaluate(params)
        return Outcome(metrics, blocks)

    def _of_share(self, budget: float) -> PaperObjective:
        """The engine over the first `budget` of every market's quotes."""
        if budget not in self._shares:
            parts = [_beginning(quotes, budget) for quotes in self._markets]
            self._shares[budget] = PaperObjective(parts, self._fixed, self._defaults)
        return self._shares[budget]

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """See `Evaluator`."""
        return self._of_share(budget).evaluate_batch(columns)


def _beginning(quotes: Quotes, budget: float) -> Quotes:
    count = max(1, math.ceil(len(quotes) * budget))
    return Quotes(**{name: np.ascontiguousarray(column[:count]) for name, column in quotes.columns().items()})
