"""Objectives written in Python: `package.module:function`, with one parameter or two."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError
from arbd.job.digests import check_digest, module_file
from arbd.job.policy import is_below, written_by_anybody
from arbd.job.spec import JobSpec
from arbd.objective.protocol import Outcome, Params, Trial, check_outcome


class PythonEvaluator:
    """Calls the function; in batches when its module has `evaluate_batch` and the function is its `objective`."""

    def __init__(self, spec: JobSpec, search_paths: Sequence[Path], *, verify: bool) -> None:
        target = spec.objective.target[0]
        module_name, _, function_name = target.partition(":")
        for folder in reversed([str(path) for path in search_paths]):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        importlib.invalidate_caches()
        # Before it is imported: importing runs it.
        source = module_file(module_name, search_paths)
        if source is not None:
            _check_source(target, source, search_paths)
            if verify:
                check_digest(f"the objective {target}", source, spec.digests.get(f"python:{module_name}"))
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ObjectiveError(
                f"the objective {target} cannot be imported on this host: {error}; "
                f"add its folder to `objective_paths` in the settings, or install it for {sys.executable}"
            ) from error
        if verify and module.__file__ is not None:
            check_digest(f"the objective {target}", Path(module.__file__), spec.digests.get(f"python:{module_name}"))
        function = getattr(module, function_name, None)
        if not callable(function):
            raise ObjectiveError(f"the objective {target}: module {module_name} has no function {function_name!r}")
        self._with_trial = _takes_trial(function, target)
        self._with_budget = _takes_budget(function)
        if spec.has_shares and not (self._with_trial or self._with_budget):
            raise ObjectiveError(
                f"the objective {target} takes no budget, which {spec.method} needs: "
                "give it a parameter `budget` (the share to use, up to 1), or `trial` and read trial.budget"
            )
        self._function: Callable[..., object] = function
        batch = getattr(module, "evaluate_batch", None)
        self._batch_with_budget = callable(batch) and _takes_budget(batch)
        # One that does not know of budgets would use all data every time.
        self.batch = callable(batch) and (self._batch_with_budget or not spec.has_shares)
        self._batch: Callable[..., object] | None = batch if callable(batch) else None
        self._fixed = dict(spec.fixed)

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`."""
        given = {**self._fixed, **params} if self._fixed else params
        more = {"budget": trial.budget} if self._with_budget else {}
        returned = self._function(given, trial, **more) if self._with_trial else self._function(given, **more)
        return check_outcome(returned, trial)

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """See `Evaluator`. Fixed parameters come as columns too."""
        if self._batch is None:
            raise ObjectiveError("the objective's module has no evaluate_batch")
        n = len(next(iter(columns.values())))
        fixed = {
            name: [value] * n if isinstance(value, str) else np.full(n, value) for name, value in self._fixed.items()
        }
        more = {"budget": budget} if self._batch_with_budget else {}
        returned = self._batch({**fixed, **columns}, **more)
        if not isinstance(returned, Mapping) or not returned:
            raise ObjectiveError(f"evaluate_batch returned {type(returned).__name__}; expected a mapping of columns")
        metrics = {str(name): column for name, column in returned.items() if name != "blocks"}
        return metrics, returned.get("blocks")


def _check_source(target: str, source: Path, search_paths: Sequence[Path]) -> None:
    """ObjectiveError when the file is not in the folders that it was found in, or is anybody's to write."""
    if not is_below(source, search_paths):
        raise ObjectiveError(f"the objective {target}: {source} is a link that leads out of `objective_paths`")
    reason = written_by_anybody(source)
    if reason is not None:
        raise ObjectiveError(f"the objective {target}: {reason}")


def _takes_trial(function: Callable[..., object], target: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return False
    positional = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "budget"
    ]
    needed = [p for p in positional if p.default is p.empty]
    if not positional or len(needed) > 2:
        raise ObjectiveError(
            f"the objective {target} takes {len(needed)} parameters; expected (params) or (params, trial)"
        )
    return len(needed) == 2 or (len(positional) > 1 and positional[1].name == "trial")


def _takes_budget(function: Callable[..., object]) -> bool:
    try:
        return "budget" in inspect.signature(function).parameters
    except ValueError:
        return False
