"""The verdict on a search: is its winner skill or luck, by which rule, and what would change it.

The rules, in this order; the first that applies gives the verdict:

1. *not enough data*: the winner cannot be compared at all: fewer than 10 blocks of time with returns, or fewer than 10
   trades, or no returns were kept.
2. *skill*: with every trial of the search resampled together, one as good as the winner comes by luck in at most 5 % of
   the cases; less where other searches were made on the same data: 5 % is shared out by numbers of trials. Of a method
   that learns, trials that did badly count as if they were as good as doing nothing (White's p instead of Hansen's): it
   made the others because of these data. Where the job tests out of sample, `claim.py` says of what the 5 % are; and
   nothing that validation found contradicts it.
3. *overfit*: the winner's own record looks like skill (probabilistic Sharpe ratio of 95 % or more), and yet out of sample
   it lost, or choosing the best on one half of time is, in at least half of the splits, no better than the median on the
   other.
4. *not distinguishable from luck*: everything else.

Only the second claims something, and only it has to hold its level: on markets without an edge it is wrong in 5 % of the
searches at most (`benchmarks/verdict.py`). Numbers that cannot be computed are None, with the reason in `missing`.
"""

from __future__ import annotations

import math

import numpy as np

from arbd.errors import NotComputableError
from arbd.validation.blocks import FloatArray
from arbd.validation.claim import HOLDOUT, LEVEL, Beyond, claim_of, lost_out_of_sample, percent
from arbd.validation.evidence import Evidence, Judgement, Verdict
from arbd.validation.overfitting import Overfitting, overfitting_error, probability_of_backtest_overfitting
from arbd.validation.sharpe import (
    deflated_sharpe_ratio,
    expected_max_sharpe,
    min_track_record_length,
    probabilistic_sharpe_ratio,
)
from arbd.validation.superior import MIN_ACTIVE_STEPS, Superiority, step_m, superior_predictive_ability
from arbd.validation.trials import effective_trials

RECORD_LOOKS_GOOD = 0.95
# One-sided normal quantiles of 5 %, and of the half of it that folds have.
ONE_SIDED_Z, HALF_LEVEL_Z = 1.645, 1.960
MIN_TRADES = 10
MAX_GROUPS, MIN_GROUPS = 16, 6
REPS = 1_000
# At 5 %, as many of them do as well as a winner at the threshold. A smaller level has as many among more resamples, where
# fewer than `FEW` of the first ones do as well (Besag and Clifford, Biometrika 78, 1991), up to so many numbers.
AT_THRESHOLD, FEW, MOST_REPS, MOST_RESAMPLED = 50, 20, 20_000, 1 << 23
# More trials than this would take minutes and gigabytes.
MAX_PBO_TRIALS = 300_000
UNKNOWN_STEPS = 1_000
# Deviations of less than this share of the largest return are of rounding.
NO_SPREAD = 1e-12


def judge(evidence: Evidence, seed: int = 1) -> Judgement:
    """The verdict on the winner of a search; `seed` is that of the resamples."""
    found = Judgement(trials=evidence.trials, trials_on_data=evidence.trials_on_data)
    level = evidence.level
    _sharpe_statistics(found, evidence)
    _resampled(found, evidence, level, seed)
    _cross_validated(found, evidence)
    lacking = _lacking(found, evidence)
    if lacking:
        found.verdict, found.rule = Verdict.NO_DATA, lacking
        found.reasons += _what_would_change(found, evidence, level)
        return found
    assert found.winner is not None
    p, resampled = evidence.p_of(found.winner), _resampled_trials(found.winner, evidence)
    claim = claim_of(p, found.winner.reps, resampled, level, evidence.beyond, evidence.why_less)
    contradicted = _contradicted(found, evidence.beyond)
    if claim.holds:
        found.verdict, found.rule = Verdict.SKILL, f"{claim.text}; {percent(claim.level)} or less is called skill"
    elif contradicted:
        found.verdict = Verdict.OVERFIT
        found.rule = f"the winner's own record would convince ({found.psr:.0%}), but {contradicted}"
    else:
        found.verdict = Verdict.LUCK
        found.rule = claim.against or f"{claim.text}; {percent(claim.level)} or less would be called skill"
    found.reasons += _what_would_change(found, evidence, level)
    return found


