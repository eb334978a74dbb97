"""The Python API of a search: load a job, evaluate single iterations with any function."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError, UsageError
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Setting
from arbd.objective.aggregated import AggregatedEvaluator
from arbd.objective.error_place import describe
from arbd.objective.protocol import Evaluator, Outcome, Params, Pruners, Trial, check_outcome, the_metric
from arbd.objective.python import trial_needed
from arbd.results.result import TuningResult
from arbd.search.in_process import Search
from arbd.search.plan import INFEASIBLE, NOT_RUN_ERRORS, NOT_RUN_NAMES, PRUNED, Limits, PlannedRows
from arbd.search.space import Value
from arbd.values import dataclass

DEFAULT_SESSION = "local"


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """A resolved job, and under which names its results are kept."""

    spec: JobSpec
    session_id: str = DEFAULT_SESSION
    worker_id: str = "harness"

    @property
    def iterations(self) -> int:
        """How many iterations the search has."""
        return self.spec.n


def load_tuning_config(path: str | Path) -> TuningConfig:
    """Read and resolve a job file; JobError with everything that is wrong. Relative paths start at the file's folder.

    Of a job with a validation it is the search. UsageError where some of the data is held out from that: a function of
    parameters alone could not know.
    """
    from arbd.job.file import load_job  # noqa: PLC0415 - the validating models are heavy
    from arbd.job.resolve import resolve_job  # noqa: PLC0415

    source = Path(path)
    spec = resolve_job(load_job(source), base_dirs=(source.absolute().parent, Path.cwd()))
    if spec.validation is not None and spec.validation.scheme:
        raise UsageError(
            f"{source}: its validation ({spec.validation.scheme}) holds data out from the search, of which functions called here "
            "are not told: run it with `arbctl run`, or without the validation"
        )
    return TuningConfig(spec.search(spec.layout.stretches[0]), spec.session_id or DEFAULT_SESSION)


class TuningHarness:
    """Evaluates iterations of a search in this process; the same iteration always gets the same parameters."""

    def __init__(self, config: TuningConfig) -> None:
        self.config = config
        self._search = Search(config.spec)

    def _row(self, iteration: int) -> PlannedRows:
        if not 1 <= iteration <= self.config.spec.n:
            raise IndexError(f"iteration {iteration} of {self.config.spec.n}")
        row = self._search.row(iteration)
        if row is None:
            raise IndexError(f"the search ended before iteration {iteration}: {self._search.stopped}")
        return row

    def params(self, iteration: int) -> dict[str, Value]:
        """The parameters of an iteration, numbered from 1.

        A method that learns needs the results of earlier ones: run them in order, or UsageError says which is missing.
        """
        return self.config.spec.space.rows(self._row(iteration).columns)[0]

    def run_iteration(self, iteration: int, objective_fn: Callable[..., object]) -> TuningResult:
        """Call `objective_fn(params)` for an iteration; what it raises becomes the result's error.

        One whose parameters break a constraint is not run: its status is `infeasible`. A job that prunes, repeats, or is
        robust over markets needs a function of (params, trial).
        """
        config = self.config
        row = self._row(iteration)
        params = config.spec.space.rows(row.columns)[0]
        budget = 1.0 if row.budget is None else float(row.budget[0])
        trial = Trial.of(config.spec, config.session_id, iteration, budget)
        trial.pruner = Pruners(config.spec).of(iteration, self._search)
        evaluator = _evaluator(config.spec, objective_fn)
        started = time.perf_counter()
        status, error, metrics = "completed", "", {}
        if row.origin[0] == INFEASIBLE:
            status, error = NOT_RUN_NAMES[INFEASIBLE], NOT_RUN_ERRORS[INFEASIBLE]
        else:
            try:
                metrics = dict(evaluator.evaluate(params, trial).metrics)
            except ObjectiveError as broken:
                status, error = "failed", str(broken)
            except Exception as raised:
                status, error = "failed", describe(raised)
                trial.ended_by(raised)
        if trial.pruned:
            status, error = NOT_RUN_NAMES[PRUNED], trial.pruned
        self._search.tell(iteration, None if error else metrics, trial.reports, pruned=bool(trial.pruned))
        return TuningResult(
            session_id=config.session_id,
            worker_id=config.worker_id,
            iteration=iteration,
            params=params,
            metrics=metrics,
            timestamp=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            status=status,
            duration_s=time.perf_counter() - started,
            error=error,
            budget=budget,
            violation=self._violation(iteration, metrics) if status == "completed" else 0.0,
            directions={goal.name: goal.direction for goal in config.spec.metrics},
            reports=tuple(trial.reports),
        )

    def _violation(self, iteration: int, metrics: Mapping[str, float]) -> float:
        """By how much a result breaks the job's constraints."""
        columns = {name: np.array([value]) for name, value in metrics.items()}
        return float(Limits.of(self.config.spec).violation(self._row(iteration).columns, columns, 1)[0])


def _evaluator(spec: JobSpec, function: Callable[..., object]) -> Evaluator:
    takes_trial = bool(trial_needed(spec)) or spec.aggregation.repeats > 1
    called = _Function(function, spec.fixed, the_metric(spec.each), takes_trial)
    return called if spec.aggregation.is_plain else AggregatedEvaluator(spec, called)


@dataclass(slots=True)
class _Function:
    """A function of the caller's as an `Evaluator` of one set at a time."""

    function: Callable[..., object]
    fixed: Mapping[str, Value]
    the_metric: str
    takes_trial: bool
    plain: None = None
    batch: bool = False
    kept: frozenset[int] = frozenset()

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`."""
        given = (trial,) if self.takes_trial else ()
        return check_outcome(self.function({**self.fixed, **params}, *given), trial, self.the_metric)

    def close(self) -> None:
        """Nothing is kept."""

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0, setting: Setting = WHOLE
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """It is asked for single sets."""
        raise ObjectiveError("a function evaluates one set at a time")
