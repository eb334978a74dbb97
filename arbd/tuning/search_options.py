"""What a job says about its search beyond space and method: checked, and made into values of the spec.

Constraints, points to try first, earlier results to start from, stop rules, the size of a generation.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from arbd.errors import ArbdError, Problem
from arbd.paper import params
from arbd.paper.metrics import METRICS
from arbd.tuning.constraints import Constraint, ConstraintError, parse_constraint
from arbd.tuning.generations import default_size
from arbd.tuning.jobfile import JobDocument
from arbd.tuning.jobspec import MetricGoal, Past, StopRules
from arbd.tuning.plan import Limits
from arbd.tuning.result import PastResult
from arbd.tuning.samplers import GUIDED
from arbd.tuning.samplers.random import uniform_points
from arbd.tuning.space import SearchSpace, Value

MOST_GUIDED = 1_000_000
MOST_PAST = 5_000
SMALLEST_POPULATION = 4
ONE_METRIC = ("cmaes", "successive_halving")
TRIED_POINTS = 4_096

ReadPast = Callable[[str, Sequence[Path]], list[PastResult]]


@dataclass(slots=True)
class SearchOptions:
    """The values, and what is wrong or worth a notice."""

    document: JobDocument
    space: SearchSpace
    fixed: Mapping[str, Value]
    metrics: tuple[MetricGoal, ...]
    n: int
    paper: bool
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    generation_size: int = 0
    constraints: tuple[str, ...] = ()
    enqueue: tuple[dict[str, Value], ...] = ()
    past: Past | None = None
    stop: StopRules = field(default_factory=StopRules)

    @classmethod
    def of(
        cls,
        document: JobDocument,
        space: SearchSpace,
        fixed: Mapping[str, Value],
        metrics: tuple[MetricGoal, ...],
        n: int,
        *,
        paper: bool,
        past: ReadPast | None,
        folders: Sequence[Path],
    ) -> SearchOptions:
        """Check everything."""
        options = cls(document, space, fixed, metrics, n, paper)
        options._method()
        options._stop()
        options._generations()
        options._constraints()
        options._enqueue()
        options._past(past, folders)
        return options

    def _wrong(self, message: str, *path: str | int) -> None:
        self.problems.append(self.document.problem(message, "tuning", *path))

    def _method(self) -> None:
        tuning = self.document.job.tuning
        if tuning.acquisition_fn is not None and tuning.method != "bayesian":
            self.notices.append(f"acquisition_fn has no effect with method {tuning.method}")
        if "min_budget" in tuning.model_fields_set and tuning.method != "successive_halving":
            self.notices.append(f"min_budget has no effect with method {tuning.method}")
        if tuning.method in ONE_METRIC and len(self.metrics) > 1:
            self._wrong(
                f"{tuning.method} optimises one metric, not {len(self.metrics)}: use nsga2, tpe or bayesian", "method"
            )
        if tuning.method in GUIDED and self.n > MOST_GUIDED:
            self._wrong(f"{tuning.method} learns from at most {MOST_GUIDED:,} iterations", "max_iterations")

    def _stop(self) -> None:
        given = self.document.job.tuning.stop
        self.stop = StopRules(given.max_time_s, given.no_improvement, given.target)
        if given.target is not None and len(self.metrics) > 1:
            self._wrong("a target is for one metric", "stop", "target")
        if self.stop.needs_results and self.n > MOST_GUIDED:
            self._wrong(f"rules that look at results take at most {MOST_GUIDED:,} iterations", "stop")

    def _generations(self) -> None:
        tuning = self.document.job.tuning
        if tuning.method not in GUIDED and not self.stop.needs_results:
            if tuning.generation_size is not None:
                self.notices.append(f"generation_size has no effect with method {tuning.method}")
            return
        self.generation_size = tuning.generation_size or default_size(tuning.method, max(1, self.n))
        if tuning.method == "cmaes" and self.generation_size < SMALLEST_POPULATION:
            self._wrong(f"cmaes needs at least {SMALLEST_POPULATION}, its population", "generation_size")

    def _constraints(self) -> None:
        parsed: list[Constraint] = []
        for index, text in enumerate(self.document.job.tuning.constraints):
            try:
                constraint = parse_constraint(text)
            except ConstraintError as error:
                self._wrong(f"{text!r}: {error}", "constraints", index)
                continue
            known = {*self.space.names, *self.fixed, *METRICS}
            for name in sorted(constraint.names - known) if self.paper else ():
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self._wrong(
                    f"{text!r}: {name!r} is neither searched, nor fixed, nor a metric{hint}", "constraints", index
                )
            parsed.append(constraint)
        self.constraints = tuple(constraint.text for constraint in parsed)
        limits = Limits(self.space, self.fixed, tuple(parsed))
        if limits.before and self.space.dimensions:
            points = self.space.from_unit(uniform_points(0, len(self.space.dimensions), 1, TRIED_POINTS))
            if not limits.may_run(points, TRIED_POINTS).any():
                self.notices.append(f"none of {TRIED_POINTS:,} random points keeps the constraints between parameters")

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
                try:
                    dimensions[key].column([value])
                except ValueError as error:
                    self._wrong(str(error), "enqueue", index, name)
                point[key] = value
            points.append(point)
        self.enqueue = tuple(points)
        if self.n and len(points) > self.n:
            self._wrong(f"{len(points)} points to try first, and {self.n} iterations", "enqueue")

    def _past(self, read: ReadPast | None, folders: Sequence[Path]) -> None:
        source = self.document.job.tuning.start_from
        if source is None:
            return
        if self.document.job.tuning.method not in GUIDED:
            self.notices.append(
                f"start_from has no effect with method {self.document.job.tuning.method}, which does not learn"
            )
            return
        if read is None:
            self._wrong("there is no spool to look for it: name one (--spool), or a .csv file", "start_from")
            return
        try:
            found = read(source, folders)
        except ArbdError as error:
            self._wrong(str(error), "start_from")
            return
        usable = [result for result in found if self._fits(result)]
        if not usable:
            self._wrong(
                f"none of the {len(found)} results of {source} has all of {', '.join(self.space.names)} inside of the "
                f"search space, and {', '.join(goal.name for goal in self.metrics)}",
                "start_from",
            )
            return
        kept = sorted(range(len(usable)), key=lambda i: (self._loss(usable[i]), i))[:MOST_PAST]
        chosen = [usable[i] for i in sorted(kept)]
        left = len(found) - len(chosen)
        self.notices.append(
            f"starts from {len(chosen):,} results of {source}"
            + (f"; {left:,} do not fit and are left out" if left else "")
        )
        self.past = Past(
            source,
            tuple({name: result.params[name] for name in self.space.names} for result in chosen),
            tuple(tuple(result.metrics.get(goal.name, math.nan) for goal in self.metrics) for result in chosen),
        )

    def _fits(self, result: PastResult) -> bool:
        if result.metrics and not all(goal.name in result.metrics for goal in self.metrics):
            return False
        try:
            self.space.encode([result.params])
        except (KeyError, ValueError):
            return False
        return True

    def _loss(self, result: PastResult) -> float:
        goal = self.metrics[0]
        value = result.metrics.get(goal.name, math.nan)
        loss = value if goal.direction == "minimize" else -value
        return float(np.nan_to_num(loss, nan=math.inf, posinf=math.inf, neginf=math.inf))
