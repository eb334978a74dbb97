"""The evidence that a session left, as what `arbd.validation` judges, and the judgement as one document."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis.neighbours import nearest
from arbd.analysis.phases import NOT_ASKED, PhaseResults, finite_blocks, return_blocks
from arbd.analysis.steps import grid_steps
from arbd.analysis.table import ResultTable, load_table
from arbd.analysis.verdict_document import SessionVerdict
from arbd.arrays import Array
from arbd.errors import NotComputableError
from arbd.job.spec import JobSpec
from arbd.job.validation import Window
from arbd.paper.metrics import block_counts
from arbd.results.column_bytes import block_numbers
from arbd.results.trials import records_of, trials_on_data, windows_of
from arbd.search.neighbourhood import NEAR
from arbd.search.phases import Phase
from arbd.search.plan import PRUNED, RUN
from arbd.spool.layout import SpoolLayout
from arbd.validation.evidence import Evidence, Judgement, Verdict
from arbd.validation.judgement import judge
from arbd.validation.robustness import Plateau, plateau

# Metrics by which a search chooses as a Sharpe ratio does: reward over risk.
BY_RISK = ("sharpe", "sortino", "profit_factor")
# What a judgement has, and what is missing of it where there is nothing to judge.
NUMBERS = ("effective_trials", "sharpe", "luck_line", "psr", "dsr", "min_track_record_steps", "pbo", "spa", "plateau")
# Why there are no returns to judge: as the job wants it, as of its objective.
TURNED_OFF = "no return blocks were kept: the job turned them off (`results: {blocks: false}`)"
NONE_GIVEN = "no return blocks were kept: the objective gives none"
PHASED = ("null_searches", "out_of_sample", "stress")
# How many of the nearest trials are the neighbours of a winner: at least this many, and two for each parameter.
NEIGHBOURS = 10
# With more trials than this, those who did not ask for a verdict are not kept waiting for one.
LINE_TRIALS = 10_000


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
    own: Counter[Window | None] = Counter()
    for record in records_of(table.session_id, spec, table.state.counted):
        own[record.window] += record.trials
    counted = trials_on_data(files, layout, table.session_id, spec, seen)
    # What the ledger counts of this session has iterations in it that repeat others; they are no trials.
    on_data = counted.trials - (own[seen] - trials_of(table))
    # Folds have been looked at by every search on the data.
    share = min(1.0, trials_of(table) / on_data) if on_data > 0 else 1.0
    if held_out is not None:
        tested = trials_on_data(files, layout, table.session_id, spec, held_out).trials
        share = own[held_out] / tested if tested else 1.0
    found = judge_table(table, metric, on_data, share or 1.0)
    if counted.unreadable:
        found.judgement.reasons.append(
            f"{counted.unreadable:,} records in {layout.trials} are damaged or of another version of arbd: there may have "
            "been more trials on this data"
        )
    return found


def verdict_line(spool: Path, table: ResultTable, metric: str | None = None) -> tuple[str, dict[str, Any] | None]:
    """The verdict on a finished session in one line, and its document; no more than where to ask for it where it takes time.

    An empty line where there are no returns to judge, and none was asked for.
    """
    ask = f"`arbctl verdict {table.session_id}`"
    if not table.state.done:
        return "", None
    if table.spec.search_n > LINE_TRIALS:
        return f"verdict: ask {ask}; with {table.spec.search_n:,} trials it takes a while", None
    found = judged(spool, table, metric)
    if found.says_nothing:
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
    s, q, index = _blocks(table, position)
    winner = np.flatnonzero(index == _ran(table, position))
    phases, missing = PhaseResults(table, name), dict[str, str]()
    beyond = phases.beyond(position, test_share, missing)
    evidence: Evidence | None = None
    if len(winner):
        evidence = replace(_evidence(table, position, (s, q), int(winner[0]), trials, on_data, name), beyond=beyond)
        seen = int(np.count_nonzero(_tried(table)))
        evidence = replace(evidence, unseen=max(0, seen - len(s)), may_win=table.ranking.comparable(name)[index])
        judgement = judge(evidence)
    else:
        judgement = nothing(no_returns(table, position), iteration, best).judgement
    judgement.missing |= missing
    judgement.missing.pop("plateau", None)
    found, reach = judgement.compute("plateau", lambda: _plateau(phases, position, name)) or (None, 0.0)
    for phased in PHASED:
        if phased not in missing:
            judgement.missing.pop(phased, None)
    if beyond.test is None and phases.out_of_sample_document(None, 1.0) is not None:
        # What the metric says of it is there.
        judgement.missing["out_of_sample.p"] = judgement.missing.pop("out_of_sample")
    iterations = table.source.fixed("iteration")[index]
    return SessionVerdict(
        table.session_id, name, iteration, best, judgement, evidence, iterations, found, reach, phases, position
    )


def no_returns(table: ResultTable, position: int) -> str:
    """Why the winner has no returns to judge."""
    if not table.spec.results.blocks:
        return TURNED_OFF
    if all(group.rows.blocks is None for group in table.source.groups(blocks=True)):
        return NONE_GIVEN
    iteration = int(table.source.fixed("iteration")[position])
    return f"the winner, iteration {iteration}, has no return blocks, or ones that are not finite"


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


def _tried(table: ResultTable) -> Array:
    """Which rows are trials of the session's own search: run, in whole or until they were pruned, and none twice."""
    ranked, origin = table.ranked, table.source.origin()
    tried = np.ones(len(table), dtype=bool) if ranked is None else ranked
    return np.asarray(tried if origin is None else tried & np.isin(origin, (RUN, PRUNED)))