def _resampled_trials(winner: Superiority, evidence: Evidence) -> str:
    """Which trials were resampled together, in words."""
    tried = len(evidence.s) + evidence.unseen
    if winner.tested < tried:
        return f"the {winner.tested:,} of {tried:,} trials that can be compared"
    return f"all {tried:,} trials" if tried > 1 else "its returns"


def _contradicted(found: Judgement, beyond: Beyond) -> str:
    """What speaks against a winner whose own record looks good, where it does; else ''."""
    if found.psr is None or found.psr < RECORD_LOOKS_GOOD:
        return ""
    if lost_out_of_sample(beyond):
        return "out of sample it lost"
    if found.pbo is not None and found.pbo_valid and found.pbo.pbo >= 0.5:
        return f"in {found.pbo.pbo:.0%} of the splits the best of one half of time is no better than the median in the other"
    return ""


def _lacking(found: Judgement, evidence: Evidence) -> str:
    """What there is too little of, and how much would be enough; empty where nothing is."""
    if found.winner is None:
        active, blocks = int(np.count_nonzero(evidence.s[evidence.winner])), evidence.s.shape[1]
        if not active:
            return "the winner neither earned nor lost anything: it made no trade, so there is nothing to judge"
        if active < MIN_ACTIVE_STEPS:
            more = MIN_ACTIVE_STEPS / active
            finer = "" if active < blocks or evidence.counts is None else ", or a finer grid_s"
            return (
                f"the winner earned or lost in {active} of {blocks} blocks of time, and it takes {MIN_ACTIVE_STEPS}: "
                f"{more:.1f} times as much data at its pace{_lasting(evidence, more)}{finer}"
            )
        own = evidence.s[evidence.winner]
        if own.std() <= NO_SPREAD * np.abs(own).max():
            return (
                f"the winner has the same return in each of {blocks} blocks of time: luck is judged by how they differ"
            )
        return found.missing["spa"]
    if evidence.trades is not None and evidence.trades < MIN_TRADES:
        more = MIN_TRADES / max(1.0, evidence.trades)
        return (
            f"the winner closed {evidence.trades:.0f} trades, and it takes {MIN_TRADES}: "
            f"{more:.1f} times as much data at its pace{_lasting(evidence, more)}"
        )
    if evidence.beyond.scheme and evidence.beyond.test is None:
        return f"the test out of sample has no result: {evidence.beyond.no_test}"
    test = evidence.beyond.test
    if test is not None and test.total == 0 and test.p is None:
        return (
            f"the winner{'s of the folds' if test.folds > 1 else ''} neither earned nor lost anything out of sample: "
            "hold out more, so that there is something to judge"
        )
    return ""


def _lasting(evidence: Evidence, times: float) -> str:
    """How long that many times the data is, where that is known."""
    if evidence.block_s is None:
        return ""
    days = times * evidence.block_s * evidence.s.shape[1] / 86_400
    return f" ({days:.1f} days)" if days >= 1 else f" ({days * 24:.1f} h)"


