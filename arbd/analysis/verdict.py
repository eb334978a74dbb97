"""The evidence that a session left, as what `arbd.validation` judges, and the judgement as one document."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis.neighbours import nearest
from arbd.analysis.phases import NOT_ASKED, PhaseResults, return_blocks
from arbd.analysis.steps import grid_steps
from arbd.analysis.table import ResultTable, load_table
from arbd.errors import NotComputableError
from arbd.job.spec import JobSpec
from arbd.paper.metrics import SECONDS_PER_YEAR, block_counts
from arbd.results.columns import Array
from arbd.results.trials import records_of, trials_on_data, windows_of
from arbd.search.phase_planner import NEAR
from arbd.search.phases import Phase
from arbd.search.plan import PRUNED, RUN
from arbd.spool.layout import SpoolLayout
from arbd.validation.claim import LEVEL, Beyond
from arbd.validation.judgement import Evidence, Judgement, Verdict, judge
from arbd.validation.robustness import Plateau, plateau

# Metrics by which a search chooses as a Sharpe ratio does: reward over risk.
BY_RISK = ("sharpe", "sortino", "profit_factor")
# What a judgement has, and what is missing of it where there is nothing to judge.
NUMBERS = ("effective_trials", "sharpe", "luck_line", "psr", "dsr", "min_track_record_steps", "pbo", "spa", "plateau")
NO_BLOCKS = (
    "no return blocks were kept: the job turned them off (`results: {blocks: false}`), its objective gives none, or its "
    "iterations gave different numbers of them"
)
PHASED = ("null_searches", "out_of_sample", "stress")
# How many of the nearest trials are the neighbours of a winner: at least this many, and two for each parameter.
NEIGHBOURS = 10
# With more trials than this, those who did not ask for a verdict are not kept waiting for one.
LINE_TRIALS = 10_000


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
        if beyond.test is None or self.phases is None:
            return None
        return self.phases.out_of_sample_document(beyond.test, per_year)

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


def session_verdict(spool: Path, session_id: str, metric: str | None = None) -> SessionVerdict:
    """Judge the winner of a session, finished or running, by `metric` (default: the job's first).

    NotFoundError without such a session, UsageError for a metric that it does not have.
    """
    return judged(spool, load_table(spool, session_id, blocks=True), metric)


def judged(spool: Path, table: ResultTable, metric: str | None) -> SessionVerdict:
    """A verdict that knows the trials of all searches on the same data, this one's as far as they ran."""
    layout = SpoolLayout(spool)
    files, spec = layout.files(), table.spec
    seen, held_out = windows_of(spec)
    own = {record.window: record.trials for record in records_of(table.session_id, spec, table.state.counted)}
    counted = trials_on_data(files, layout, table.session_id, spec, seen)
    # What the ledger counts of this session has iterations in it that repeat others; they are no trials.
    on_data = counted.trials - (own.get(seen, 0) - trials_of(table))
    # Folds have been looked at by every search on the data.
    share = min(1.0, trials_of(table) / on_data) if on_data > 0 else 1.0
    if held_out is not None:
        tested = trials_on_data(files, layout, table.session_id, spec, held_out).trials
        share = own.get(held_out, 0) / tested if tested else 1.0
    found = judge_table(table, metric, on_data, share or 1.0)
    if counted.unreadable:
        found.judgement.reasons.append(
            f"{counted.unreadable:,} records in {layout.trials} are damaged or of another version of arbd: there may have "
            "been more trials on this data"
        )
    return found


def verdict_line(spool: Path, table: ResultTable, metric: str | None = None) -> tuple[str, dict[str, Any] | None]:
    """The verdict on a finished session in one line, and its document; no more than where to ask for it where it takes time.

    An empty line where the objective gives no returns to judge.
    """
    ask = f"`arbctl verdict {table.session_id}`"
    if not table.state.done:
        return "", None
    if table.spec.search_n > LINE_TRIALS:
        return f"verdict: ask {ask}; with {table.spec.search_n:,} trials it takes a while", None
    found = judged(spool, table, metric)
    if found.judgement.rule == NO_BLOCKS:
        return "", None
    return f"verdict: {found.judgement.verdict}: {found.judgement.rule} ({ask})", found.document()


def trials_of(table: ResultTable) -> int:
    """How many parameter sets were tried: all that the searches ran, those of folds and failed ones too, and none twice."""
    layout = table.spec.layout
    searched = np.array([stretch.phase is Phase.SEARCH for stretch in layout.stretches])
    of_search = searched[layout.indices(table.source.fixed("iteration"))]
    origin = table.source.origin()
    # What was pruned was tried: it could have won.
    return int(of_search.sum() if origin is None else (of_search & np.isin(origin, (RUN, PRUNED))).sum())


def judge_table(
    table: ResultTable, metric: str | None = None, trials_on_data: int = 0, test_share: float = 1.0
) -> SessionVerdict:
    """Judge the winner of a table that was loaded with its blocks; `trials_on_data` of all searches on the same data.

    `test_share` is what part of all trials on what was held out are this session's.
    """
    name = metric or table.spec.metrics[0].name
    trials = trials_of(table)
    on_data = max(trials, trials_on_data)

    def nothing(why: str, iteration: int | None = None, best: float = math.nan) -> SessionVerdict:
        missing = {
            **dict.fromkeys(NUMBERS, why),
            **dict.fromkeys(PHASED, NOT_ASKED if table.spec.validation is None else why),
        }
        judgement = Judgement(Verdict.NO_DATA, why, missing=missing, trials=trials, trials_on_data=on_data)
        return SessionVerdict(table.session_id, name, iteration, best, judgement, None, np.empty(0, dtype=np.int64))

    if not table.completed.any():
        return nothing("no iteration is completed")
    table.rank(name, 1)  # an unknown metric is refused
    position = table.ranking.best(name)
    if position is None:
        return nothing(f"no result has a number for {name}, or each breaks a constraint")
    iteration, best = int(table.source.fixed("iteration")[position]), float(_column(table, name)[position])
    s, q, index = _blocks(table, name)
    if s.shape[1] == 0:
        return nothing(NO_BLOCKS, iteration, best)
    winner = np.flatnonzero(index == _ran(table, position))
    if not len(winner):
        return nothing("the winner has no return blocks, or ones that are not finite", iteration, best)
    phases, missing = PhaseResults(table, name), dict[str, str]()
    beyond = phases.beyond(position, test_share, missing)
    evidence = replace(_evidence(table, position, (s, q), int(winner[0]), trials, on_data, name), beyond=beyond)
    judgement = judge(evidence)
    judgement.missing |= missing
    found, reach = judgement.compute("plateau", lambda: _plateau(phases, position, name)) or (None, 0.0)
    iterations = table.source.fixed("iteration")[index]
    return SessionVerdict(
        table.session_id, name, iteration, best, judgement, evidence, iterations, found, reach, phases, position
    )


def _evidence(
    table: ResultTable, position: int, sums: tuple[Array, Array], winner: int, trials: int, on_data: int, name: str
) -> Evidence:
    s, q = sums
    n_steps, step_s, no_counts = grid_steps(table, position, s[winner], q[winner])
    counts = None if n_steps is None else block_counts(n_steps, s.shape[1])
    if counts is not None:
        # Where there are fewer steps than blocks, some blocks are no time at all.
        s, q, counts = s[:, counts > 0], q[:, counts > 0], counts[counts > 0]
    return Evidence(
        s,
        q,
        winner,
        adaptive=_is_adaptive(table.spec),
        trials=trials,
        trials_on_data=on_data,
        counts=counts,
        step_s=step_s,
        no_counts=no_counts,
        trades=_of_winner(table, "trades", position),
        hold_s=_of_winner(table, "avg_hold_s", position),
        chosen_by="sharpe" if name in BY_RISK else "mean",
    )


def _is_adaptive(spec: JobSpec) -> bool:
    """True when trials were placed by looking at results; with phases, all plans are published."""
    return spec.generation_size > 0 and (spec.validation is None or bool(spec.sampler_versions))


def _column(table: ResultTable, name: str) -> Array:
    column = table.column(name)
    assert column is not None, f"rank found {name}"
    return column


def _ran(table: ResultTable, position: int) -> int:
    """The row that was run for this one: itself, or the one whose parameters it repeats."""
    origin = table.source.origin()
    if origin is None or origin[position] <= 0:
        return position
    return int(np.searchsorted(table.source.fixed("iteration"), origin[position]))


def _blocks(table: ResultTable, name: str) -> tuple[Array, Array, Array]:
    """`s` and `q` (n, n_blocks) of the comparable rows that were run and have finite blocks, and their positions."""
    blocks = return_blocks(table)
    if blocks is None:
        return np.empty((0, 0)), np.empty((0, 0)), np.empty(0, dtype=np.int64)
    chosen = table.ranking.comparable(name) & np.isfinite(blocks).all(axis=(1, 2))
    origin = table.source.origin()
    if origin is not None:
        chosen = chosen & (origin <= 0)
    index = np.flatnonzero(chosen)
    return np.ascontiguousarray(blocks[index, :, 0]), np.ascontiguousarray(blocks[index, :, 1]), index


def _of_winner(table: ResultTable, name: str, position: int) -> float | None:
    if table.spec.objective.kind != "paper" or name not in table.metric_names:
        return None
    value = float(_column(table, name)[position])
    return None if math.isnan(value) else value


def _plateau(phases: PhaseResults, position: int, name: str) -> tuple[Plateau, float]:
    """How the neighbours score, or else the nearest trials, and how far the farthest is, as a share of a range."""
    table = phases.table
    if phases.stretches(Phase.NEIGHBOUR):
        return phases.neighbours(position), NEAR
    wanted = max(NEIGHBOURS, 2 * len(table.spec.space.dimensions))
    near, distance = nearest(table, position, wanted)
    if len(near) < wanted:
        raise NotComputableError(f"the winner has {len(near)} other trials around it; a plateau takes {wanted}")
    scores = -table.ranking.loss(name)
    return plateau(float(scores[position]), scores[near]), float(distance[-1])
