"""The resolved job in the file, declared once: what another host wrote is checked before a `JobSpec` is made of it.

What passes can be shown, searched and written as a table without an error. Whether this host may evaluate it is the
policy's to say, each time it is opened. Jobs of the first version have nothing of what has a default here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct, structs

from arbd import schema
from arbd.job import limits
from arbd.job.aggregation import Aggregation, RobustRule
from arbd.job.codec_validation import ValidationRecord
from arbd.job.spec import OF_METHOD, Execution, JobSpec, ObjectiveSpec, ResultOptions, Terms
from arbd.records import MAX_TEXT_CHARS, Items, Positive, RecordFormat, Text, shown
from arbd.search.constraints import parse_constraint
from arbd.search.problem import DEFAULT_MIN_BUDGET, MetricGoal, StopRules, WarmStart
from arbd.search.pruning import PruneRules
from arbd.search.schedule import LAG, MAX_LAG
from arbd.search.space import ChoiceDimension, Condition, FloatDimension, IntDimension, SearchSpace
from arbd.spool.layout import NAME_PATTERN
from arbd.spool.ledger_records import FileName

T = TypeVar("T")

# Arguments of a command, files and notices are lists of text; each file can have a notice.
MAX_TEXTS = limits.MAX_FILES + limits.MAX_ARGUMENTS

# An integer stays one: a job that is written again is the same to the byte.
Number = int | float
Scalar = bool | int | float | Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] | None
Texts = Annotated[tuple[Text, ...], Meta(max_length=MAX_TEXTS)]
Exact = Annotated[int, Meta(ge=-limits.MAX_EXACT, le=limits.MAX_EXACT)]
Budget = Annotated[int, Meta(gt=0, le=1)] | Annotated[float, Meta(gt=0, le=1)]
Name = Annotated[str, Meta(max_length=200)]
Versions = Annotated[
    dict[Annotated[str, Meta(max_length=100)], Annotated[str, Meta(max_length=100)]], Meta(max_length=100)
]
Label = Annotated[str, Meta(pattern=rf"^(?:{limits.LABEL.pattern})\Z")]
Point = dict[Name, Scalar]
Marks = Annotated[
    tuple[Annotated[str, Meta(pattern=rf"^(?:{limits.MARK.pattern})\Z")], ...], Meta(max_length=limits.MAX_MARKS)
]
# Under which conditions a parameter exists: values of others, by their names.
When = Annotated[
    dict[Name, Annotated[tuple[Scalar, ...], Meta(min_length=1, max_length=limits.MAX_CHOICES)]],
    Meta(max_length=limits.MAX_PARAMETERS),
]


class ObjectiveRecord(Struct, frozen=True):
    """See `ObjectiveSpec`."""

    kind: Text
    target: Texts
    protocol: Literal["", "lines"] = ""
    interpreter: Text = ""


class GoalRecord(Struct, frozen=True):
    """See `MetricGoal`."""

    name: Annotated[str, Meta(min_length=1, max_length=limits.MAX_METRIC_CHARS)]
    direction: Literal["maximize", "minimize"]


class FloatRecord(Struct, frozen=True, tag_field="type", tag="float"):
    """See `FloatDimension`."""

    name: Text
    low: Number
    high: Number
    log: bool
    step: Number | None
    when: When = {}

    def dimension(self) -> FloatDimension:
        """ValueError when it is no range that can be searched."""
        if not self.low <= self.high or not math.isfinite(self.high - self.low):
            raise ValueError(f"{self.name}: a range from {shown(self.low)} to {shown(self.high)}")
        if self.step is not None and not 0 < self.step < math.inf:
            raise ValueError(f"{self.name}: a step of {shown(self.step)}")
        _check_range(self)
        return FloatDimension(self.name, self.low, self.high, self.log, self.step)


class IntRecord(Struct, frozen=True, tag_field="type", tag="int"):
    """See `IntDimension`."""

    name: Text
    low: Exact
    high: Exact
    log: bool
    step: Positive
    when: When = {}

    def dimension(self) -> IntDimension:
        """ValueError when it is no range that can be searched."""
        if self.low > self.high:
            raise ValueError(f"{self.name}: a range from {self.low} to {self.high}")
        _check_range(self)
        return IntDimension(self.name, self.low, self.high, self.log, self.step)


class ChoiceRecord(Struct, frozen=True, tag_field="type", tag="choice"):
    """See `ChoiceDimension`."""

    name: Text
    values: Annotated[tuple[Scalar, ...], Meta(min_length=1, max_length=limits.MAX_CHOICES)]
    when: When = {}

    def dimension(self) -> ChoiceDimension:
        """The dimension."""
        return ChoiceDimension(self.name, self.values)


class ExecutionRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """See `Execution`. A rule that this version does not know is one that it would not keep."""

    timeout_s: Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)] | None
    retries: Annotated[int, Meta(ge=0, le=limits.MAX_RETRIES)]
    max_slots: Annotated[int, Meta(ge=1, le=limits.MAX_SLOTS)] | None
    priority: Annotated[int, Meta(ge=-limits.MAX_PRIORITY, le=limits.MAX_PRIORITY)]
    memory_mb: Annotated[int, Meta(ge=1, le=limits.MAX_MEMORY_MB)] | None
    iterations_per_process: Annotated[int, Meta(ge=1, le=limits.MAX_EXACT)] | None = None


class ResultsRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """See `ResultOptions`."""

    csv: bool = False
    blocks: bool = True


class StopRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """See `StopRules`. A rule that this version does not know is one that it would not keep."""

    max_time_s: Number | None = None
    no_improvement: Positive | None = None
    target: Number | None = None
    min_delta: Annotated[float, Meta(ge=0)] = 0.0


class PruneRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """See `PruneRules`. A rule that this version does not know is one that it would not keep."""

    rule: Literal["median", "percentile", "patient"]
    percentile: Annotated[float, Meta(gt=0, le=100)]
    startup_trials: Annotated[int, Meta(ge=0, le=limits.MAX_EXACT)]
    min_trials: Annotated[int, Meta(ge=1, le=limits.MAX_EXACT)]
    warmup_steps: Annotated[int, Meta(ge=0, le=limits.MAX_EXACT)]
    patience: Annotated[int, Meta(ge=0, le=limits.MAX_PATIENCE)]
    min_delta: Annotated[float, Meta(ge=0)]


class RobustRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """See `RobustRule`. A rule that this version does not know is one that it would not keep."""

    over: Literal["blocks", "markets", "neighbourhood"]
    use: Literal["median", "worst", "quantile"]
    q: Annotated[float, Meta(ge=0, le=1)]
    groups: Annotated[int, Meta(ge=0, le=limits.MAX_BLOCK_GROUPS)]


class PastRecord(Struct, frozen=True):
    """See `WarmStart`."""

    source: Text
    points: Annotated[tuple[Point, ...], Meta(max_length=limits.MAX_PAST)]
    metrics: Annotated[tuple[tuple[Number, ...], ...], Meta(max_length=limits.MAX_PAST)]
    violation: Annotated[tuple[Number, ...], Meta(max_length=limits.MAX_PAST)] = ()
    budget: Annotated[tuple[Number, ...], Meta(max_length=limits.MAX_PAST)] = ()


class TermsRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """`Terms`."""

    requires: Annotated[dict[Label, Label], Meta(max_length=limits.MAX_LABELS)] = {}
    after: Annotated[tuple[Annotated[str, Meta(pattern=rf"^{NAME_PATTERN.pattern}\Z")], ...], Meta(max_length=100)] = ()
    deadline_ns: Annotated[int, Meta(ge=0, le=limits.MAX_MOMENT_NS)] | None = None


class JobRecord(Struct, frozen=True, kw_only=True):
    """See `JobSpec`."""

    version: int
    session_id: FileName | None
    objective: ObjectiveRecord
    mode: Text
    data: Texts
    scenarios: Texts
    on_bad_rows: Text
    digests: dict[Text, Annotated[str, Meta(max_length=64)]]
    fixed: dict[Text, Scalar]
    metrics: Annotated[tuple[GoalRecord, ...], Meta(min_length=1, max_length=limits.MAX_GOALS)]
    method: Text
    space: Annotated[
        tuple[FloatRecord | IntRecord | ChoiceRecord, ...], Meta(min_length=1, max_length=limits.MAX_PARAMETERS)
    ]
    n: Annotated[int, Meta(ge=1, le=limits.MAX_ITERATIONS)]
    seed: Annotated[int, Meta(ge=0, le=limits.MAX_SEED)]
    grid_points: dict[Text, Positive]
    acquisition_fn: Text | None
    execution: ExecutionRecord
    results: ResultsRecord
    notices: Texts
    generation_size: Annotated[int, Meta(ge=0, le=limits.MAX_GENERATION)] = 0
    constraints: Annotated[tuple[Text, ...], Meta(max_length=limits.MAX_CONSTRAINTS)] = ()
    enqueue: Annotated[tuple[Point, ...], Meta(max_length=limits.MAX_ENQUEUED)] = ()
    past: PastRecord | None = None
    stop: StopRecord = StopRecord()
    min_budget: Budget = DEFAULT_MIN_BUDGET
    sampler_versions: Versions = {}
    options: dict[Name, Scalar] = {}
    budgets: Annotated[tuple[Budget, ...], Items] | None = None
    code: Versions = {}
    labels: Annotated[dict[Label, Label], Meta(max_length=limits.MAX_LABELS)] = {}
    refill: bool = False
    generation_lag: Annotated[int, Meta(ge=1, le=MAX_LAG)] = LAG
    validation: ValidationRecord | None = None
    terms: TermsRecord = TermsRecord()
    began_with: Annotated[int, Meta(ge=0, le=limits.MAX_ITERATIONS)] = 0
    prune: PruneRecord | None = None
    marks: Marks = ()
    repeats: Annotated[int, Meta(ge=1, le=limits.MAX_REPEATS)] = 1
    robust: RobustRecord | None = None


JOB: RecordFormat[JobRecord] = RecordFormat("the job", JobRecord, lambda: schema.JOB)


def read_job_spec(payload: bytes | memoryview, path: Path | str = "a job") -> JobSpec:
    """The job in a record of the file `path`; VersionError when it is another version's, ValueError when it is none."""
    record = JOB.read(payload, path)
    _check(record)
    past = record.past
    spec = JobSpec(
        objective=_same(record.objective, ObjectiveSpec),
        method=record.method,
        space=_space(record),
        n=record.n,
        seed=record.seed,
        metrics=tuple(MetricGoal(goal.name, goal.direction) for goal in record.metrics),
        session_id=record.session_id,
        mode=record.mode,
        data=record.data,
        scenarios=record.scenarios,
        on_bad_rows=record.on_bad_rows,
        digests=record.digests,
        fixed=record.fixed,
        grid_points=record.grid_points,
        acquisition_fn=record.acquisition_fn,
        execution=_same(record.execution, Execution),
        results=_same(record.results, ResultOptions),
        notices=record.notices,
        generation_size=record.generation_size,
        constraints=record.constraints,
        enqueue=record.enqueue,
        past=None if past is None else _same(past, WarmStart),
        stop=_same(record.stop, StopRules),
        min_budget=record.min_budget,
        sampler_versions=record.sampler_versions,
        options=record.options,
        budgets=OF_METHOD if record.budgets is None else record.budgets,
        code=record.code,
        labels=record.labels,
        generation_lag=record.generation_lag,
        terms=_same(record.terms, Terms),
        refill=record.refill,
        marks=record.marks,
        began_with=record.began_with,
        prune=None if record.prune is None else _same(record.prune, PruneRules),
        aggregation=Aggregation(record.repeats, None if record.robust is None else _same(record.robust, RobustRule)),
        validation=None if record.validation is None else record.validation.spec(),
    )
    if spec.validation is not None and (not spec.generation_size or spec.layout.n != spec.n):
        raise ValueError(f"a validation of {spec.layout.n:,} iterations in all, of {spec.n:,}")
    return spec


