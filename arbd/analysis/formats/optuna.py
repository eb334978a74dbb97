"""A session as a storage of Optuna: a study that Optuna opens and optuna-dashboard shows.

A name that ends in .db, .sqlite or .sqlite3 becomes an SQLite file, any other a journal, which is much faster to
write. Iterations that did not complete, or have no number for an objective, are failed trials; pruned ones, and those of
a smaller budget than the best have, are pruned ones. Intermediate values are Optuna's, the first one of each step. What
breaks a constraint says so, so that Optuna's best trials are those of every other command. What Optuna has no place for
(other metrics, worker, error) becomes user attributes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbd.analysis.export_format import ExportFormat
from arbd.analysis.table import ResultTable
from arbd.atomic_file import whole_file
from arbd.errors import UsageError
from arbd.results.result import TuningResult
from arbd.search.ordering import largest_budget
from arbd.search.plan import NOT_RUN_NAMES, PRUNED
from arbd.search.space import ChoiceDimension, Dimension, FloatDimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

# Steps of a whole budget.
STEPS = 1_000
SQLITE = (".db", ".sqlite", ".sqlite3")


def write_storage(table: ResultTable, output: Path) -> int:
    """Write all rows of a session; how many. The file appears whole, by rename."""
    try:
        import optuna  # noqa: PLC0415 - heavy, and only this format needs it
    except ImportError:
        raise UsageError("the format optuna needs Optuna: pip install 'arbd[optuna]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with whole_file(output, output.suffix if output.suffix in SQLITE else ".tmp") as path:
        storage = _storage(path)
        study = optuna.create_study(
            study_name=table.session_id,
            storage=storage,
            directions=[optuna.study.StudyDirection[goal.direction.upper()] for goal in table.spec.metrics],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([goal.name for goal in table.spec.metrics])
        study.set_user_attr(
            "arbd", {"method": table.spec.method, "seed": table.spec.seed, "fixed": dict(table.spec.fixed)}
        )
        study.add_trials(_trials(table))
        storage.remove_session()
    return len(table)


def _storage(path: Path) -> BaseStorage:
    from optuna import storages  # noqa: PLC0415 - as above
    from optuna.storages import journal  # noqa: PLC0415 - as above

    if path.suffix in SQLITE:
        return storages.RDBStorage(f"sqlite:///{path}")
    backend = journal.JournalFileBackend(str(path), journal.JournalFileOpenLock(str(path)))
    return storages.JournalStorage(backend)


def _trials(table: ResultTable) -> Iterator[FrozenTrial]:
    distributions = {d.name: _distribution(d) for d in table.spec.space.dimensions}
    names = [goal.name for goal in table.spec.metrics]
    largest = 0.0 if table.budget is None else largest_budget(table.budget, table.ranking.comparable_in_all)
    for result in (result for _, results in table.parts() for result in results):
        if not result.is_ranked:
            continue
        constrained = table.violation is not None
        yield _trial(result, names, distributions, constrained=constrained, pruned=result.budget < largest)


def _trial(
    result: TuningResult,
    names: list[str],
    distributions: dict[str, BaseDistribution],
    *,
    constrained: bool,
    pruned: bool,
) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial  # noqa: PLC0415 - as above

    values = [result.metrics.get(name, float("nan")) for name in names]
    good = result.status == "completed" and all(value == value for value in values)  # noqa: PLR0124 - NaN
    state = TrialState.FAIL if not good else TrialState.PRUNED if pruned else TrialState.COMPLETE
    # Of several at a step the first one.
    steps = dict(sorted(dict(reversed(result.reports)).items()))
    if good and pruned:
        # Optuna's steps are integers.
        steps = {round(result.budget * STEPS): values[0]}
    elif result.status == NOT_RUN_NAMES[PRUNED]:
        state = TrialState.PRUNED
    attributes: dict[str, Any] = {
        "iteration": result.iteration,
        "worker_id": result.worker_id,
        "attempt": result.attempt,
    }
    attributes |= {name: value for name, value in result.metrics.items() if name not in names}
    if result.error:
        attributes["error"] = result.error
    if result.budget < 1.0:
        attributes["budget"] = result.budget
    trial = create_trial(
        state=state,
        params=dict(result.params),
        distributions={name: distributions[name] for name in result.params},
        values=values if state == TrialState.COMPLETE else None,
        intermediate_values={step: value for step, value in steps.items() if step >= 0},
        user_attrs=attributes,
        # A number that every storage keeps.
        system_attrs={"constraints": [min(result.violation, sys.float_info.max)]} if constrained and good else None,
    )
    # Optuna's times have no zone and are local.
    ended = datetime.fromisoformat(result.timestamp).astimezone().replace(tzinfo=None)
    trial.datetime_complete = ended
    trial.datetime_start = ended - timedelta(seconds=max(0.0, result.duration_s))
    return trial


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions  # noqa: PLC0415 - as above

    if isinstance(dimension, ChoiceDimension):
        return distributions.CategoricalDistribution(dimension.values)
    if isinstance(dimension, FloatDimension):
        if dimension.step is None:
            return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
        # Values stand on the grid to a number of decimals that Optuna's own arithmetic need not hit.
        return distributions.FloatDistribution(dimension.low, dimension.high)
    if dimension.log:
        return distributions.IntDistribution(dimension.low, dimension.high, log=True)
    high = dimension.low + (dimension.levels - 1) * dimension.step
    return distributions.IntDistribution(dimension.low, high, step=dimension.step)


FORMAT = ExportFormat(summary="A storage that Optuna and optuna-dashboard open.", write=write_storage)
