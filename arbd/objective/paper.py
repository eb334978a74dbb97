"""The paper engine as an objective: a job's data files and scenarios, one set of parameters per iteration."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Change, Setting
from arbd.named_file import ANY, ReadRule
from arbd.objective.markets import load_markets, markets_of, share
from arbd.objective.protocol import Outcome, Params, Trial
from arbd.paper.code_cache import use_cache
from arbd.paper.objective import PaperObjective
from arbd.paper.params import PARAMETERS, resolve

# Markets as settings see them are kept for the next iterations, which mostly see the same.
KEPT_SETTINGS = 4


class PaperEvaluator:
    """Evaluates over all data files and scenarios of a job together.

    Parameters of the job go before those of a scenario's risk profile, which go before the engine's defaults.
    """

    plain = None
    batch = True
    kept: frozenset[int] = frozenset()

    def __init__(
        self,
        spec: JobSpec,
        cache_dir: Path | None,
        *,
        verify: bool,
        reading: ReadRule = ANY,
        compiling: Callable[[], object] | None = None,
    ) -> None:
        if cache_dir is not None:
            use_cache(cache_dir)
        self._loaded = load_markets(spec, cache_dir, verify=verify, reading=reading)
        self._seed = spec.seed
        self._defaults, self._fixed = [each.defaults for each in self._loaded], spec.fixed
        self._kept: OrderedDict[tuple[float, Setting], tuple[PaperObjective, list[int]]] = OrderedDict()
        whole, _ = self._of(1.0, WHOLE)
        # Compiling is part of loading: it must neither count against an iteration's time limit nor be taken for its pace.
        for strategy in whole.strategies(searched="strategy" in spec.space.names):
            whole.compile(strategy, compiling)

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """See `Evaluator`."""
        objective, _ = self._of(trial.budget, trial.setting)
        columns = _changed({name: [value] for name, value in params.items()}, trial.setting.changes)
        metrics, blocks = objective.evaluate({name: column[0] for name, column in columns.items()})
        return Outcome(metrics, blocks)

    def _of(self, budget: float, setting: Setting) -> tuple[PaperObjective, list[int]]:
        """The engine over a share of what a setting shows of the markets, under its conditions; which market each part is of."""
        key = (budget, setting)
        if key not in self._kept:
            markets, which = markets_of(self._loaded, setting, self._seed)
            shares = [
                (part, at) for market, at in zip(markets, which, strict=True) for _, part in share(market, budget)
            ]
            parts, which = [part for part, _ in shares], [at for _, at in shares]
            sources = [self._loaded[at].source for at in which]
            defaults, fixed = [self._defaults[at] for at in which], self._fixed
            if setting.changes:
                defaults = [under(resolve({**own, **fixed}), setting.changes) for own in defaults]
                fixed = {}
            while len(self._kept) >= KEPT_SETTINGS:
                self._kept.popitem(last=False)
            self._kept[key] = PaperObjective(parts, fixed, defaults, sources), which
        self._kept.move_to_end(key)
        return self._kept[key]

    def close(self) -> None:
        """See `Evaluator`."""

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0, setting: Setting = WHOLE
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """See `Evaluator`."""
        return self._of(budget, setting)[0].evaluate_batch(_present(_changed(columns, setting.changes)))

    def evaluate_apart(
        self, columns: Mapping[str, Any], budget: float, setting: Setting
    ) -> tuple[list[dict[str, npt.NDArray[np.float64]]], npt.NDArray[np.float64]]:
        """As `evaluate_batch`: metrics of all markets of the job together, then of each by itself."""
        objective, which = self._of(budget, setting)
        # A market of which a setting shows no quote is not there.
        seen = [(part, of) for part, of in enumerate(which) if objective.has_quotes(part)]
        groups = [[part for part, of in seen if of == number] for number in dict.fromkeys(of for _, of in seen)]
        return objective.evaluate_apart(_present(_changed(columns, setting.changes)), groups)

    def grid_returns(
        self, columns: Mapping[str, Any], budget: float, setting: Setting
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Of each set, what the returns in its blocks are shares of, and how many whole grid steps they are of."""
        objective, present = self._of(budget, setting)[0], _present(_changed(columns, setting.changes))
        return objective.capital(present), objective.steps(present)

    def execution_seeds(self, columns: Mapping[str, Any]) -> list[int]:
        """The seed of what the engine draws at random, of each set, where the job's markets do not have their own."""
        n = len(next(iter(columns.values()))) if columns else 1
        own = resolve({**self._defaults[0], **self._fixed})["execution_seed"]
        return [int(value) for value in columns.get("execution_seed", [own] * n)]


def _present(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns with None for numbers that do not exist in a set, whose NaN the engine would refuse."""
    found = dict(columns)
    for name, values in columns.items():
        if PARAMETERS[name].kind != "choice" and (absent := np.isnan(np.asarray(values, dtype=np.float64))).any():
            found[name] = [None if no else value for value, no in zip(list(values), absent.tolist(), strict=True)]
    return found


def _changed(columns: Mapping[str, Any], changes: tuple[Change, ...]) -> Mapping[str, Any]:
    """Searched parameters under changed conditions, within what the engine takes."""
    found = dict(columns)
    for change in changes:
        if change.name in found:
            values = change.of(np.asarray(found[change.name], dtype=np.float64))
            found[change.name] = _within(change.name, np.broadcast_to(values, len(columns[change.name])))
    return found


def under(base: Mapping[str, Any], changes: tuple[Change, ...]) -> dict[str, Any]:
    """Resolved parameters under changed conditions, within what the engine takes; those that are open (NaN) are left out."""
    changed = {**base, **{c.name: _within(c.name, np.array([c.of(base[c.name])]))[0] for c in changes}}
    return {name: value for name, value in changed.items() if not (isinstance(value, float) and math.isnan(value))}


def _within(name: str, values: npt.NDArray[np.float64]) -> list[float]:
    parameter = PARAMETERS[name]
    inside = np.clip(values, parameter.low, parameter.high)
    return list((np.rint(inside) if parameter.kind == "int" else inside).tolist())
