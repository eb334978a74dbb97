"""The trials of a study: what is asked for, and what was told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.objective.protocol import Trial
    from arbd.search.plan import PlannedRows
    from arbd.search.pruning import Report


@dataclass(frozen=True, slots=True, eq=False)
class StudyTrial:
    """A point that is to be evaluated: its `number`, from 1, and its `params`; `budget` is the share of the data to use.

    `report` and `should_prune` are those of the trial that an objective gets, so that one function serves both:
    `study.tell(trial, objective(trial.params, trial))`.
    """

    number: int
    params: Mapping[str, Any]
    budget: float
    _row: PlannedRows = field(repr=False)
    _trial: Trial = field(repr=False)

    @property
    def iteration(self) -> int:
        """Its number."""
        return self.number

    @property
    def seed(self) -> int:
        """For random numbers of its own, as of a session with the seed of the study."""
        return self._trial.seed

    @property
    def reports(self) -> Sequence[Report]:
        """The intermediate values, (step, value), as they are kept."""
        return tuple(self._trial.reports)

    @property
    def pruned(self) -> str:
        """Why it is to end before its time; '' while it is to go on."""
        return self._trial.pruned

    def report(self, step: int, value: float) -> None:
        """Keep an intermediate value of the metric.

        arbd.TrialPruned when the study's `prune` says that the trial is to end: tell it None. It is compared with the
        trials that were told before it was asked for. ObjectiveError for what is no number of a step.
        """
        self._trial.report(step, value)

    def should_prune(self) -> bool:
        """True when the trial is to end, for who caught what `report` raised."""
        return self._trial.should_prune()


@dataclass(frozen=True, slots=True)
class Told:
    """A trial and its metrics; None where it failed, or was `pruned`, which says why."""

    trial: StudyTrial
    metrics: Mapping[str, float] | None
    pruned: str = ""
