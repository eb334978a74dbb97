"""A judgement of a session's winner, and as one document for `--json`."""

from __future__ import annotations

import math
from typing import Any

from arbd.analysis.phases import PhaseResults
from arbd.arrays import Array
from arbd.paper.metrics import SECONDS_PER_YEAR
from arbd.search.phases import Phase
from arbd.validation.claim import LEVEL, Beyond
from arbd.validation.evidence import Evidence, Judgement
from arbd.validation.robustness import Plateau
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class SessionVerdict:
    """A judgement of a session's winner; `iterations` are the numbers of the trials that were judged.

    `plateau_reach` is how far its farthest neighbour is, as a share of a parameter's range.
    """

    session_id: str
    metric: str
    best_iteration: int | None
    best: float
    judgement: Judgement
    evidence: Evidence | None
    iterations: Array
    plateau: Plateau | None = None
    plateau_reach: float = 0.0
    phases: PhaseResults | None = None
    winner: int | None = None

    @property
    def says_nothing(self) -> bool:
        """True where there are no returns to judge, and the job asks for no validation: no line is worth saying."""
        return self.phases is not None and self.evidence is None and self.phases.table.spec.validation is None

    def document(self) -> dict[str, Any]:
        """For `--json`: a number that cannot be computed is None, with its reason under `missing`."""
        found, evidence = self.judgement, self.evidence
        beyond = Beyond() if evidence is None else evidence.beyond
        block_s = None if evidence is None else evidence.block_s
        per_year = math.sqrt(SECONDS_PER_YEAR / block_s) if block_s else 1.0
        return {
            "session_id": self.session_id,
            "verdict": str(found.verdict),
            "rule": found.rule,
            "reasons": list(found.reasons),
            "metric": self.metric,
            "best": self.best,
            "best_iteration": self.best_iteration,
            "trials": found.trials,
            "trials_on_data": found.trials_on_data,
            "effective_trials": found.effective_trials,
            "sharpe": _times(found.sharpe, per_year),
            "luck_line": _times(found.luck_line, per_year),
            "sharpe_unit": "per sqrt(year)" if block_s else "per block",
            "psr": found.psr,
            "dsr": found.dsr,
            "min_track_record_steps": self._track_record(),
            "pbo": self._pbo(),
            "spa": self._spa(),
            "null_searches": {"k": self._null_searches(), "p": beyond.null},
            "out_of_sample": self._out_of_sample(beyond, per_year),
            "plateau": self._plateau(),
            "stress": [] if self.phases is None or self.winner is None else self.phases.stress(self.winner),
            "blocks": self._blocks(),
            "missing": found.missing,
        }

    def _null_searches(self) -> int:
        return 0 if self.phases is None else len(self.phases.stretches(Phase.NULL))

    def _out_of_sample(self, beyond: Beyond, per_year: float) -> dict[str, Any] | None:
        return None if self.phases is None else self.phases.out_of_sample_document(beyond.test, per_year)

    def _blocks(self) -> dict[str, Any] | None:
        """Steps of the equity grid in each block of the search's time, where known, and how long a step is."""
        evidence = self.evidence
        if evidence is None or evidence.counts is None:
            return None
        return {"steps": evidence.counts.tolist(), "step_s": evidence.step_s}

    def _track_record(self) -> int | None:
        blocks, evidence = self.judgement.min_track_record_blocks, self.evidence
        if blocks is None or evidence is None or evidence.counts is None:
            return None
        return math.ceil(blocks * float(evidence.counts.mean()))

    def _pbo(self) -> dict[str, Any]:
        found, reason = self.judgement, self.judgement.missing.get("pbo", "")
        if found.pbo is None:
            return {"value": None, "se": None, "valid": False, "reason": reason}
        if not found.pbo_valid:
            reason = "the search chose its trials by their results: most are near the winner because it won"
        return {
            "value": found.pbo.pbo,
            "se": found.pbo_error,
            "valid": found.pbo_valid,
            "reason": reason,
            "p_loss": found.pbo.p_loss,
            "slope": found.pbo.slope,
            "combinations": found.pbo.combinations,
            "chosen_by": "" if self.evidence is None else self.evidence.chosen_by,
        }

    def _spa(self) -> dict[str, Any]:
        found, evidence = self.judgement, self.evidence
        p_best, p_winner = (evidence.p_of(each) if evidence and each else None for each in (found.spa, found.winner))
        return {
            "p_consistent": found.spa.p_consistent if found.spa else None,
            "p_best": p_best,
            "statistic": found.spa.statistic if found.spa else None,
            "iteration": int(self.iterations[found.spa.trial]) if found.spa else None,
            "p_winner": p_winner,
            "level": found.winner.level if found.winner else LEVEL,
            "superior": None if found.superior is None else self.iterations[found.superior].tolist(),
        }

    def _plateau(self) -> dict[str, Any] | None:
        found = self.plateau
        if found is None:
            return None
        return {
            "ratio": found.ratio,
            "floor": found.floor,
            "kept": found.kept,
            "neighbours": found.neighbours,
            "around": "winner" if self.phases is not None and self.phases.stretches(Phase.NEIGHBOUR) else "nearest",
            "reach": self.plateau_reach,
        }


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
