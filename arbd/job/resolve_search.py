"""What a job says about its search beyond space and method: checked, and made into values of the spec.

Constraints, points to try first, earlier results to start from, stop rules, the size of a generation.
"""

from __future__ import annotations

import difflib
import keyword
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arbd.errors import ArbdError, Problem, VersionError
from arbd.job.file import JobDocument
from arbd.job.limits import MAX_CONSTRAINT_TERMS
from arbd.job.resolve_schedule import idle_slots, schedule_of
from arbd.paper import params
from arbd.paper.metrics import METRICS
from arbd.plain_json import text_of
from arbd.search import ordering
from arbd.search.constraints import Constraint, ConstraintError, parse_constraint, renamed
from arbd.search.options import resolve_options
from arbd.search.plan import Limits
from arbd.search.problem import EarlierResult, MetricGoal, StopRules, WarmStart
from arbd.search.sampler import AdaptiveMethod, PlanMethod
from arbd.search.samplers import METHODS, adaptive, built_in
from arbd.search.samplers.random import uniform_points
from arbd.search.schedule import LAG, Schedule
from arbd.search.space import ChoiceDimension, Dimension, SearchSpace, Value

MAX_LEARNED = 1_000_000
MOST_PAST = 5_000
# Fields of `tuning` that some methods read and others do not.
OF_METHODS = ("acquisition_fn", "min_budget", "grid_points")
TRIED_POINTS = 4_096
NO_GENERATIONS = Schedule(0)
NO_GENERATIONS = Schedule(0)
# Slots that wait for less of their time than the rest of this are not spoken of.
BUSY_ENOUGH = 0.85
_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"")

