"""The paper engine as an objective: a job's data files and scenarios, one set of parameters per iteration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.job.spec import JobSpec
from arbd.named_file import ANY, ReadRule
from arbd.objective.markets import beginning, load_markets
from arbd.objective.protocol import Outcome, Params, Trial
from arbd.paper.compiled import compile_once, use_cache
from arbd.paper.objective import PaperObjective


class PaperEvaluator:
    """Evaluates over all data files and scenarios of a job together.

    Parameters of the job go before those of a scenario's risk profile, which go before the engine's defaults.
    """

    batch = True

    def __init__(self, spec: JobSpec, cache_dir: Path | None, *, verify: bool, reading: ReadRule = ANY) -> None:
        if cache_dir is not None:
            use_cache(cache_dir)
        loaded = load_markets(spec, cache_dir, verify=verify, reading=reading)
        markets, defaults = [each.market for each in loaded], [each.defaults for each in loaded]
        self._markets, self._defaults, self._fixed = markets, defaults, spec.fixed
        self._sources = [each.source for each in loaded]
        self._objective = PaperObjective(markets, spec.fixed, defaults, self._sources)
        self._shares = {1.0: self._objective}
        # Compiling is part of loading: it must neither count against an iteration's time limit nor be taken for its pace.
        compile_once(self._objective.compile)

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`."""
        metrics, blocks = self._of_share(trial.budget).evaluate(params)
        return Outcome(metrics, blocks)

    def _of_share(self, budget: float) -> PaperObjective:
        """The engine over the first `budget` of every market's quotes."""
        if budget not in self._shares:
            parts = [beginning(market, budget) for market in self._markets]
            self._shares[budget] = PaperObjective(parts, self._fixed, self._defaults, self._sources)
        return self._shares[budget]

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """See `Evaluator`."""
        return self._of_share(budget).evaluate_batch(columns)
