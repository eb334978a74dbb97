"""The objective protocol: what is asked of an objective, and what its answers must be."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError, TrialPruned
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, NamedWindow, Setting
from arbd.search.phases import SEARCHES
from arbd.search.pruning import MAX_STEP, Pruner, Reported, Thresholds, ThresholdSource
from arbd.search.seeds import iteration_seed
from arbd.search.space import Value
from arbd.values import dataclass

Params = Mapping[str, Value]
MAX_METRICS = 1_000
MAX_METRIC_CHARS = 200


# Not frozen, as one is made for every iteration: making a frozen one takes three times as long.
@dataclass(slots=True, eq=False)
class Outcome:
    """Metrics, and for objectives that have them return blocks of shape (n_blocks, 2): sum and sum of squares.

    `pruned` says why the iteration ended before its time; it has no metrics then.
    """

    metrics: Mapping[str, float]
    blocks: npt.NDArray[np.float64] | None = None
    reports: Sequence[tuple[int, float]] = ()
    pruned: str = ""


@dataclass(slots=True)
class Trial:
    """The iteration that an objective is called for.

    `data` are the paths of the job's data files, `budget` is the share of them (or of any other effort) to use. Of the data
    only what lies in `window` may be used, [from_ns, to_ns) in nanoseconds UTC, where that is not None. `pruned` says why
    it is to end before its time.
    """

    iteration: int
    seed: int
    session_id: str
    data: tuple[str, ...] = ()
    budget: float = 1.0
    setting: Setting = WHOLE
    pruner: Pruner | None = field(default=None, repr=False)
    pruned: str = ""
    # Made by the first report, as most iterations have none.
    _reported: Reported | None = field(default=None, repr=False)

    @classmethod
    def of(cls, spec: JobSpec, session_id: str, iteration: int, budget: float = 1.0) -> Trial:
        """The trial of an iteration of a session."""
        seed, setting = iteration_seed(spec.seed, iteration), Settings(spec).of(iteration)
        return cls(iteration, seed, session_id, spec.data, budget=budget, setting=setting)

    @property
    def window(self) -> NamedWindow | None:
        """The interval of time of the data that it may use; None for all."""
        return self.setting.window

    @property
    def reports(self) -> Sequence[tuple[int, float]]:
        """Intermediate values, as they are stored."""
        return () if self._reported is None else self._reported.values()

    def report(self, step: int, value: float) -> None:
        """Keep an intermediate value of the metric that the job optimises; it is stored with the iteration's results.

        TrialPruned when the job's `prune` says that the iteration is to end: let it pass. ObjectiveError for what is no
        number of a step.
        """
        step, value = _step(step), float(value)
        if not self.pruned:
            self._reported = self._reported or Reported()
            self._reported.add(step, value)
            self.pruned = "" if self.pruner is None else self.pruner.look(step, value)
        if self.pruned:
            raise TrialPruned(self.pruned)

    def should_prune(self) -> bool:
        """True when the iteration is to end, for who caught what `report` raised."""
        return bool(self.pruned)

    def again(self) -> Trial:
        """The same for another attempt: nothing is reported yet."""
        pruner = None if self.pruner is None else self.pruner.restarted()
        return replace(self, pruner=pruner, pruned="", _reported=None)

    def ended_by(self, error: BaseException) -> bool:
        """True when an objective ended because it is pruned, however it left; `error` is what it raised."""
        if not self.pruned and any(kind.__name__ == TrialPruned.__name__ for kind in type(error).__mro__):
            # Of whichever library: an objective may know nothing of arbd.
            self.pruned = f"pruned by the objective: {error}".removesuffix(": ")
        return bool(self.pruned)


class Settings:
    """On what each iteration of a job is evaluated; all on the same unless they `vary`."""

    def __init__(self, spec: JobSpec) -> None:
        self._validation = spec.validation
        self._layout = spec.layout
        self.vary = spec.validation is not None

    def of(self, iteration: int) -> Setting:
        """Of one iteration."""
        return WHOLE if self._validation is None else self._validation.setting(self._layout.at(iteration))

    def groups(self, iterations: npt.NDArray[np.int64]) -> Iterator[tuple[Setting, npt.NDArray[np.int64]]]:
        """Positions of iterations that have a setting in common."""
        if self._validation is None:
            yield WHOLE, np.arange(len(iterations))
            return
        where = self._layout.indices(iterations)
        for index in np.unique(where).tolist():
            yield self._validation.setting(self._layout.stretches[index]), np.flatnonzero(where == index)


class Pruners:
    """Who looks at the intermediate values of each iteration of a job."""

    def __init__(self, spec: JobSpec) -> None:
        self._rules = spec.prune
        self._sign = spec.metrics[0].sign
        self._layout = spec.layout if spec.validation is not None else None

    def of(self, iteration: int, plan: ThresholdSource) -> Pruner | None:
        """Of one iteration, by the plan that it comes from; None for what is not pruned: whatever judges the winner."""
        if self._rules is None or (self._layout is not None and self._layout.at(iteration).phase not in SEARCHES):
            return None
        thresholds = plan.thresholds(iteration) if self._rules.compares else Thresholds.none()
        return Pruner(self._rules, self._sign, thresholds)


class Plain(Protocol):
    """An iteration that is nothing but a call of `function` with its parameters and those that are `fixed`."""

    @property
    def function(self) -> Callable[[Mapping[str, Any]], object]:
        """What is called."""
        ...

    @property
    def fixed(self) -> Mapping[str, Any]:
        """What its parameters are put over."""
        ...

    def columns(self, returned: Sequence[object]) -> dict[str, npt.NDArray[np.float64]] | None:
        """Metrics of many calls as columns; None where they have to be looked at one by one."""
        ...

    def outcome(self, returned: object) -> Outcome:
        """What one call returned; ObjectiveError says what is wrong with it."""
        ...


class Evaluator(Protocol):
    """An objective that is loaded. `batch` says that it has `evaluate_batch`.

    `kept` are the processes that it keeps from one iteration to the next, until it is closed. `plain` is there where an
    iteration is nothing but a call of a function of Python with its parameters.
    """

    batch: bool

    @property
    def plain(self) -> Plain | None:
        """See the class."""
        ...

    @property
    def kept(self) -> Collection[int]:
        """See the class."""
        ...

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """Evaluate one set of parameters; whatever it raises is the iteration's error."""
        ...

    def close(self) -> None:
        """End what it keeps. It may be asked again: then that is started anew."""
        ...

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0, setting: Setting = WHOLE
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """Evaluate many sets in the same setting, with the same share of the data: columns of values in, metrics (and blocks) out."""
        ...