# What a session has that is there already is taken as it is.
ReadPast = Callable[[str, Sequence[Path]], list[EarlierResult] | WarmStart]


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
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    schedule: Schedule = NO_GENERATIONS
    constraints: tuple[str, ...] = ()
    enqueue: tuple[dict[str, Value], ...] = ()
    past: WarmStart | None = None
    stop: StopRules = field(default_factory=StopRules)
    options: Mapping[str, Value] = field(default_factory=dict)
    budgets: tuple[float, ...] = ()
    plugin: bool = False
    refill: bool = False
    _found_none: bool = False

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
        past: ReadPast | None,
        folders: Sequence[Path],
        slots: Schedule | int | None = None,
    ) -> SearchOptions:
        """Check everything."""
        options = cls(document, method, space, fixed, metrics, n, paper)
        options._of_method()
        options._stop()
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
            others = ", ".join(_for_metrics(len(self.metrics)))
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

    def _generations(self, slots: Schedule | int | None) -> None:
        tuning, sizes = self.document.job.tuning, self.method.generation
        # The plan of a plug-in is published too: hosts that do not have it can evaluate all the same.
        if not self.adaptive and not self.plugin and not self.stop.needs_results:
            for name in ("generation_size", "generation_lag"):
                if getattr(tuning, name) is not None:
                    self.notices.append(f"{name} has no effect with method {tuning.method}")
            return
        job = self.document.job
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
        self.constraints = tuple(constraint.text for constraint in parsed)
        limits = Limits(self.space, self.fixed, tuple(parsed))
        if limits.before and self.space.dimensions:
            # A plan that ends by itself has its points; of others, what may not run is replaced.
            self.refill = isinstance(self.method, PlanMethod) and self.method.size is None
            points = self.space.from_unit(uniform_points(0, len(self.space.dimensions), 1, TRIED_POINTS))
            self._found_none = not limits.may_run(points, TRIED_POINTS).any()

    def _faults(self, constraint: Constraint) -> Iterator[str]:
        """What is wrong with the names of a constraint."""
        goals = {goal.name for goal in self.metrics}
        known = {*self.space.names, *self.fixed, *(METRICS if self.paper else goals)}
        for name in sorted(constraint.names - known):
            near = difflib.get_close_matches(name, known, 1)
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
        if isinstance(self.method, PlanMethod) and self.method.size is not None:
            self.notices.append(text)
        else:
            self._wrong(f"{text}: loosen them, or name one that does in `enqueue`", "constraints")

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
        told = [result for result in map(self._as_chosen_there, found) if result is not None]
        fitting = [result for result in told if self._fits(result)]
        if not fitting:
            self._wrong(
                f"none of the {len(found)} results of {source} has all of {', '.join(self.space.names)} inside of the "
                f"search space, and {', '.join(goal.name for goal in self.metrics)}",
                "start_from",
            )
            return
        violation, budgets = self._violation(fitting), [result.budget for result in fitting]
        usable = np.array(self._of_largest_budget(fitting), dtype=np.int64)
        first = self._losses(fitting)[usable]
        order = ordering.best_first(first, np.array(violation)[usable], np.array(budgets)[usable], MOST_PAST)
        chosen = np.sort(usable[order]).tolist()
        breaking = sum(1 for i in chosen if violation[i] > 0 and fitting[i].metrics)
        self.notices.append(
            f"starts from {len(chosen):,} results of {source}"
            + (f", {breaking:,} of which break the constraints" if breaking else "")
            + _left_out(len(found) - len(told), "have a choice that the table does not tell from another and")
            + _left_out(len(told) - len(fitting), "do not fit and")
            + _left_out(len(fitting) - len(usable), "had a smaller budget and")
            + _left_out(len(usable) - len(chosen), f"beyond the best {MOST_PAST:,}")
        )
        self.past = WarmStart(
            source,
            tuple(
                {name: p[name] for name in self.space.names if name in p} for p in (fitting[i].params for i in chosen)
            ),
            tuple(tuple(fitting[i].metrics.get(goal.name, math.nan) for goal in self.metrics) for i in chosen),
            tuple(violation[i] for i in chosen),
            tuple(budgets[i] for i in chosen),
        )

    def _of_largest_budget(self, results: Sequence[EarlierResult]) -> list[int]:
        """Which results can be learnt from together: only a method with budgets of its own can tell them apart."""
        if self.budgets:
            return list(range(len(results)))
        budgets = np.array([result.budget for result in results])
        largest = ordering.largest_budget(budgets, np.array([bool(result.metrics) for result in results]))
        return [i for i, budget in enumerate(budgets.tolist()) if budget == largest]

    def _violation(self, results: Sequence[EarlierResult]) -> list[float]:
        """By how much each result breaks the constraints, those between parameters too; inf where it cannot be told."""
        constraints = tuple(parse_constraint(text) for text in self.constraints)
        if not constraints:
            return [0.0] * len(results)
        columns = self.space.encode([result.params for result in results])
        names = {name for constraint in constraints for name in constraint.names} - {*columns, *self.fixed}
        metrics = {name: np.array([result.metrics.get(name, math.nan) for result in results]) for name in names}
        limits = Limits(self.space, self.fixed, constraints)
        found: list[float] = limits.total(columns, metrics, len(results)).tolist()
        return found

    def _as_chosen_there(self, result: EarlierResult) -> EarlierResult | None:
        """A table's result with the choices that it wrote, which may be texts that read as numbers; None for either."""
        params = dict(result.params)
        for d in self.space.dimensions:
            if not isinstance(d, ChoiceDimension) or d.name not in result.written:
                continue
            same = [choice for choice in d.values if text_of(choice) == result.written[d.name]]
            if len(same) > 1:
                return None
            if same:
                params[d.name] = same[0]
        return replace(result, params=params)

    def _fits(self, result: EarlierResult) -> bool:
        if result.metrics and not all(goal.name in result.metrics for goal in self.metrics):
            return False
        try:
            self.space.encode([result.params])
        except (KeyError, ValueError):
            return False
        return True

    def _losses(self, results: Sequence[EarlierResult]) -> npt.NDArray[np.float64]:
        """Of the first metric, NaN where a result has none."""
        goal = self.metrics[0]
        return goal.sign * np.array([result.metrics.get(goal.name, math.nan) for result in results], dtype=np.float64)


def _for_metrics(count: int) -> Iterator[str]:
    """The methods of arbd that learn to optimise so many metrics."""
    for name in built_in(learns=True):
        found = adaptive(name)
        if found is not None and (found.max_metrics is None or found.max_metrics >= count):
            yield name


def _as_chosen(dimension: Dimension, value: Value) -> Value:
    """The choice that is the same number."""
    if isinstance(dimension, ChoiceDimension) and type(value) is int:
        return next((choice for choice in dimension.values if choice == value), value)
    return value


def _left_out(count: int, why: str) -> str:
    return f"; {count:,} {why} are left out" if count else ""