def _what_would_change(found: Judgement, evidence: Evidence, level: float) -> list[str]:
    reasons = []
    asked = f"a p-value of {percent(level)} is asked of it instead of {LEVEL:.0%}"
    if evidence.beyond.scheme:
        asked = f"its p counts {LEVEL / level:,.1f} times"
    if evidence.trials_on_data > evidence.trials:
        reasons.append(
            f"{evidence.trials_on_data:,} trials were made on this data in all, this search's {evidence.trials:,} "
            f"included; so {asked}"
        )
    if evidence.unseen:
        reasons.append(
            f"{evidence.unseen:,} trials of the search left no returns to compare (pruned, failed, on less of the data, or in other blocks)"
            + ("" if evidence.trials_on_data > evidence.trials else f"; so {asked}")
        )
    if found.verdict in (Verdict.LUCK, Verdict.OVERFIT) and found.winner is not None:
        reasons += _how_much_more(found.winner, evidence)
        better = [trial for trial in found.superior or [] if trial != evidence.winner]
        if evidence.may_win is not None:
            better = [trial for trial in better if evidence.may_win[trial]]
        if better:
            reasons.append(
                f"{len(better):,} other trials can be told from luck: rank by a metric that knows risk, as sharpe"
            )
    if found.verdict is Verdict.SKILL and found.pbo is not None and found.pbo_valid and found.pbo.pbo >= 0.5:
        reasons.append(
            f"PBO is {found.pbo.pbo:.0%}: which trial is best is not told by the data, as many are about as good"
        )
    return reasons


def _how_much_more(winner: Superiority, evidence: Evidence) -> list[str]:
    """How much data would tell, if the winner went on as it did."""
    test, scheme = evidence.beyond.test, evidence.beyond.scheme
    if test is not None and test.total <= 0:
        return []
    score, critical = winner.statistic, winner.critical_upper if evidence.adaptive else winner.critical
    times = (critical / score) ** 2 if score > 0 and math.isfinite(critical) else math.inf
    if scheme and test is not None and test.t is not None and (scheme != HOLDOUT or times <= 1):
        # On one unseen record nothing was chosen: it needs no more than the normal quantile.
        more = ((ONE_SIDED_Z if scheme == HOLDOUT else HALF_LEVEL_Z) / test.t) ** 2
        if more <= 1:
            return ["what it was tested on was looked at too often: judge it on data that no search has seen"]
        return [
            f"if the winner goes on as it did out of sample, {more:.1f} times as long a test would tell it from luck"
        ]
    if score <= 0:
        return ["the winner earned nothing: no length of data would show that it does"]
    if not math.isfinite(critical):
        least = percent(1 / (1 + winner.reps))
        return [f"{winner.reps:,} resamples can tell no p below {least}: judge it on data that was searched less"]
    if times <= 1:
        return []
    return [
        f"if the winner goes on as it did, {times:.1f} times as much data{_lasting(evidence, times)} would tell it from luck"
    ]


def _sharpe_statistics(found: Judgement, evidence: Evidence) -> None:
    """Sharpe ratios of the blocks' returns: each block is one observation, so what hangs together within one does."""
    s, winner = evidence.s, evidence.s[evidence.winner] if len(evidence.s) else np.empty(0)
    n = s.shape[1]
    ratios = _ratios(s)
    sr = found.sharpe = found.compute("psr", lambda: _winner_ratio(winner, ratios, evidence.winner))
    found.effective_trials = found.compute("effective_trials", lambda: effective_trials(s=s))
    # Ratios of noise over n observations deviate by 1 / sqrt(n): what the trials came to says nothing of luck.
    found.luck_line = found.compute("luck_line", lambda: _luck_line(n, evidence.trials_on_data))
    spread = found.compute("dsr", lambda: _spread(ratios))
    if sr is None:
        for name in ("dsr", "min_track_record_steps"):
            found.missing[name] = found.missing["psr"]
        return
    away = (winner - winner.mean()) / winner.std()
    skew, kurtosis = float((away**3).mean()), float((away**4).mean())
    found.psr = found.compute("psr", lambda: probabilistic_sharpe_ratio(sr, n, skew, kurtosis))
    if spread is not None:
        found.dsr = found.compute(
            "dsr", lambda: deflated_sharpe_ratio(sr, n, evidence.trials_on_data, spread, skew, kurtosis)
        )
    found.min_track_record_blocks = found.compute(
        "min_track_record_steps", lambda: min_track_record_length(sr, skew=skew, kurtosis=kurtosis)
    )
    if found.min_track_record_blocks is not None and evidence.counts is None:
        found.missing["min_track_record_steps"] = evidence.no_counts


def _luck_line(n_blocks: int, trials: int) -> float:
    if trials < 2:
        raise NotComputableError("there is no best of a single trial")
    return expected_max_sharpe(trials, n_blocks**-0.5)


