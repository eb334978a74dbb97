"""What a job says about its search beyond space and method: checked, and made into values of the spec.

Metrics, constraints, points to try first, earlier results to start from, stop rules, the size of a generation.
"""

from __future__ import annotations

import keyword
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from arbd.errors import ArbdError, Problem, VersionError
from arbd.job.aggregation import ONE_EVALUATION, Aggregation
from arbd.job.file import JobDocument
from arbd.job.limits import MAX_CONSTRAINT_TERMS
from arbd.job.model import Job
from arbd.job.resolve_schedule import idle_slots, schedule_of
from arbd.job.resolve_space import Wrong
from arbd.job.resolve_validation import with_validation
from arbd.job.resolve_warm_start import EarlierResults
from arbd.job.spec import JobSpec
from arbd.job.validation import ValidationSpec
from arbd.near_names import nearest
from arbd.paper import params
from arbd.paper.metrics import METRICS
from arbd.paper.scenario import Scenario
from arbd.search.constraints import Constraint, ConstraintError, parse_constraint, renamed
from arbd.search.options import resolve_options
from arbd.search.plan import Limits
from arbd.search.problem import EarlierResult, MetricGoal, StopRules, WarmStart
from arbd.search.pruning import PruneRules
from arbd.search.sampler import AdaptiveMethod, PlanMethod
from arbd.search.samplers import METHODS, adaptive, built_in
from arbd.search.samplers.random import uniform_points
from arbd.search.schedule import LAG, Schedule
from arbd.search.space import ChoiceDimension, Dimension, SearchSpace, Value
from arbd.values import dataclass

DEFAULT_METRIC = {"paper": "pnl"}
MAX_LEARNED = 1_000_000
# Fields of `tuning` that some methods read and others do not.
OF_METHODS = ("acquisition_fn", "min_budget", "grid_points")
TRIED_POINTS = 4_096
NO_GENERATIONS = Schedule(0)
_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"")

# What a session has that is there already is taken as it is.
ReadPast = Callable[[str, Sequence[Path]], list[EarlierResult] | WarmStart]
# How many slots there are; looking takes a heartbeat of each host.
CountSlots = Callable[[], int | None]