def _blocks(table: ResultTable, winner: int) -> tuple[Array, Array, Array]:
    """`s` and `q` (n, n_blocks) of the trials that have as many finite blocks as the winner, of what it saw, and their positions.

    Trials that break a constraint are among them, and those without a number for the metric: they were tried, and whoever
    leaves out what did badly has chosen by results.
    """
    blocks, completed = return_blocks(table), table.ranking.completed
    if blocks is None:
        return np.empty((0, 0)), np.empty((0, 0)), np.empty(0, dtype=np.int64)
    n_blocks = int(block_numbers(blocks[[_ran(table, winner)]])[0])
    if not n_blocks:
        return np.empty((0, 0)), np.empty((0, 0)), np.empty(0, dtype=np.int64)
    chosen = completed & finite_blocks(blocks, n_blocks)
    origin, budget = table.source.origin(), table.budget
    if origin is not None:
        chosen = chosen & (origin <= 0)
    if budget is not None:
        chosen = chosen & (budget == budget[winner])
    index = np.flatnonzero(chosen)
    return np.ascontiguousarray(blocks[index, :n_blocks, 0]), np.ascontiguousarray(blocks[index, :n_blocks, 1]), index


def _of_winner(table: ResultTable, name: str, position: int) -> float | None:
    if table.spec.objective.kind != "paper" or name not in table.metric_names:
        return None
    value = float(_column(table, name)[position])
    return None if math.isnan(value) else value


def _plateau(phases: PhaseResults, position: int, name: str) -> tuple[Plateau, float]:
    """How the neighbours score, or else the nearest trials, and how far the farthest is, as a share of a range."""
    table = phases.table
    if table.ranking.ascending(name):
        raise NotComputableError(f"less {name} is better: shares of the winner's would tell nothing")
    if phases.stretches(Phase.NEIGHBOUR):
        return phases.neighbours(position), NEAR
    wanted = max(NEIGHBOURS, 2 * len(table.spec.space.dimensions))
    near, distance = nearest(table, position, wanted)
    if len(near) < wanted:
        raise NotComputableError(f"the winner has {len(near)} other trials around it; a plateau takes {wanted}")
    scores = -table.ranking.loss(name)
    return plateau(float(scores[position]), scores[near]), float(distance[-1])