def _ratios(s: FloatArray) -> FloatArray:
    if s.shape[1] < 2:
        return np.full(len(s), np.nan)
    deviation = s.std(axis=1, ddof=1)
    has_spread = deviation > NO_SPREAD * np.abs(s).max(axis=1, initial=0.0)
    return np.asarray(np.divide(s.mean(axis=1), deviation, out=np.full(len(s), np.nan), where=has_spread))


def _winner_ratio(winner: FloatArray, ratios: FloatArray, at: int) -> float:
    if len(ratios) == 0 or not np.isfinite(ratios[at]):
        raise NotComputableError(f"the winner's returns in {len(winner)} blocks of time have no spread")
    return float(ratios[at])


def _spread(ratios: FloatArray) -> float:
    known = ratios[np.isfinite(ratios)]
    if len(known) < 2:
        raise NotComputableError(
            f"the spread of Sharpe ratios takes at least 2 trials that traded; there are {len(known)}"
        )
    return float(known.std(ddof=1))


def _resampled(found: Judgement, evidence: Evidence, level: float, seed: int) -> None:
    n = evidence.s.shape[1]
    held = 0.0
    if evidence.hold_s is not None and evidence.block_s is not None and math.isfinite(evidence.hold_s):
        held = evidence.hold_s / evidence.block_s
    # What is held over blocks hangs together over them.
    block = min(1.0 + held, n / 8)
    length = max(1.0, block)

    most = min(MOST_REPS, max(REPS, MOST_RESAMPLED // max(1, len(evidence.s))), math.ceil(AT_THRESHOLD / level))

    def test(trial: int | None) -> Superiority:
        first = superior_predictive_ability(evidence.s.T, length, REPS, seed, trial=trial, level=level)
        if most <= REPS or (evidence.p_of(first) * (1 + REPS) > FEW and math.isfinite(first.critical)):
            return first
        return superior_predictive_ability(evidence.s.T, length, most, seed, trial=trial, level=level)

    found.spa = found.compute("spa", lambda: test(None))
    if found.spa is None:
        return
    same = found.spa.trial == evidence.winner
    found.winner = found.spa if same else found.compute("spa", lambda: test(evidence.winner))
    if found.winner is None:
        active = int(np.count_nonzero(evidence.s[evidence.winner]))
        found.missing["spa"] = f"the winner has returns in {active} of {n} blocks of time, or the same in each"
    # Where not even the best can be told from luck, none can.
    told = evidence.p_of(found.spa) <= level
    found.superior = step_m(evidence.s.T, level, length, found.spa.reps, seed).tolist() if told else []


def _cross_validated(found: Judgement, evidence: Evidence) -> None:
    n_trials, n = evidence.s.shape
    groups = min(MAX_GROUPS, n - n % 2)
    # How trials rank does not depend on the number of steps, where all have the same.
    counts = np.full(n, UNKNOWN_STEPS) if evidence.counts is None else evidence.counts
    arguments = {"s": evidence.s, "q": evidence.q, "counts": counts}

    def compute() -> Overfitting:
        if groups < MIN_GROUPS:
            raise NotComputableError(f"cross-validation takes at least {MIN_GROUPS} blocks of time; there are {n}")
        if n_trials > MAX_PBO_TRIALS:
            raise NotComputableError(
                f"cross-validation of more than {MAX_PBO_TRIALS:,} trials takes minutes; there are {n_trials:,}"
            )
        if not evidence.q.any():
            raise NotComputableError(f"none of {n_trials} trials has any return, so that none is better than another")
        return probability_of_backtest_overfitting(groups=groups, metric=evidence.chosen_by, **arguments)

    found.pbo = found.compute("pbo", compute)
    found.pbo_valid = found.pbo is not None and not evidence.adaptive
    if found.pbo is not None:
        found.pbo_error = found.compute(
            "pbo.se", lambda: overfitting_error(groups=groups, metric=evidence.chosen_by, **arguments)
        )
