"""A job resolved: everything that an iteration depends on, in one value that every host reads alike.

Keeps I5: with the data files and the code that its digests name, a spec decides every parameter and metric.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from arbd import schema
from arbd.job.aggregation import ONE_EVALUATION, Aggregation
from arbd.job.validation import ValidationSpec
from arbd.search.phases import Layout, Phase, Stretch
from arbd.search.problem import DEFAULT_MIN_BUDGET, MetricGoal, StopRules, WarmStart
from arbd.search.pruning import PruneRules
from arbd.search.samplers import default_budgets
from arbd.search.schedule import LAG, Schedule
from arbd.search.seeds import iteration_seed
from arbd.search.space import ChoiceDimension, SearchSpace, Value
from arbd.values import dataclass

# Stands for the budgets that the method declares, in specs that do not name any.
OF_METHOD: tuple[float, ...] = (-1.0,)


@dataclass(frozen=True, slots=True)
class ObjectiveSpec:
    """What is evaluated: `paper`, `python` with ("package.module:function",), or `command` with its arguments.

    A command of the `protocol` "lines" is kept between iterations. An `interpreter` is another Python than arbd's own.
    """

    kind: str
    target: tuple[str, ...] = ()
    protocol: str = ""
    interpreter: str = ""

    def __str__(self) -> str:
        words = (self.kind, *self.target)
        return " ".join((*words, "in", self.interpreter) if self.interpreter else words)

    @property
    def says_more(self) -> bool:
        """True when workers of earlier versions would evaluate something else."""
        return bool(self.protocol or self.interpreter)

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        more = {"protocol": self.protocol, "interpreter": self.interpreter}
        return {"kind": self.kind, "target": list(self.target), **{name: text for name, text in more.items() if text}}


@dataclass(frozen=True, slots=True)
class Execution:
    """How iterations run. `timeout_s` None means no limit; `max_slots` counts slots on all hosts together.

    `iterations_per_process` None means that a slot's process is replaced only when something is wrong with it.
    """

    timeout_s: float | None = None
    retries: int = 1
    max_slots: int | None = None
    priority: int = 0
    memory_mb: int | None = None
    iterations_per_process: int | None = None

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        return {
            "timeout_s": self.timeout_s,
            "retries": self.retries,
            "max_slots": self.max_slots,
            "priority": self.priority,
            "memory_mb": self.memory_mb,
            # Left out where it is not used, so that such a job reads the same to workers that do not know of it.
            **({"iterations_per_process": limit} if (limit := self.iterations_per_process) is not None else {}),
        }


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """`csv`: keep a table beside the results. `blocks`: keep return blocks of objectives that give them."""

    csv: bool = False
    blocks: bool = True


@dataclass(frozen=True, slots=True)
class Terms:
    """Where and when a session is worked on.

    On hosts that have all labels `requires`, once the sessions `after` are over, until `deadline_ns` by each host's
    calendar.
    """

    requires: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    deadline_ns: int | None = None

    def notices(self) -> list[str]:
        """What its author should know at this moment, by this host's calendar."""
        if self.deadline_ns is None or time.time_ns() < self.deadline_ns:
            return []
        return ["the deadline is over already: the session ends as soon as it begins"]

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        return {"requires": dict(self.requires), "after": list(self.after), "deadline_ns": self.deadline_ns}


NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A resolved job. Paths are absolute; `digests` holds the SHA-256 of every data, scenario and code file.

    `generation_size` is 0 for a non-adaptive search, whose parameters follow from seed and number alone; generation g
    depends on the results of generations up to g - `generation_lag`.
    `sampler_versions` are those of the libraries that compute suggestions, as of the host that accepted the job.
    `budgets` are those that iterations may have, none where all use all of the data; left out, the method's own.
    `code` are the parts of `arbd.job.code` that every session depends on; jobs of earlier versions have none.
    `began_with` is the number of iterations at first, of a session that was extended since; else 0.
    With `prune`, iterations that report intermediate values may end before their time.
    `aggregation` is what an iteration's metrics are made of; `metrics` are those that come of it.
    With a `validation`, `n` counts its iterations too, and all of them are published.
    `marks` are what its markets are known by, whatever file they stand in (`resolve_quotes`).
    """

    objective: ObjectiveSpec
    method: str
    space: SearchSpace
    n: int
    seed: int
    metrics: tuple[MetricGoal, ...]
    session_id: str | None = None
    mode: str = "paper"
    data: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    on_bad_rows: str = "refuse"
    digests: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Value] = field(default_factory=dict)
    grid_points: Mapping[str, int] = field(default_factory=dict)
    acquisition_fn: str | None = None
    execution: Execution = field(default_factory=Execution)
    results: ResultOptions = field(default_factory=ResultOptions)
    notices: tuple[str, ...] = ()
    generation_size: int = 0
    constraints: tuple[str, ...] = ()
    enqueue: tuple[Mapping[str, Value], ...] = ()
    past: WarmStart | None = None
    stop: StopRules = field(default_factory=StopRules)
    min_budget: float = DEFAULT_MIN_BUDGET
    sampler_versions: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)
    budgets: tuple[float, ...] = OF_METHOD
    generation_lag: int = LAG
    refill: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    validation: ValidationSpec | None = None
    terms: Terms = NO_TERMS
    began_with: int = 0
    prune: PruneRules | None = None
    marks: tuple[str, ...] = ()
    aggregation: Aggregation = ONE_EVALUATION

    def __post_init__(self) -> None:
        if self.budgets is OF_METHOD:
            object.__setattr__(self, "budgets", default_budgets(self.method, self.min_budget))

    @property
    def has_shares(self) -> bool:
        """True when iterations use different shares of the data, told by the metric `budget`."""
        return bool(self.budgets)

    @property
    def generations(self) -> int:
        """How many generations there are at most; 0 for a non-adaptive search."""
        return self.layout.generations if self.generation_size else 0

    @property
    def layout(self) -> Layout:
        """What stands where. It is made anew each time."""
        if self.validation is None:
            return Layout.plain(self.n, Schedule(self.generation_size or self.n, self.generation_lag))
        schedule = Schedule(self.generation_size, self.generation_lag)
        return Layout.of(self.validation.search_n, schedule, self.validation.counts)

    @property
    def each(self) -> JobSpec:
        """The job as an objective sees it: `metrics` are those that it returns itself."""
        return replace(self, metrics=self.aggregation.raw(self.metrics))

    @property
    def search_n(self) -> int:
        """The iterations of the session's own search."""
        return self.n if self.validation is None else self.validation.search_n

    def search(self, stretch: Stretch) -> JobSpec:
        """The search of a stretch, by itself. Each but the session's own has its own stream of random numbers."""
        stream = -(1 << 41) - 2 * stretch.fold - (stretch.phase is Phase.NULL)
        seed = self.seed if stretch.is_own_search else iteration_seed(self.seed, stream)
        return replace(self, n=stretch.count, seed=seed, validation=None)

    @property
    def _schema(self) -> int:
        """Jobs that say nothing new are written as before, so that workers of earlier versions share them."""
        more = (
            self.generation_lag != LAG, self.validation, self.terms != NO_TERMS, self.refill, self.stop.min_delta,
            self.space.conditions, self.objective.says_more, self.began_with, self._has_null, self.prune,
            self._aggregates,
        )  # fmt: skip
        says_more = any(more)
        return schema.JOB.version if says_more else schema.JOB.earliest

    @property
    def _aggregates(self) -> bool:
        return self.aggregation.repeats > 1 or self.aggregation.robust is not None

    @property
    def _has_null(self) -> bool:
        choices = (d.values for d in self.space.dimensions if isinstance(d, ChoiceDimension))
        return any(None in values for values in (*choices, self.fixed.values()))

    def to_plain(self) -> dict[str, Any]:
        """For msgpack and JSON."""
        return {
            schema.JOB.key: self._schema,
            "session_id": self.session_id,
            "objective": self.objective.to_plain(),
            "mode": self.mode,
            "data": list(self.data),
            "scenarios": list(self.scenarios),
            "on_bad_rows": self.on_bad_rows,
            "digests": dict(self.digests),
            "fixed": dict(self.fixed),
            "metrics": [{"name": goal.name, "direction": goal.direction} for goal in self.metrics],
            "method": self.method,
            "space": self.space.to_plain(),
            "n": self.n,
            "seed": self.seed,
            "grid_points": dict(self.grid_points),
            "acquisition_fn": self.acquisition_fn,
            "execution": self.execution.to_plain(),
            "results": {"csv": self.results.csv, "blocks": self.results.blocks},
            "notices": list(self.notices),
            "generation_size": self.generation_size,
            "constraints": list(self.constraints),
            "enqueue": [dict(point) for point in self.enqueue],
            "past": None if self.past is None else self.past.to_plain(),
            "stop": self.stop.to_plain(),
            "min_budget": self.min_budget,
            "sampler_versions": dict(self.sampler_versions),
            "options": dict(self.options),
            "budgets": list(self.budgets),
            "code": dict(self.code),
            **({"refill": True} if self.refill else {}),
            **({"generation_lag": self.generation_lag} if self.generation_lag != LAG else {}),
            # Left out where there are none, so that such a job reads the same to workers that do not know of them.
            **({"labels": dict(self.labels)} if self.labels else {}),
            **({} if self.validation is None else {"validation": self.validation.to_plain()}),
            **({"began_with": self.began_with} if self.began_with else {}),
            **({} if self.terms == NO_TERMS else {"terms": self.terms.to_plain()}),
            **({} if self.prune is None else {"prune": self.prune.to_plain()}),
            **({"marks": list(self.marks)} if self.marks else {}),
            **(self.aggregation.to_plain() if self._aggregates else {}),
        }
