"""The paper engine as an objective: a job's data files and scenarios, one set of parameters per iteration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.paper.compiled import use_cache
from arbd.paper.objective import PaperObjective
from arbd.tuning.job_markets import load_markets
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
        loaded = load_markets(spec, cache_dir, verify=verify)
        markets, defaults = [each.market for each in loaded], [each.defaults for each in loaded]
        self._objective = PaperObjective(markets, spec.fixed, defaults)
        # Compiling is part of loading: it must neither count against an iteration's time limit nor be taken for its pace.
        self._objective.compile()

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`."""
        del trial
        metrics, blocks = self._objective.evaluate(params)
        return Outcome(metrics, blocks)

    def evaluate_batch(self, columns: Mapping[str, Any]) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """See `Evaluator`."""
        return self._objective.evaluate_batch(columns)
