"""What to trade rather than the single best: the middle of the best neighbourhood among finalists that stood their tests.

After Pardo's plateaus (see `arbd.validation.robustness`), of those finalists alone that still earn out of sample and under
every stress that the job names.
"""

from __future__ import annotations

import numpy as np

from arbd.analysis.neighbours import nearest
from arbd.analysis.phases import PhaseResults
from arbd.analysis.table import ResultTable
from arbd.arrays import Array
from arbd.errors import NotFoundError, UsageError
from arbd.job.aggregation import SHARES
from arbd.search.phases import Phase
from arbd.validation.quantiles import quantile
from arbd.values import dataclass

NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Robust:
    """`position` of the row of the search in its table; `median` is the score of its neighbourhood, as the metric has it.

    `survived` of `finalists` stood every test and stress.
    """

    position: int
    median: float
    survived: int
    finalists: int

    def text(self, metric: str) -> str:
        """For people."""
        return (
            f"robust: {self.survived} of {self.finalists} finalists earn in every test and stress; of these, the sets around "
            f"this one have the best median {metric}, {self.median:g}"
        )


def robust_choice(table: ResultTable, metric: str) -> Robust:
    """The plateau optimum among the finalists that survive: earn in each, and under stress keep the job's constraints.

    UsageError where the job asks for no test and no stress, or nothing says what a finalist earned; NotFoundError where
    these have not run yet, or no finalist survives.
    """
    phases = PhaseResults(table, metric)
    own = [stretch for stretch in phases.stretches(Phase.TEST) if stretch.fold == 0]
    trials = [*own, *phases.stretches(Phase.STRESS)]
    if not trials:
        raise UsageError(
            f"session {table.session_id}: --robust chooses among finalists that survive a holdout or stress, and the job "
            "asks for neither: `validation: {holdout: 20%, stress: default}`"
        )
    if not all(map(phases.is_complete, trials)):
        raise NotFoundError(
            f"session {table.session_id}: its finalists have not run through every test and stress yet: "
            f"see `arbctl status {table.session_id}`"
        )
    if not phases.tells_earned:
        raise UsageError(
            f"session {table.session_id}: less {metric} is better, and no return blocks were kept: nothing says which of its "
            f"finalists earn, as --robust asks; `arbctl best {table.session_id}` gives the single best"
        )
    found = phases.finalists(trials[0])
    survives = np.ones(len(found), dtype=bool)
    for stretch in trials:
        rows = phases.rows(stretch)[: len(found)]
        survives &= phases.earned(rows) > 0
        if stretch.phase is Phase.STRESS:
            # A test is of another length of time, to which a limit (of trades, say) does not apply.
            survives &= phases.keeps_constraints(rows)
    alive = [position for position, survived in zip(found, survives.tolist(), strict=True) if survived]
    if not alive:
        raise NotFoundError(
            f"session {table.session_id}: none of its {len(found)} finalists earns in every test and stress"
            f"{'' if table.violation is None else ', and keeps the constraints under stress'}: "
            f"`arbctl verdict {table.session_id}` shows them"
        )
    medians = [_median_around(table, phases.score, position) for position in alive]
    best = int(np.argmax(medians))
    sign = -1.0 if table.ranking.ascending(metric) else 1.0
    return Robust(alive[best], sign * medians[best], len(alive), len(found))


def _median_around(table: ResultTable, score: Array, position: int) -> float:
    """The middle score of the trials around one, itself included; a failed neighbour counts as the worst."""
    wanted = max(NEIGHBOURS, 2 * len(table.spec.space.dimensions))
    near, _ = nearest(table, position, wanted)
    values = score[np.append(near, position)]
    return quantile(np.where(np.isnan(values), -np.inf, values), SHARES["median"])
