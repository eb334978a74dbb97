"""The objective protocol: what is asked of an objective, and what its answers must be."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError
from arbd.job.spec import JobSpec
from arbd.search.seeds import iteration_seed
from arbd.search.space import Value

Params = Mapping[str, Value]
MAX_METRICS = 1_000
MAX_METRIC_CHARS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Metrics, and for objectives that have them return blocks of shape (n_blocks, 2): sum and sum of squares."""

    metrics: Mapping[str, float]
    blocks: npt.NDArray[np.float64] | None = None
    reports: Sequence[tuple[int, float]] = ()


@dataclass(slots=True)
class Trial:
    """The iteration that an objective is called for.

    `data` are the paths of the job's data files, `budget` is the share of them (or of any other effort) to use.
    """

    iteration: int
    seed: int
    session_id: str
    data: tuple[str, ...] = ()
    reports: list[tuple[int, float]] = field(default_factory=list)
    budget: float = 1.0

    @classmethod
    def of(cls, spec: JobSpec, session_id: str, iteration: int, budget: float = 1.0) -> Trial:
        """The trial of an iteration of a session."""
        return cls(iteration, iteration_seed(spec.seed, iteration), session_id, spec.data, budget=budget)

    def report(self, step: int, value: float) -> None:
        """Keep an intermediate value; it is stored with the iteration's results."""
        self.reports.append((int(step), float(value)))


class Evaluator(Protocol):
    """An objective that is loaded. `batch` says that it has `evaluate_batch`."""

    batch: bool

    def evaluate(self, params: Params, trial: Trial) -> Outcome:
        """Evaluate one set of parameters; whatever it raises is the iteration's error."""
        ...

    def evaluate_batch(
        self, columns: Mapping[str, Any], budget: float = 1.0
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64] | None]:
        """Evaluate many sets with the same share of the data: columns of values in, metrics (and blocks) out."""
        ...


def check_outcome(returned: object, trial: Trial) -> Outcome:
    """What an objective returned, as an Outcome; ObjectiveError says what is wrong with it."""
    blocks = None
    metrics: object = returned
    if isinstance(returned, Outcome):
        metrics, blocks = returned.metrics, returned.blocks
    # Asking for the type is several times cheaper than asking whether it is a Mapping.
    if type(metrics) is not dict and not isinstance(metrics, Mapping):
        raise ObjectiveError(f"the objective returned {_shown(metrics)}; expected a mapping of metric names to numbers")
    if not metrics:
        raise ObjectiveError("the objective returned no metric at all")
    if len(metrics) > MAX_METRICS:
        raise ObjectiveError(f"the objective returned {len(metrics):,} metrics; the maximum is {MAX_METRICS:,}")
    checked = {_metric_name(name): _metric_value(name, value) for name, value in metrics.items()}
    if blocks is not None:
        blocks = np.asarray(blocks, dtype=np.float64)
        if blocks.ndim != 2 or blocks.shape[1] != 2:
            raise ObjectiveError(f"the objective returned blocks of shape {blocks.shape}; expected (n_blocks, 2)")
    return Outcome(checked, blocks, tuple(trial.reports))


def _metric_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_METRIC_CHARS or not name.isprintable():
        raise ObjectiveError(f"the objective returned a metric named {_shown(name)}; names are printable strings")
    return name


def _metric_value(name: object, value: object) -> float:
    if type(value) is float:
        return value
    if isinstance(value, numbers.Real | np.bool_):
        return float(value)
    raise ObjectiveError(f"the objective returned {_shown(value)} as metric {name!r}; expected a number")


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