def _space(record: JobRecord) -> SearchSpace:
    """ValueError when its conditions cannot be followed."""
    conditions = [Condition(one.name, parent, values) for one in record.space for parent, values in one.when.items()]
    space = SearchSpace(tuple(one.dimension() for one in record.space), tuple(conditions))
    for name, fault in space.faults():
        raise ValueError(f"{name}: {fault}")
    return space


def _same(record: Struct, of: type[T]) -> T:
    """The value of the same fields."""
    return of(**structs.asdict(record))


def _check(record: JobRecord) -> None:
    """What no declaration says."""
    if record.objective.kind != "paper" and not record.objective.target:
        raise ValueError("an objective without a target")
    if record.objective.interpreter and record.objective.kind != "python":
        raise ValueError("an interpreter of an objective that is not Python")
    shown_to_people = (
        record.objective.kind,
        record.objective.interpreter,
        record.method,
        record.mode,
        record.on_bad_rows,
    )
    for text in (*shown_to_people, *(goal.name for goal in record.metrics)):
        if not text.isprintable():
            raise ValueError(f"a character that cannot be shown in {shown(text)}")
    names = [dimension.name for dimension in record.space]
    for name in (*names, *record.fixed, *record.grid_points):
        if (fault := limits.name_fault(name)) is not None:
            raise ValueError(fault)
    if len(set(names)) < len(names):
        raise ValueError(f"a search space of {len(names)} dimensions, of which two have the same name")
    # Whoever wrote it: each term is computed for every row.
    terms = sum(parse_constraint(constraint).terms for constraint in record.constraints)
    if terms > limits.MAX_CONSTRAINT_TERMS:
        raise ValueError(f"constraints of {terms:,} terms; the maximum is {limits.MAX_CONSTRAINT_TERMS:,}")
    if record.past is not None and len(record.past.points) != len(record.past.metrics):
        raise ValueError("earlier results of different lengths")


def _check_range(dimension: FloatRecord | IntRecord) -> None:
    if dimension.log and dimension.low <= 0:
        raise ValueError(f"{dimension.name}: log with {shown(dimension.low)} as the lowest value")
    if (fault := limits.number_fault(dimension.low, dimension.high, dimension.step)) is not None:
        raise ValueError(fault)