def innermost(evaluator: Evaluator) -> Evaluator:
    """What evaluates one set once, where an iteration is more than that."""
    inner: Evaluator = getattr(evaluator, "inner", evaluator)
    return inner


def the_metric(spec: JobSpec) -> str:
    """The metric that a number alone is the value of; '' where a job optimises several."""
    return spec.metrics[0].name if len(spec.metrics) == 1 else ""


def check_outcome(returned: object, trial: Trial, the_metric: str = "") -> Outcome:
    """What an objective returned, as an Outcome; ObjectiveError says what is wrong with it.

    A number alone is the value of `the_metric`, where there is one. Of a pruned iteration it does not matter what it
    returns: what ended it is the same wherever it runs.
    """
    if trial.pruned:
        return Outcome({}, None, tuple(trial.reports), trial.pruned)
    blocks = None
    metrics: object = returned
    if isinstance(returned, Outcome):
        metrics, blocks = returned.metrics, returned.blocks
    # Asking for the type is several times cheaper than asking whether it is a Mapping.
    if type(metrics) is not dict and not isinstance(metrics, Mapping):
        if not the_metric or isinstance(metrics, bool | np.bool_) or not _is_number(metrics):
            raise ObjectiveError(
                f"the objective returned {_shown(metrics)}; expected {_wanted(the_metric)}{_hint(metrics)}"
            )
        metrics = {the_metric: metrics}
    if not metrics:
        raise ObjectiveError("the objective returned no metric at all")
    if len(metrics) > MAX_METRICS:
        raise ObjectiveError(f"the objective returned {len(metrics):,} metrics; the maximum is {MAX_METRICS:,}")
    # Most values are floats, which need no call.
    checked = {
        metric_name(name): value if type(value) is float else _metric_value(name, value)
        for name, value in metrics.items()
    }
    if blocks is not None:
        blocks = np.asarray(blocks, dtype=np.float64)
        if blocks.ndim != 2 or blocks.shape[1] != 2:
            raise ObjectiveError(f"the objective returned blocks of shape {blocks.shape}; expected (n_blocks, 2)")
    return Outcome(checked, blocks, () if trial._reported is None else tuple(trial.reports))


def _step(given: object) -> int:
    # A float that is an integer is one: JSON of other languages has no others.
    number = float(given) if isinstance(given, numbers.Real) else math.nan
    if number.is_integer() and abs(number) <= MAX_STEP:
        return int(number)
    raise ObjectiveError(f"the objective reported {_shown(given)} as a step; expected an integer of up to 2^53")


# The names of an objective's metrics are the same at every iteration.
@functools.lru_cache(MAX_METRICS)
def metric_name(name: object) -> str:
    """The name of a metric that an objective returned; ObjectiveError for what is none."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_METRIC_CHARS or not name.isprintable():
        raise ObjectiveError(f"the objective returned a metric named {_shown(name)}; names are printable strings")
    return name


def _metric_value(name: object, value: object) -> float:
    # Asking for the type is several times cheaper than asking whether it is a number.
    if type(value) is int or isinstance(value, np.bool_) or _is_number(value):
        try:
            return float(value)  # type: ignore[arg-type]
        except OverflowError:
            raise ObjectiveError(
                f"the objective returned an integer of more than 308 digits as metric {name!r}"
            ) from None
        except (TypeError, ValueError):
            # Numbers in name alone: a stretch of time of NumPy, a signalling NaN.
            pass
    raise ObjectiveError(f"the objective returned {_shown(value)} as metric {name!r}; expected a number")


def _is_number(value: object) -> bool:
    """Whether it is one number: a decimal one and an array without dimensions too, of whichever library."""
    if isinstance(value, numbers.Real | Decimal):
        return True
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    return getattr(value, "ndim", None) == 0 and hasattr(value, "__float__") and kind in "biuf"


def _wanted(the_metric: str) -> str:
    return f"{'a number, or ' if the_metric else ''}a mapping of metric names to numbers"


def _hint(value: object) -> str:
    if value is None:
        return ": does its end lack a `return`?"
    if inspect.iscoroutine(value) or inspect.isgenerator(value):
        return ": an objective is a plain function, neither `async` nor one that yields"
    return ""


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
