"""Objectives written in Python: `package.module:function`, with one parameter or two."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError
from arbd.job.aggregation import MARKETS
from arbd.job.code import MODULE
from arbd.job.modules import locate
from arbd.job.python_source import OVER_MARKETS, PRUNE, no_trial
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Setting
from arbd.objective.error_place import describe
from arbd.objective.modules import ObjectiveModules, RefusedImportError
from arbd.objective.plain import PlainCall
from arbd.objective.protocol import Outcome, Params, Trial, check_outcome, the_metric
from arbd.objective.signature import BUDGET, TRIAL, WINDOW, Call, call_of

NO_WINDOW = (
    "takes no window, which the job's validation needs: give it a parameter `window` (from_ns, to_ns: use only data in it), "
    "or `trial` and read trial.window"
)


class PythonEvaluator:
    """Calls the function; in batches when its module has `evaluate_batch` and the function is its `objective`."""

    kept: frozenset[int] = frozenset()

    def __init__(self, spec: JobSpec, search_paths: Sequence[Path], *, verify: bool) -> None:
        target = spec.objective.target[0]
        module_name, _, function_name = target.partition(":")
        modules = ObjectiveModules.of_this_process()
        modules.look_in(search_paths)
        # What was refused to others before; a process that must not forget that asked before it came here.
        modules.refusal = ""
        if verify:
            modules.expected = {**modules.expected, **_module_digests(spec)}
        modules.require_current(_module_digests(spec), locate(module_name, search_paths))
        module = _imported(module_name, target, modules)
        function = getattr(module, function_name, None)
        if not callable(function):
            raise ObjectiveError(f"the objective {target}: module {module_name} has no function {function_name!r}")
        owner = _defined_in(function)
        if owner != module_name:
            raise ObjectiveError(
                f"the objective {target}: {function_name!r} is not defined in {module_name} but comes from {owner}; "
                f"only what a module itself defines can be its objective"
            )
        windows = spec.validation is not None and bool(spec.validation.scheme)
        self._call = _call_of(function, target)
        takes = self._call.takes
        self._with_trial = TRIAL in takes
        if spec.has_shares and not (self._with_trial or BUDGET in takes):
            raise ObjectiveError(
                f"the objective {target} takes no budget, which {spec.method} needs: "
                "give it a parameter `budget` (the share to use, up to 1), or `trial` and read trial.budget"
            )
        if (needs := trial_needed(spec)) and not self._with_trial:
            raise ObjectiveError(f"the objective {target} {no_trial(needs)}")
        if windows and not (self._with_trial or WINDOW in takes):
            raise ObjectiveError(f"the objective {target} {NO_WINDOW}")
        self._takes_params_alone = not takes
        self._function: Callable[..., object] = function
        batch = getattr(module, "evaluate_batch", None)
        self._batch_with_budget = callable(batch) and _takes(batch, "budget")
        self._batch_with_window = callable(batch) and _takes(batch, "window")
        # One that does not know of budgets, or of windows, would use all data every time.
        self.batch = (
            callable(batch)
            and (self._batch_with_budget or not spec.has_shares)
            and (self._batch_with_window or not windows)
            and spec.prune is None
            # It knows neither seeds nor markets.
            and spec.aggregation.repeats == 1
            and spec.aggregation.over != MARKETS
        )
        self._batch: Callable[..., object] | None = batch if callable(batch) else None
        self._fixed, self._the_metric = dict(spec.fixed), the_metric(spec)
        self.plain = PlainCall(function, self._fixed, self._the_metric) if self._takes_params_alone else None

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`."""
        given = {**self._fixed, **params} if self._fixed else params
        if trial.setting.changes:
            given = trial.setting.changed(given)
        if self._takes_params_alone:
            return check_outcome(self._function(given), trial, self._the_metric)
        more, named = self._call.arguments({TRIAL: trial, BUDGET: trial.budget, WINDOW: trial.window})
        if not self._with_trial:
            return check_outcome(self._function(given, *more, **named), trial, self._the_metric)
        try:
            returned = self._function(given, *more, **named)
        except BaseException as error:  # also the ways out of a program
            if not trial.ended_by(error):
                raise
            returned = None
        return check_outcome(returned, trial, self._the_metric)

    def close(self) -> None:
        """See `Evaluator`."""

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0, setting: Setting = WHOLE
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """See `Evaluator`. Fixed parameters come as columns too."""
        if self._batch is None:
            raise ObjectiveError("the objective's module has no evaluate_batch")
        n = len(next(iter(columns.values())))
        fixed = {
            name: [value] * n if isinstance(value, str) else np.full(n, value) for name, value in self._fixed.items()
        }
        more: dict[str, Any] = {"budget": budget} if self._batch_with_budget else {}
        if self._batch_with_window and setting.window is not None:
            more["window"] = setting.window
        returned = self._batch(setting.changed({**fixed, **columns}), **more)
        if not isinstance(returned, Mapping) or not returned:
            raise ObjectiveError(f"evaluate_batch returned {type(returned).__name__}; expected a mapping of columns")
        metrics = {str(name): column for name, column in returned.items() if name != "blocks"}
        return metrics, returned.get("blocks")


def trial_needed(spec: JobSpec) -> str:
    """What the job needs a function to take a trial for; '' for nothing."""
    return PRUNE if spec.prune is not None else OVER_MARKETS if spec.aggregation.over == MARKETS else ""


def _imported(name: str, target: str, modules: ObjectiveModules) -> ModuleType:
    """The objective's module; ObjectiveError with the place in the person's code where it cannot be had."""
    try:
        module = importlib.import_module(name)
    except RefusedImportError as error:
        raise ObjectiveError(f"the objective {target}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also the ways out of a program, of a module that is a script
        remedy = (
            f"; add its folder to `objective_paths` in the settings, or install it for {sys.executable}"
            if isinstance(error, ImportError)
            else ""
        )
        told = describe(error, modules.folders, named=not isinstance(error, ImportError))
        raise ObjectiveError(f"the objective {target} cannot be imported on this host: {told}{remedy}") from error
    if modules.refusal:
        # It went on without a module that was refused.
        raise ObjectiveError(f"the objective {target}: {modules.refusal}")
    return module


def _module_digests(spec: JobSpec) -> dict[str, str]:
    return {name.removeprefix(MODULE): digest for name, digest in spec.digests.items() if name.startswith(MODULE)}


def _defined_in(value: Callable[..., object]) -> str:
    """The module whose code a callable is: of a function that one wraps, of an object that its class is defined in."""
    inner: Any = value
    while True:
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif inspect.ismethod(inner):
            inner = inner.__func__
        elif callable(wrapped := getattr(inner, "__wrapped__", None)):
            inner = wrapped
        else:
            break
    if inspect.isfunction(inner):
        return str(inner.__globals__.get("__name__"))
    owner = inner if inspect.isclass(inner) else type(inner)
    return str(owner.__module__)


def _call_of(function: Callable[..., object], target: str) -> Call:
    try:
        return call_of(function)
    except TypeError as error:
        raise ObjectiveError(f"the objective {target} {error}; expected (params) or (params, trial)") from None


def _takes(function: Callable[..., object], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except ValueError:
        return False