@dataclass(slots=True)
class SearchOptions:
    """The values, and what is wrong or worth a notice."""

    document: JobDocument
    method: PlanMethod | AdaptiveMethod
    space: SearchSpace
    fixed: Mapping[str, Value]
    metrics: tuple[MetricGoal, ...]
    n: int
    paper: bool
    aggregation: Aggregation
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    schedule: Schedule = NO_GENERATIONS
    constraints: tuple[str, ...] = ()
    enqueue: tuple[dict[str, Value], ...] = ()
    past: WarmStart | None = None
    stop: StopRules = field(default_factory=StopRules)
    prune: PruneRules | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
    budgets: tuple[float, ...] = ()
    plugin: bool = False
    refill: bool = False
    _found_none: bool = False
    _limited: bool = False

    @classmethod
    def of(
        cls,
        document: JobDocument,
        method: PlanMethod | AdaptiveMethod,
        space: SearchSpace,
        fixed: Mapping[str, Value],
        metrics: tuple[MetricGoal, ...],
        n: int,
        *,
        paper: bool,
        aggregation: Aggregation,
        past: ReadPast | None,
        folders: Sequence[Path],
        slots: Schedule | CountSlots,
    ) -> SearchOptions:
        """Check everything."""
        options = cls(document, method, space, fixed, metrics, n, paper, aggregation)
        options._of_method()
        options._stop()
        options._prune()
        options._generations(slots)
        options._constraints()
        options._enqueue()
        options._runnable()
        options._past(past, folders)
        return options

    def _wrong(self, message: str, *path: str | int) -> None:
        self.problems.append(self.document.problem(message, "tuning", *path))

    @property
    def adaptive(self) -> bool:
        """True when the method learns."""
        return isinstance(self.method, AdaptiveMethod)

    def _of_method(self) -> None:
        """What the method declares to need."""
        tuning, method, name = self.document.job.tuning, self.method, self.document.job.tuning.method
        self.plugin = name in METHODS.names() and METHODS.plugin(name) is not None
        for of_method in OF_METHODS:
            if of_method in tuning.model_fields_set and of_method not in method.fields:
                self.notices.append(f"{of_method} has no effect with method {name}")
        self.options, faults = resolve_options(method.options, tuning.options, name)
        for option, fault in faults:
            self._wrong(fault, "options", option)
        if not isinstance(method, AdaptiveMethod):
            return
        if method.budgets is not None:
            self.budgets = tuple(method.budgets(tuning.min_budget).tolist())
        if method.max_metrics is not None and len(self.metrics) > method.max_metrics:
            most = "one metric" if method.max_metrics == 1 else f"at most {method.max_metrics} metrics"
            others = ", ".join(methods_for(len(self.metrics)))
            self._wrong(f"{name} optimises {most}, not {len(self.metrics)}: use one of {others}", "method")
        if self.n > MAX_LEARNED:
            self._wrong(f"{name} learns from at most {MAX_LEARNED:,} iterations", "max_iterations")

    def _stop(self) -> None:
        given = self.document.job.tuning.stop
        self.stop = StopRules(given.max_time_s, given.no_improvement, given.target, given.min_delta or 0.0)
        if given.target is not None and not math.isfinite(given.target):
            self._wrong(f"a target is a finite number, not {given.target}", "stop", "target")
        if given.target is not None and len(self.metrics) > 1:
            self._wrong("a target is for one metric", "stop", "target")
        if given.min_delta is not None and given.no_improvement is None:
            self._wrong("says how much better counts for `no_improvement`, which is not given", "stop", "min_delta")
        if given.min_delta is not None and len(self.metrics) > 1:
            self._wrong("a smallest improvement is for one metric", "stop", "min_delta")
        if self.stop.needs_results and self.n > MAX_LEARNED:
            self._wrong(f"rules that look at results take at most {MAX_LEARNED:,} iterations", "stop")

    def _prune(self) -> None:
        if self.document.job.tuning.prune is not None:
            from arbd.job.resolve_prune import prune_rules  # noqa: PLC0415 - of few jobs

            self.prune = prune_rules(self.document.job, self.metrics, self._wrong)

    def _generations(self, of_farm: Schedule | CountSlots) -> None:
        tuning, sizes = self.document.job.tuning, self.method.generation
        # The plan of a plug-in is published too: hosts that do not have it can evaluate all the same.
        needs_results = self.stop.needs_results or (self.prune is not None and self.prune.compares)
        if not self.adaptive and not self.plugin and not needs_results:
            for name in ("generation_size", "generation_lag"):
                if getattr(tuning, name) is not None:
                    self.notices.append(f"{name} has no effect with method {tuning.method}")
            return
        job, slots = self.document.job, of_farm if isinstance(of_farm, Schedule) else of_farm()
        self.schedule = found = schedule_of(job, sizes, self.n, slots)
        if self.adaptive and tuning.start_from is None and self.n <= found.reach:
            smaller = max(sizes.required, self.n // 4)
            change = f"generation_size: {smaller}" if LAG * smaller < self.n else "more iterations"
            self.notices.append(
                f"{tuning.method} learns nothing: all {self.n:,} iterations are in the first {found.lag} generations of "
                f"{found.size:,}, which know no result; {change} would change that"
            )
        if found.size < sizes.required:
            self._wrong(f"{tuning.method} needs at least {sizes.required}, its population", "generation_size")
        if isinstance(slots, int):
            self.notices += idle_slots(job, found, self.n, slots)

    def _constraints(self) -> None:
        parsed: list[Constraint] = []
        for index, text in enumerate(self.document.job.tuning.constraints):
            try:
                constraint = parse_constraint(text)
            except ConstraintError as error:
                faults = list(self._unspeakable(text)) or [str(error)]
                for fault in faults:
                    self._wrong(f"{text!r}: {fault}", "constraints", index)
                continue
            if self.paper:
                constraint = renamed(constraint, params.ALIASES)
            for fault in self._faults(constraint):
                self._wrong(f"{text!r}: {fault}", "constraints", index)
            parsed.append(constraint)
        terms = sum(constraint.terms for constraint in parsed)
        if terms > MAX_CONSTRAINT_TERMS:
            most = f"{MAX_CONSTRAINT_TERMS:,}; say it with fewer, or as a metric of the objective"
            self._wrong(f"{terms:,} names, numbers and operators in all; the maximum is {most}", "constraints")
            return
        if not parsed:
            return
        self.constraints = tuple(constraint.text for constraint in parsed)
        limits = Limits(self.space, self.fixed, tuple(parsed))
        if limits.before and self.space.dimensions:
            # A plan that ends by itself has its points; of others, what may not run is replaced.
            self._limited = isinstance(self.method, PlanMethod)
            self.refill = isinstance(self.method, PlanMethod) and self.method.size is None
            points = self.space.from_unit(uniform_points(0, len(self.space.dimensions), 1, TRIED_POINTS))
            self._found_none = not limits.may_run(points, TRIED_POINTS).any()

    def _faults(self, constraint: Constraint) -> Iterator[str]:
        """What is wrong with the names of a constraint."""
        goals = {goal.name for goal in self.aggregation.raw(self.metrics)}
        returned = {*(METRICS if self.paper else goals), *self.aggregation.added(self.metrics)}
        known = {*self.space.names, *self.fixed, *returned}
        for name in sorted(constraint.names - known):
            near = nearest(name, known)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if self.paper:
                yield f"{name!r} is neither searched, nor fixed, nor a metric{hint}"
            elif near:
                self.notices.append(f"constraint {constraint.text!r}: {name!r} is taken for a metric{hint}")
        yield from self._unspeakable(constraint.text)
        held = {name: [value] for name, value in self.fixed.items()}
        held |= {d.name: list(d.values) for d in self.space.dimensions if isinstance(d, ChoiceDimension)}
        for name in sorted(constraint.numbers & held.keys()):
            if any(isinstance(value, str) for value in held[name]):
                yield f"{name!r} has strings, which are compared by == and != only"
            elif None in held[name]:
                yield f"{name!r} may be null, which is compared by == and != only"

    def _unspeakable(self, text: str) -> Iterator[str]:
        """Names of parameters that stand in a constraint and mean something else there."""
        bare = _LITERAL.sub("''", text)
        for name in sorted({*self.space.names, *self.fixed}):
            plain = name.isidentifier() and not keyword.iskeyword(name) and unicodedata.normalize("NFKC", name) == name
            if not plain and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", bare):
                yield (
                    f"the name {name!r} cannot stand in a constraint: rename it to plain letters, digits and '_', "
                    "and to no word of Python"
                )

    def _enqueue(self) -> None:
        points: list[dict[str, Value]] = []
        dimensions = {dimension.name: dimension for dimension in self.space.dimensions}
        for index, given in enumerate(self.document.job.tuning.enqueue):
            point: dict[str, Value] = {}
            for name, value in given.items():
                key = params.ALIASES.get(name, name) if self.paper else name
                if key not in dimensions:
                    self._wrong(
                        f"{name!r} is not searched; searched are {', '.join(sorted(dimensions))}",
                        "enqueue", index, name,
                    )  # fmt: skip
                    continue
                # The engine's numbers are real ones, whichever way they are written.
                point[key] = _as_chosen(dimensions[key], value) if self.paper else value
                try:
                    dimensions[key].column([point[key]])
                except ValueError as error:
                    self._wrong(str(error), "enqueue", index, name)
            for condition in self.space.conditions:
                there = point.get(condition.parent, condition.values[0])
                if condition.name in point and there not in condition.values:
                    fault = f"{condition.name} does not exist where {condition.parent} is {there!r}: leave it out"
                    self._wrong(fault, "enqueue", index)
            points.append(point)
        self.enqueue = tuple(points)
        if self.n and len(points) > self.n:
            self._wrong(f"{len(points)} points to try first, and {self.n} iterations", "enqueue")

    def _runnable(self) -> None:
        """A session in which nothing may run is refused, rather than done with nothing."""
        if not self._found_none or self.problems:
            return
        limits = Limits(self.space, self.fixed, tuple(parse_constraint(text) for text in self.constraints))
        whole = [point for point in self.enqueue if self._is_whole(point)]
        if whole and limits.may_run(self.space.encode(whole), len(whole)).any():
            return
        text = f"none of {TRIED_POINTS:,} random points keeps the constraints between parameters"
        # Of a plan that ends by itself its own points decide (`arbd.job.runnable`).
        if not isinstance(self.method, PlanMethod) or self.method.size is None:
            self._wrong(f"{text}: loosen them, or name one that does in `enqueue`", "constraints")

    def checked(self, spec: JobSpec, validation: ValidationSpec | None, wrong: Callable[..., None]) -> JobSpec | None:
        """The job with what its metrics are made of and its validation; None, after `wrong` was told, if it would run nothing."""
        spec = replace(spec, aggregation=self.aggregation)
        if not self._limited:
            return spec if validation is None else with_validation(spec, validation)
        # A job without constraints between parameters does not pass it on its way.
        from arbd.job.runnable import runnable  # noqa: PLC0415

        return runnable(spec, validation, wrong)

    def _is_whole(self, point: Mapping[str, Value]) -> bool:
        """True when it has a value for whatever exists there."""
        try:
            self.space.encode([point])
        except KeyError:
            return False
        return True

    def _past(self, read: ReadPast | None, folders: Sequence[Path]) -> None:
        source = self.document.job.tuning.start_from
        if source is None:
            return
        if not self.adaptive:
            self.notices.append(
                f"start_from has no effect with method {self.document.job.tuning.method}, which does not learn"
            )
            return
        if read is None:
            self._wrong("there is no spool to look for it: name one (--spool), or a .csv file", "start_from")
            return
        try:
            found = read(source, folders)
        except VersionError:
            # No fault of the job: a host that can read what it starts from can take it up.
            raise
        except ArbdError as error:
            self._wrong(str(error), "start_from")
            return
        if isinstance(found, WarmStart):
            self.past = found
            return
        conditions = {**(params.defaults() if self.paper else {}), **self.fixed}
        choice = EarlierResults(self.space, self.fixed, conditions, self.metrics, self.constraints, self.budgets)
        self.past, told = choice.chosen(source, found)
        if self.past is None:
            self._wrong(told, "start_from")
        else:
            self.notices.append(told)


def nobody_knows() -> int | None:
    """`CountSlots` where nobody is asked."""
    return None


def _as_chosen(dimension: Dimension, value: Value) -> Value:
    """The choice that is the same number."""
    if isinstance(dimension, ChoiceDimension) and type(value) is int:
        return next((choice for choice in dimension.values if choice == value), value)
    return value


def resolve_metrics(
    job: Job,
    kind: str,
    space: SearchSpace,
    fixed: Mapping[str, Value],
    scenarios: Mapping[str, Scenario],
    *,
    wrong: Wrong,
) -> tuple[tuple[MetricGoal, ...], Aggregation]:
    """The metrics that the search goes by, and what they are made of; `kind` is the objective's. What is wrong is told."""
    goals = _goals(job, kind, wrong=wrong)
    if job.tuning.repeats == 1 and job.tuning.robust is None:
        return goals, ONE_EVALUATION
    from arbd.job.resolve_aggregation import EvaluatedJob, resolve_aggregation  # noqa: PLC0415 - of few jobs

    return resolve_aggregation(EvaluatedJob(job, space, fixed, tuple(scenarios.values())), goals, wrong)


def _goals(job: Job, kind: str, *, wrong: Wrong) -> tuple[MetricGoal, ...]:
    """The metrics with their directions; `kind` is the objective's. What is wrong is told."""
    paper, given = kind == "paper", job.metric
    names = [DEFAULT_METRIC.get(kind, "value")] if given is None else [given] if isinstance(given, str) else given
    if not names:
        wrong("names no metric", "metric")
    if len(set(names)) < len(names):
        wrong("names a metric twice", "metric")
    if paper:
        for name in names:
            if name not in METRICS:
                wrong(f"unknown metric {name!r}; known are {', '.join(METRICS)}", "metric")
    directions: Sequence[str | None]
    told = job.direction
    if isinstance(told, list):
        if len(told) != len(names):
            wrong(f"gives {len(told)} directions for {len(names)} metrics", "direction")
        directions = told
    else:
        directions = [told] * len(names)
    defaults: Mapping[str, str] = {name: info.direction for name, info in METRICS.items()} if paper else {}
    return tuple(MetricGoal(n, d or defaults.get(n, "maximize")) for n, d in zip(names, directions, strict=False))


def methods_for(count: int) -> Iterator[str]:
    """The methods of arbd that learn to optimise so many metrics."""
    for name in built_in(learns=True):
        found = adaptive(name)
        if found is not None and (found.max_metrics is None or found.max_metrics >= count):
            yield name
