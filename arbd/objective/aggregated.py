"""Iterations of several evaluations: repeats with seeds of their own, and metrics that are made of several values.

Keeps I5: how often, with which seeds and for which sets an iteration evaluates is a function of the job, its number and
its parameters. One by one or many at once, the same numbers are added in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from arbd.job.aggregation import BLOCKS, MARKETS, NEIGHBOURHOOD
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Setting
from arbd.objective.aggregates import GridReturns, Metrics, Runs, assembled
from arbd.objective.batch_columns import checked, checked_blocks
from arbd.objective.protocol import Evaluator, Outcome, Params, Trial
from arbd.objective.randomness import seed_generators
from arbd.search.neighbourhood import with_neighbours
from arbd.search.plan import Limits
from arbd.search.seeds import iteration_seed
from arbd.search.space import ChoiceDimension

if TYPE_CHECKING:
    from arbd.objective.paper import PaperEvaluator

# The engine takes seeds of 53 bits.
_ENGINE_SEED = (1 << 53) - 1


class AggregatedEvaluator:
    """Makes an iteration of evaluations by `inner`; `engine` is the same, where that is the paper engine.

    `seeds` where what is evaluated draws from this process's global generators.
    """

    plain = None

    def __init__(
        self, spec: JobSpec, inner: Evaluator, engine: PaperEvaluator | None = None, *, seeds: bool = False
    ) -> None:
        self.inner = inner
        self.batch = inner.batch
        self._engine = engine
        self._aggregation, self._goals = spec.aggregation, spec.metrics
        self._space, self._limits = spec.space, Limits.of(spec)
        self._seeds = seeds

    @property
    def kept(self) -> Collection[int]:
        """See `Evaluator`."""
        return self.inner.kept

    def close(self) -> None:
        """See `Evaluator`."""
        self.inner.close()

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`. What one of the evaluations raises, or is pruned for, is what the iteration is."""
        if self._engine is not None:
            columns = {name: [value] for name, value in params.items()}
            metrics, engine_blocks = self.evaluate_batch(columns, trial.budget, trial.setting)
            return Outcome(_first(metrics), None if engine_blocks is None else engine_blocks[0])
        sets = self._sets(params)
        pools = [trial.data, *([(name,) for name in trial.data] if self._aggregation.over == MARKETS else [])]
        process, runs = os.getpid(), []
        first: Outcome | None = None
        for repeat in range(self._aggregation.repeats):
            found: list[list[Outcome]] = [[] for _ in pools]
            for own, data in zip(found, pools, strict=True):
                for each in sets:
                    is_first = each is params and data is trial.data and not repeat
                    outcome = self.inner.evaluate(each, trial if is_first else self._again(trial, repeat, data))
                    # Of an evaluation that died and was begun anew, the trial has what the dead one reported.
                    first = first or outcome
                    if outcome.pruned or os.getpid() != process:
                        # A child that the objective forked has nothing more to do here.
                        return replace(outcome, reports=first.reports)
                    own.append(outcome)
            runs.append(_Outcomes(found).runs())
        metrics, blocks = assembled(self._aggregation, self._goals, runs, np.zeros(len(sets), dtype=np.int64), 1)
        reports = first.reports if first is not None else ()
        return Outcome(_first(metrics), None if blocks is None else blocks[0], reports)

    def _sets(self, params: Params) -> list[Params]:
        if self._aggregation.over != NEIGHBOURHOOD:
            return [params]
        found, _ = with_neighbours(self._space, self._space.encode([params]), self._limits.may_run)
        return [params, *self._space.rows(found)[1:]]

    def _again(self, trial: Trial, repeat: int, data: tuple[str, ...]) -> Trial:
        """A further evaluation of an iteration; all of one repeat have the same luck."""
        seed = iteration_seed(trial.seed, repeat) if repeat else trial.seed
        if self._seeds:
            seed_generators(seed)
        return replace(trial, seed=seed, data=data, pruner=None, pruned="", _reported=None)

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0, setting: Setting = WHOLE
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """See `Evaluator`."""
        n = len(next(iter(columns.values()))) if columns else 1
        owners = np.arange(n, dtype=np.int64)
        if self._aggregation.over == NEIGHBOURHOOD:
            found, owners = with_neighbours(
                self._space, self._space.encode(self._rows(columns, n)), self._limits.may_run
            )
            columns = self._space.decode(found)
        runs = [
            self._run(self._with_seeds(columns, repeat), budget, setting) for repeat in range(self._aggregation.repeats)
        ]
        grid = None
        if self._engine is not None and self._aggregation.over == BLOCKS:
            grid = GridReturns(*self._engine.grid_returns(columns, budget, setting))
        return assembled(self._aggregation, self._goals, runs, owners, n, grid)

    def _rows(self, columns: Mapping[str, Any], n: int) -> list[dict[str, Any]]:
        """As `SearchSpace.encode` takes them."""
        kinds = {d.name: isinstance(d, ChoiceDimension) for d in self._space.dimensions}
        lists = {name: list(column) if kinds[name] else np.asarray(column).tolist() for name, column in columns.items()}
        return [{name: values[row] for name, values in lists.items()} for row in range(n)]

    def _with_seeds(self, columns: Mapping[str, Any], repeat: int) -> Mapping[str, Any]:
        """Columns with the seed of what the engine draws; nothing else draws in batches."""
        if not repeat or self._engine is None:
            return columns
        seeds = [iteration_seed(seed, repeat) & _ENGINE_SEED for seed in self._engine.execution_seeds(columns)]
        return {**columns, "execution_seed": seeds}

    def _run(self, columns: Mapping[str, Any], budget: float, setting: Setting) -> Runs:
        if self._engine is not None and self._aggregation.over == MARKETS:
            pools, blocks = self._engine.evaluate_apart(columns, budget, setting)
            return Runs(pools, blocks)
        metrics, parts = self.inner.evaluate_batch(columns, budget, setting)
        count = len(next(iter(columns.values()))) if columns else 1
        found = {name: checked(column, count, name) for name, column in metrics.items()}
        return Runs([found], None if parts is None else checked_blocks(parts, count))


def _first(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(column[0]) for name, column in metrics.items()}


class _Outcomes:
    """What evaluations one by one returned, by pool and set."""

    def __init__(self, found: Sequence[Sequence[Outcome]]) -> None:
        self._found = found

    def runs(self) -> Runs:
        """As columns."""
        blocks = self._found[0][0].blocks
        return Runs(list(self._pools()), None if blocks is None else blocks[None])

    def _pools(self) -> Iterator[Metrics]:
        for pool in self._found:
            names = dict.fromkeys(name for outcome in pool for name in outcome.metrics)
            yield {name: np.array([outcome.metrics.get(name, np.nan) for outcome in pool]) for name in names}
