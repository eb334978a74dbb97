"""The form of a job file, as models that check it and describe it to editors. Imported only where jobs enter."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from arbd.errors import UsageError
from arbd.job import limits
from arbd.job.model_data import DataFolder, ScheduleModel
from arbd.job.model_prune import PruneModel, StopModel
from arbd.job.model_robust import Repeats, RobustModel
from arbd.job.model_validation import ValidationModel
from arbd.job.spec import Terms
from arbd.search.samplers import METHODS
from arbd.search.schedule import MAX_LAG

AUTO = "auto"


def _scalar(value: Any, handler: Any) -> Any:
    """One message for one mistake: the alternatives would each have their own."""
    del handler
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise PydanticCustomError("scalar", "must be a number, a string, true, false or null")


def _number(value: Any) -> Any:
    """A truth value is no number, and a string is one where YAML would read it as one without its quotes."""
    if isinstance(value, bool) or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
        raise PydanticCustomError("number", "is a number")
    return value


def _moment(value: AwareDatetime) -> AwareDatetime:
    if not 0 <= int(value.timestamp()) * 10**9 <= limits.MAX_MOMENT_NS:
        raise PydanticCustomError("moment", "must be a time between 1970 and 2116")
    return value


# As YAML 1.2 has them, and no other digits than its own.
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
Number = Annotated[float, BeforeValidator(_number)]
Moment = Annotated[AwareDatetime, AfterValidator(_moment)]
Scalar = Annotated[bool | int | float | str | None, WrapValidator(_scalar)]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _or_one(schema: dict[str, Any]) -> None:
    whole = {name: schema.pop(name) for name in ("items", "minItems", "type")}
    schema["anyOf"] = [whole, *whole["items"]["anyOf"]]


def _known_method(name: str) -> str:
    if name == AUTO:
        return name
    try:
        METHODS.plugin(name)
    except UsageError as error:
        raise PydanticCustomError("method", "{reason}", {"reason": str(error)}) from None
    return name


def _with_methods(schema: dict[str, Any]) -> None:
    schema["enum"] = [AUTO, *METHODS.names()]
    schema.pop("type", None)


def _or_auto(schema: dict[str, Any]) -> None:
    schema.setdefault("anyOf", []).append({"const": AUTO})


MethodName = Annotated[str, AfterValidator(_known_method)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Searched(_Strict):
    when: dict[
        str, Annotated[list[Scalar], BeforeValidator(_as_list), Field(min_length=1, json_schema_extra=_or_one)]
    ] = Field(
        default_factory=dict,
        description="It exists only where these parameters exist and have this value, or one of these.",
        examples=[{"strategy": "inventory"}],
    )


class FloatParameter(_Searched):
    """A real number between two bounds, both included."""

    type: Literal["float"]
    bounds: tuple[Number, Number] = Field(description="Lowest and highest value.", examples=[[0.05, 0.5]])
    log: bool = Field(False, description="Search evenly in the logarithm. Bounds must be positive.")
    step: Number | None = Field(None, gt=0, description="Only low, low + step, low + 2 step, ...")


class IntParameter(_Searched):
    """An integer between two bounds, both included."""

    type: Literal["int"]
    bounds: tuple[Annotated[int, Field(strict=True)], Annotated[int, Field(strict=True)]] = Field(
        description="Lowest and highest value.", examples=[[1, 30]]
    )
    log: bool = Field(False, description="Search evenly in the logarithm. Bounds must be positive.")
    step: int = Field(1, ge=1, strict=True, description="Only low, low + step, low + 2 step, ...")


class ChoiceParameter(_Searched):
    """One of several values."""

    type: Literal["choice"]
    values: list[Scalar] = Field(min_length=1, description="The values.", examples=[["convergence", "inventory"]])


class BoolParameter(_Searched):
    """False or true."""

    type: Literal["bool"]


def _kind(value: Any) -> str:
    return str(value.get("type", "")) if isinstance(value, dict) else str(getattr(value, "type", ""))


Parameter = Annotated[
    Annotated[FloatParameter, Tag("float")]
    | Annotated[IntParameter, Tag("int")]
    | Annotated[ChoiceParameter, Tag("choice")]
    | Annotated[BoolParameter, Tag("bool")],
    Discriminator(_kind),
]


class PythonObjective(_Strict):
    """A Python function."""

    python: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$",
        description="package.module:function, importable on every host.",
    )
    interpreter: str | None = Field(
        None,
        pattern=r"^/.*[^/]$",
        description="The Python that runs it, such as /opt/venvs/alpha/bin/python; left out: arbd's own.",
    )


class CommandObjective(_Strict):
    """A program."""

    command: list[str] = Field(min_length=1, description="The program and its arguments; no shell is involved.")
    protocol: Literal["once", "lines"] = Field(
        "once", description="once: started for each iteration; lines: kept, one JSON line in and one out for each."
    )


class Tuning(_Strict):
    """The search."""

    method: MethodName = Field(
        AUTO,
        description="How parameters are chosen; auto: by a policy, docs/search.md.",
        json_schema_extra=_with_methods,
    )
    scenarios: list[str] = Field(default_factory=list, description="Scenario files for the paper objective.")
    search_space: dict[str, Parameter] = Field(min_length=1, description="What varies, by parameter name.")
    max_iterations: int | None = Field(
        None,
        ge=1,
        le=limits.MAX_ITERATIONS,
        strict=True,
        description="How many iterations; grid runs the whole grid when left out.",
    )
    seed: int = Field(0, ge=0, le=limits.MAX_SEED, strict=True, description="Same seed, same parameters on every host.")
    grid_points: Annotated[int, Field(ge=1, strict=True)] | dict[str, Annotated[int, Field(ge=1, strict=True)]] = Field(
        3, description="Points per dimension of a grid, for all or by name."
    )
    acquisition_fn: Literal["ucb", "ei", "poi"] | None = Field(
        None,
        description="Where bayesian looks next: confidence bound, expected improvement (default), its probability.",
    )
    generation_size: Annotated[int | None, BeforeValidator(lambda given: None if given == AUTO else given)] = Field(
        None,
        ge=1,
        le=limits.MAX_GENERATION,
        strict=True,
        description="Iterations that are suggested together by a method that learns; auto or left out: from the slots "
        "that there are at submission, and max_iterations.",
        json_schema_extra=_or_auto,
    )
    generation_lag: int | None = Field(
        None,
        ge=1,
        le=MAX_LAG,
        strict=True,
        description="Generations in work at a time; 1 waits for all results before it suggests. Left out: from the "
        "slots, or 2 beside a generation_size.",
    )
    constraints: list[str] = Field(
        default_factory=list,
        description="Inequalities. Between parameters: what breaks one is not run. With metrics: it ranks last.",
        examples=[["exit_spread_pct < min_spread_pct", "trades >= 30"]],
    )
    enqueue: list[dict[str, Scalar]] = Field(
        default_factory=list,
        max_length=limits.MAX_ENQUEUED,
        description="Points to try first. What one leaves open, the method fills in.",
    )
    start_from: str | None = Field(
        None, min_length=1, description="A session of the spool, or a results table (.csv), to learn from first."
    )
    stop: StopModel = Field(default_factory=StopModel)
    prune: PruneModel | None = Field(
        None, description="End iterations early by the intermediate values that they report."
    )
    repeats: Repeats = Field(
        1, description="Evaluate each set so often, each time with a seed of its own; its metrics are the means."
    )
    robust: RobustModel | None = Field(None, description="Search by a robust metric; see docs/search.md.")
    options: dict[str, Scalar] = Field(
        default_factory=dict, description="Options of the method, where it has any: see its own documentation."
    )
    min_budget: float = Field(
        1 / 9, gt=0, le=1, description="The smallest share of the data that successive_halving uses."
    )


def _objective_kind(value: Any) -> str | None:
    if isinstance(value, dict):
        kinds = [kind for kind in ("python", "command") if kind in value]
        return kinds[0] if len(kinds) == 1 else None
    return "paper" if value == "paper" else None


Objective = Annotated[
    Annotated[Literal["paper"], Tag("paper")]
    | Annotated[PythonObjective, Tag("python")]
    | Annotated[CommandObjective, Tag("command")],
    Discriminator(
        _objective_kind,
        custom_error_type="objective_kind",
        custom_error_message="paper, {python: 'module:function'} or {command: [program, argument, ...]}",
    ),
]


SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")]
Label = Annotated[str, Field(pattern=rf"^{limits.LABEL.pattern}$")]


class GiveUpModel(_Strict):
    """When a run of the paper engine is hopeless: it ends there, and ranks last."""

    trades_per_day: int | None = Field(
        None, ge=1, strict=True, description="A run that closes more trades in a UTC day is given up."
    )
    drawdown_pct: float | None = Field(
        None, gt=0, le=100, description="A run whose equity falls by so much from its peak is given up."
    )


class ExecutionModel(_Strict):
    """How iterations run."""

    timeout_s: float | None = Field(
        None, gt=0, description="An iteration that takes longer is killed. No limit if left out."
    )
    retries: int = Field(
        1,
        ge=0,
        le=limits.MAX_RETRIES,
        strict=True,
        description="Further attempts after a crash, a timeout or an exception.",
    )
    max_slots: int | None = Field(
        None,
        ge=1,
        le=limits.MAX_SLOTS,
        strict=True,
        description="Slots that work on it at once, on all hosts together.",
    )
    priority: int = Field(
        0,
        ge=-limits.MAX_PRIORITY,
        le=limits.MAX_PRIORITY,
        strict=True,
        description="Sessions of higher priority get slots first.",
    )
    memory_mb: int | None = Field(
        None,
        ge=limits.MIN_MEMORY_MB,
        strict=True,
        description="Private memory of an iteration; more raises MemoryError in it.",
    )

    iterations_per_process: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="After so many iterations a slot's process is replaced, for objectives that keep memory or files.",
    )
    give_up: GiveUpModel | None = Field(
        None, description="When runs of the paper engine end as hopeless, whatever time they take: docs/engine.md."
    )


class ResultsModel(_Strict):
    """What is kept."""

    csv: bool = Field(False, description="Keep results.csv in the session's folder current.")
    blocks: bool = Field(True, description="Keep return blocks, which overfitting statistics need.")


class Job(_Strict):
    """A tuning job for arbd. A file that holds only `tuning` is a complete job."""

    session_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$", description="The session's name; made when left out."
    )
    objective: Objective = Field("paper", description="What is evaluated.")
    mode: Literal["paper", "shadow", "live"] = Field(
        "paper", description="Only paper trades; shadow and live are refused."
    )
    data: list[str | DataFolder] = Field(
        default_factory=list, description="Quote files for the paper objective, or folders of day files."
    )
    on_bad_rows: Literal["refuse", "drop"] = Field(
        "refuse", description="Refuse quotes with bad rows, or drop and count these."
    )
    fixed: dict[str, Scalar] = Field(default_factory=dict, description="Parameters held constant, by name.")
    metric: str | list[str] | None = Field(None, description="What is optimised; by default pnl for paper, else value.")
    direction: Literal["maximize", "minimize"] | list[Literal["maximize", "minimize"]] | None = Field(
        None, description="By default what suits the engine's metric; else maximize."
    )
    labels: dict[Label, Label] = Field(
        default_factory=dict, max_length=limits.MAX_LABELS, description="Names of your own, to find and filter by."
    )
    notes: str = Field(
        "", max_length=limits.MAX_NOTES_CHARS, description="For people: why this search, what is expected of it."
    )
    requires: dict[Label, Label] = Field(
        default_factory=dict, max_length=limits.MAX_LABELS, description="Labels that a host must have to work on it."
    )
    after: SessionId | list[SessionId] = Field(
        default_factory=list, description="Sessions that must be over before it begins, however they ended."
    )
    deadline: Moment | None = Field(
        None, description="A time with its zone (ISO 8601), at which the session ends with what it has by then."
    )
    each: dict[str, list[Any]] | None = Field(
        None,
        description="Makes a session for each of these values of a field, such as {fixed.latency_a_ms: [50, 100]}; of "
        "several fields, for each combination. They are numbered after session_id.",
    )
    schedule: ScheduleModel | None = Field(
        None, description="Makes it a standing job: a session again and again. See docs/standing.md."
    )
    tuning: Tuning
    execution: ExecutionModel = Field(default_factory=ExecutionModel)
    results: ResultsModel = Field(default_factory=ResultsModel)
    validation: ValidationModel | None = Field(None, description="What judges the winner; see docs/validation.md.")

    @property
    def terms(self) -> Terms:
        """Where and when its session may be worked on."""
        after = (self.after,) if isinstance(self.after, str) else tuple(self.after)
        deadline_ns = None if self.deadline is None else int(self.deadline.timestamp()) * 10**9
        return Terms(dict(sorted(self.requires.items())), after, deadline_ns)
