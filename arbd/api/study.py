"""Ask and tell: for who has a loop of his own. Any method of arbd, batches too.

Keeps: what is asked is a function of the study's arguments, and of what was asked and told before, in that order.
"""

from __future__ import annotations

import numbers
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from arbd.api import arguments
from arbd.api.study_trial import StudyTrial, Told
from arbd.errors import ObjectiveError, UsageError

if TYPE_CHECKING:
    from arbd.job.spec import JobSpec
    from arbd.objective.protocol import Trial
    from arbd.search.generations import GenerationPlanner
    from arbd.search.plan import NonAdaptivePlan, PlannedRows
    from arbd.search.pruning import Thresholds

# Of a study that names none. It grows as it is asked.
FIRST_SIZE = 1_024


class Study:
    """A search whose objective is called by its owner.

        study = arbd.Study(search_space={"x": {"type": "float", "bounds": [0, 1]}}, method="tpe", metric="loss",
                           direction="minimize", seed=1)
        for _ in range(100):
            trial = study.ask()
            study.tell(trial, {"loss": (trial.params["x"] - 0.3) ** 2})
        study.best.params

    Trials may be told in any order, and asked for several at a time: what is not told yet is known to be on its way. The
    fields are those of a job, with its checks; `max_iterations` is how many may be asked for, by default any number. With
    `prune` (`prune={"rule": "median"}`), `trial.report(step, value)` raises arbd.TrialPruned where a trial is to end.
    """

    def __init__(self, **fields: Any) -> None:
        from arbd.api.job import Job

        below = fields.get("tuning")
        given = {**below, **fields} if isinstance(below, Mapping) else fields
        self._limit: int | None = given.get("max_iterations")
        # Nothing is evaluated here: there is no code to be found, whose name only gives the metric a direction.
        job = Job(
            **{
                "objective": {"python": "arbd_study:objective"},
                "metric": "value",
                **({} if "max_iterations" in given else {"max_iterations": FIRST_SIZE}),
                **fields,
            }
        )
        for name in ("repeats", "robust"):
            # Wherever it was given: beside the other fields, or below `tuning`.
            if job.fields["tuning"].get(name) not in (None, 1):
                raise UsageError(
                    f"{name}: a study evaluates nothing itself: evaluate each suggestion as often as you like, and tell the "
                    "study the value that counts"
                )
        self._spec = _one_by_one(job.resolve())
        self._open_ended = self._limit is None and not _ends_by_itself(self._spec.method)
        self._told: list[Told] = []
        self._asked = 0
        self._pending: dict[int, StudyTrial] = {}
        self._lock = threading.RLock()
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        # A lock and machine code belong to their process; all that is learned comes from what was told.
        own = ("_lock", "_planner", "_plan", "_reported")
        with self._lock:
            return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())
        self._begin()

    def __repr__(self) -> str:
        names, waiting = ", ".join(self._spec.space.names), len(self._pending)
        return f"Study({self._spec.method}, {names}: {len(self._told):,} told, {waiting:,} asked for and not told)"

    def _begin(self) -> None:
        from arbd.search.generations import GenerationPlanner
        from arbd.search.plan import NonAdaptivePlan
        from arbd.search.pruning import ReportedHistory
        from arbd.search.samplers import adaptive

        learns = adaptive(self._spec.method) is not None
        self._planner: GenerationPlanner | None = GenerationPlanner(self._spec, {}) if learns else None
        self._plan: NonAdaptivePlan | None = None if learns else NonAdaptivePlan(self._spec)
        rules = None if learns else self._spec.prune
        self._reported = None if rules is None else ReportedHistory(rules, self._spec.metrics[0].sign)
        for place, told in enumerate(self._told, 1):
            self._learn(place, told)

    @property
    def trials(self) -> Sequence[Told]:
        """What was told, in that order."""
        return tuple(self._told)

    @overload
    def ask(self) -> StudyTrial: ...
    @overload
    def ask(self, n: int) -> list[StudyTrial]: ...
    def ask(self, n: int | None = None) -> StudyTrial | list[StudyTrial]:
        """The next point; with `n`, so many that go together. UsageError when there is none left."""
        count = 1 if n is None else arguments.integer(n, "ask", 1)
        with self._lock:
            trials = [self._next() for _ in range(count)] if self._plan else self._together(count)
        return trials[0] if n is None else trials

    def tell(self, trial: StudyTrial | int, metrics: Mapping[str, float] | float | None) -> None:
        """The result of a trial: metrics by name, or the number of the only one; None where it failed or was pruned.

        The trial is the one that `ask` gave, a copy of it that another process sent back, or its number. Of a trial that
        `report` ended, it does not matter what is told: it is pruned.
        """
        with self._lock:
            trial = self._asked_for(trial)
            values = None if metrics is None or trial.pruned else self._checked(trial, metrics)
            del self._pending[trial.number]
            told = Told(trial, values, trial.pruned)
            self._told.append(told)
            self._learn(len(self._told), told)

    def _asked_for(self, given: object) -> StudyTrial:
        """The trial that is meant, with what it reported; UsageError unless it waits to be told."""
        is_number = isinstance(given, numbers.Integral) and not isinstance(given, bool)
        if not isinstance(given, StudyTrial) and not is_number:
            raise UsageError(
                f"tell takes a trial that ask gave, or its number, and its metrics; given was {arguments.shown(given)} as the trial"
            )
        number = given.number if isinstance(given, StudyTrial) else int(given)  # type: ignore[call-overload]
        own = self._pending.get(number)
        is_same = own is not None and (
            own is given
            or not isinstance(given, StudyTrial)
            or (given.seed, given.budget, dict(given.params)) == (own.seed, own.budget, dict(own.params))
        )
        if own is None or not is_same:
            raise UsageError(f"trial {number} was told already, or is none of this study")
        return given if isinstance(given, StudyTrial) else own

    def _checked(self, trial: StudyTrial, metrics: object) -> dict[str, float]:
        """As of an objective that returned it."""
        from arbd.objective.protocol import check_outcome, the_metric

        try:
            values = dict(check_outcome(metrics, trial._trial, the_metric(self._spec)).metrics)
        except ObjectiveError as error:
            raise UsageError(f"trial {trial.number}: {error}") from None
        missing = [goal.name for goal in self._spec.metrics if goal.name not in values]
        if missing:
            raise UsageError(f"trial {trial.number}: no metric {missing[0]!r}; told are {', '.join(values)}")
        return values

    @property
    def best(self) -> StudyTrial:
        """The best trial so far by the first metric, of those that keep the constraints; UsageError when there is none."""
        with self._lock:
            return self._best()

    def _best(self) -> StudyTrial:
        order = self._order()
        if not order:
            raise UsageError("no trial was told yet that has the metric and keeps the constraints")
        return self._told[order[0]].trial

    @property
    def best_metrics(self) -> Mapping[str, float]:
        """Those of `best`."""
        found = self._told[self._told_at(self.best)].metrics
        assert found is not None
        return found

    def front(self) -> list[Told]:
        """The Pareto front of several metrics; of one, the best."""
        import numpy as np

        from arbd.search.ordering import front

        with self._lock:
            losses, violation = self._losses()
            return [self._told[at] for at in np.flatnonzero(front(losses, violation)).tolist()]

    def _told_at(self, trial: StudyTrial) -> int:
        return next(at for at, told in enumerate(self._told) if told.trial is trial)

    def _order(self) -> list[int]:
        import numpy as np

        from arbd.search.ordering import best_first, comparable

        losses, violation = self._losses()
        budgets = np.array([told.trial.budget for told in self._told])
        kept = comparable(losses[:, 0], violation, budgets)
        return [at for at in best_first(losses[:, 0], violation, budgets).tolist() if kept[at]]

    def _losses(self) -> tuple[Any, Any]:
        import numpy as np

        from arbd.search.plan import Limits, join

        goals, n = self._spec.metrics, len(self._told)
        values = [[(told.metrics or {}).get(goal.name, np.nan) * goal.sign for goal in goals] for told in self._told]
        losses = np.array(values, dtype=np.float64).reshape(n, len(goals))
        limits = Limits.of(self._spec)
        if not n or not limits.after:
            return losses, np.zeros(n)
        names = limits.names_after - set(self._spec.space.names)
        metrics = {name: np.array([(told.metrics or {}).get(name, np.nan) for told in self._told]) for name in names}
        columns = join([told.trial._row for told in self._told]).columns
        return losses, limits.violation(columns, metrics, n)

    def _next(self) -> StudyTrial:
        self._make_room(1)
        assert self._plan is not None
        return self._asks(self._plan.rows(self._asked + 1, 1))

    def _together(self, n: int) -> list[StudyTrial]:
        from arbd.search.plan import join

        self._make_room(n)
        assert self._planner is not None
        rows = [trial._row for trial in self._pending.values()]
        first = self._asked + 1
        found = self._planner.points(first, n, len(self._told), join(rows) if rows else None)
        return [self._asks(found.select(slice(at, at + 1))) for at in range(n)]

    def _asks(self, row: PlannedRows) -> StudyTrial:
        from arbd.search.plan import INFEASIBLE

        if int(row.origin[0]) == INFEASIBLE:
            raise UsageError(f"no point that keeps the constraints was found: {'; '.join(self._spec.constraints)}")
        self._asked += 1
        params = {**self._spec.fixed, **self._spec.space.rows(row.columns)[0]}
        # What stood before is evaluated again here: whoever asks may want another look at it.
        own = replace(row, origin=row.origin * 0)
        budget = 1.0 if row.budget is None else float(row.budget[0])
        trial = StudyTrial(self._asked, params, budget, own, self._objective_trial(budget))
        self._pending[trial.number] = trial
        return trial

    def _objective_trial(self, budget: float) -> Trial:
        """What an objective would get; it is compared with all that was told so far."""
        from arbd.objective.protocol import Trial
        from arbd.search.pruning import Pruner

        trial, rules = Trial.of(self._spec, "", self._asked, budget), self._spec.prune
        if rules is not None:
            trial.pruner = Pruner(rules, self._spec.metrics[0].sign, self._thresholds())
        return trial

    def _thresholds(self) -> Thresholds:
        if self._planner is not None:
            return self._planner.trial_history.thresholds(len(self._told))
        assert self._reported is not None
        return self._reported.thresholds(len(self._told))

    def _learn(self, place: int, told: Told) -> None:
        if self._reported is not None:
            self._reported.learn(place, None if told.metrics is None else told.trial.reports)
        if self._planner is None:
            return
        import numpy as np

        from arbd.search.plan import PRUNED
        from arbd.search.trial_history import TrialResults

        row = told.trial._row
        metrics = {name: np.array([value]) for name, value in (told.metrics or {}).items()}
        if row.budget is not None:
            metrics["budget"] = row.budget
        completed = np.array([told.metrics is not None or bool(told.pruned)])
        origin = np.array([PRUNED]) if told.pruned else row.origin
        reports = {place: told.trial.reports} if told.trial.reports else {}
        self._planner.trial_history.learn(
            TrialResults(np.array([place]), completed, origin, row.columns, metrics, reports)
        )

    def _make_room(self, n: int) -> None:
        if self._asked + n <= self._spec.n:
            return
        if not self._open_ended:
            raise UsageError(f"{self._spec.method} has {self._spec.n:,} points, and {self._asked:,} were asked for")
        while self._asked + n > self._spec.n:
            self._spec = replace(self._spec, n=2 * self._spec.n)
        self._begin()


def _ends_by_itself(method: str) -> bool:
    from arbd.search.sampler import PlanMethod
    from arbd.search.samplers import METHODS

    found = METHODS.get(method)
    return isinstance(found, PlanMethod) and (found.size is not None or found.max_iterations is not None)


def _one_by_one(spec: JobSpec) -> JobSpec:
    """Every result is known before the next suggestion; a method with a population has that as its size."""
    from arbd.search.samplers import METHODS

    return replace(spec, generation_size=METHODS.get(spec.method).generation.usual, generation_lag=1)
