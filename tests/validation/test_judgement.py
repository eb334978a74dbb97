"""The verdict: which rule gives it, that it claims nothing that chance gives, and that every number has its reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.validation.claim import LEVEL, Beyond
from arbd.validation.evidence import Evidence, Judgement, Verdict
from arbd.validation.judgement import judge
from arbd.validation.out_of_sample import OutOfSample, out_of_sample
from arbd.validation.superior import superior_predictive_ability

NUMBERS = {
    "psr": "psr", "dsr": "dsr", "luck_line": "luck_line", "effective_trials": "effective_trials",
    "min_track_record_blocks": "min_track_record_steps", "pbo": "pbo", "pbo_error": "pbo.se", "spa": "spa",
}  # fmt: skip


def _evidence(seed: int = 0, trials: int = 60, blocks: int = 64, edge: float = 0.0, families: int = 8) -> Evidence:
    """Trials of some families that trade alike; the first family has an edge, in deviations of a block's return."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((families, blocks))
    s = 0.8 * common[np.arange(trials) % families] + 0.6 * rng.standard_normal((trials, blocks))
    s[::families] += edge
    return Evidence(
        s, s * s + 1, int(s.sum(axis=1).argmax()), adaptive=False, trials=trials, trials_on_data=trials,
        counts=np.full(blocks, 10), step_s=600.0, trades=100.0,
    )  # fmt: skip


def test_an_edge_is_skill_and_says_by_which_rule() -> None:
    found = judge(_evidence(edge=1.0))
    assert found.verdict is Verdict.SKILL
    assert found.rule == (
        "luck alone gives a winner as good in 0.10% of cases or fewer (none of 1,000 resamples of all 60 trials); "
        "5.00% or less is called skill"
    )
    assert found.pbo is not None
    assert found.pbo.pbo < 0.1
    assert found.superior == list(range(0, 60, 8))


@pytest.mark.parametrize("families", [1, 40])
def test_without_an_edge_skill_is_rare(families: int) -> None:
    verdicts = [judge(_evidence(seed, trials=40, families=families)).verdict for seed in range(20)]
    # 5 % of 20 is 1, with a standard deviation of 1.
    assert verdicts.count(Verdict.SKILL) <= 1 + 3


def test_luck_says_how_much_data_would_tell() -> None:
    found = next(one for seed in range(9) if (one := judge(_evidence(seed))).verdict is Verdict.LUCK)
    assert "if the winner goes on as it did" in found.reasons[-1]
    assert "days" in found.reasons[-1]


def test_a_winner_that_lost_says_that_no_data_would_help() -> None:
    evidence = _evidence()
    lost = replace(evidence, s=evidence.s - 3.0)
    found = judge(lost)
    assert found.verdict is Verdict.LUCK
    assert found.reasons == ["the winner earned nothing: no length of data would show that it does"]


def test_a_convincing_record_that_choosing_explains_is_overfit() -> None:
    """Many independent trials, none with an edge: the best of them looks good by itself."""
    found = [judge(_evidence(seed, trials=300, families=300)) for seed in range(12)]
    overfit = [one for one in found if one.verdict is Verdict.OVERFIT]
    assert overfit
    for one in overfit:
        assert one.psr is not None
        assert one.pbo is not None
        assert one.psr >= 0.95
        assert one.pbo.pbo >= 0.5
        assert "no better than the median" in one.rule


def test_searches_made_before_on_the_same_data_raise_what_is_asked() -> None:
    evidence = _evidence(1, edge=0.5)
    alone = judge(evidence)
    assert alone.verdict is Verdict.SKILL
    after = judge(replace(evidence, trials_on_data=evidence.trials * 600))
    assert after.verdict is not Verdict.SKILL
    assert after.luck_line is not None
    assert alone.luck_line is not None
    assert after.luck_line > alone.luck_line
    assert "36,000 trials were made on this data in all" in after.reasons[0]
    hopeless = judge(replace(evidence, trials_on_data=evidence.trials * 6_000))
    assert "20,000 resamples can tell no p below 0.005%" in " ".join(hopeless.reasons)


@pytest.mark.parametrize("shared", [1, 3, 40, 2_000])
@pytest.mark.parametrize(("edge", "adaptive"), [(0.0, False), (0.4, True), (1.0, False)])
def test_where_less_is_asked_than_a_thousand_resamples_tell_there_are_more_of_those_that_might_be_skill(
    edge: float, shared: int, adaptive: bool
) -> None:
    evidence = replace(_evidence(3, trials=20, edge=edge), adaptive=adaptive)
    found = judge(replace(evidence, trials_on_data=20 * shared))
    assert found.winner is not None
    level, p = LEVEL / shared, evidence.p_of(found.winner)
    assert found.winner.reps in (1_000, min(20_000, 1_000 * shared))
    if found.winner.reps == 1_000 and shared > 1:
        # What the first thousand say is far from what is asked.
        assert p > 20 / 1_001
        assert np.isfinite(found.winner.critical)
    assert (found.verdict is Verdict.SKILL) == (p <= level)
    if found.verdict is not Verdict.SKILL and found.winner.statistic > 0 and level < 1 / 20_001:
        assert any("can tell no p below" in reason for reason in found.reasons)


def test_pbo_of_an_adaptive_search_is_not_valid_and_gives_no_verdict() -> None:
    overfit = next(
        evidence
        for seed in range(12)
        if judge(evidence := _evidence(seed, trials=300, families=300)).verdict is Verdict.OVERFIT
    )
    found = judge(replace(overfit, adaptive=True))
    assert found.pbo is not None
    assert not found.pbo_valid
    assert found.verdict is Verdict.LUCK


def test_bad_trials_of_a_search_that_learns_count_as_if_they_were_as_good_as_doing_nothing() -> None:
    """They were made because of these data; where they were placed beforehand those that are clearly bad are left out."""
    verdicts = []
    for seed in (2, 3, 4):
        evidence = _evidence(seed, trials=20, edge=0.3)
        s = evidence.s.copy()
        bad = np.arange(len(s)) != evidence.winner
        s[bad] = np.random.default_rng(seed).standard_normal((int(bad.sum()), s.shape[1])) - 1.0
        evidence = replace(evidence, s=s, q=s * s)
        placed, learnt = judge(evidence), judge(replace(evidence, adaptive=True))
        test = placed.winner
        assert test is not None
        assert learnt.winner == test
        assert test.p_consistent < test.p_upper
        assert (placed.verdict is Verdict.SKILL, learnt.verdict is Verdict.SKILL) == (
            test.p_consistent <= 0.05,
            test.p_upper <= 0.05,
        )
        verdicts.append((placed.verdict, learnt.verdict))
    assert (Verdict.SKILL, Verdict.LUCK) in verdicts


def _sparse(active: int) -> Evidence:
    evidence = _evidence(edge=3.0)
    s = evidence.s.copy()
    s[evidence.winner, active:] = 0.0
    return replace(evidence, s=s, q=s * s)


def _nothing_earned(folds: int) -> OutOfSample:
    return out_of_sample([np.zeros(64)] * folds)


@pytest.mark.parametrize(
    ("evidence", "rule"),
    [
        (_sparse(4), "earned or lost in 4 of 64 blocks of time, and it takes 10: 2.5 times as much data"),
        (_sparse(0), "it made no trade"),
        (replace(_evidence(), trades=1.0), "closed 1 trades, and it takes 10: 10.0 times as much data"),
        (_evidence(blocks=5), "earned or lost in 5 of 5 blocks of time, and it takes 10: 2.0 times as much data"),
        (replace(_evidence(), s=np.zeros((60, 64))), "it made no trade"),
        (replace(_evidence(), s=np.full((60, 64), 0.25)), "the same return in each of 64 blocks"),
        (
            replace(_evidence(), beyond=Beyond("holdout", _nothing_earned(1))),
            "the winner neither earned nor lost anything",
        ),
        (replace(_evidence(), beyond=Beyond("cpcv", _nothing_earned(3))), "the winners of the folds neither earned"),
    ],
    ids=[
        "few blocks",
        "never traded",
        "one trade",
        "few blocks of time",
        "nothing traded",
        "all equal",
        "no trade in the holdout",
        "no trade in the folds",
    ],
)
def test_not_enough_data_says_of_what_and_how_much_would_be(evidence: Evidence, rule: str) -> None:
    found = judge(evidence)
    assert found.verdict is Verdict.NO_DATA
    assert rule in found.rule


@given(
    trials=st.integers(1, 6), blocks=st.integers(1, 70), seed=st.integers(0, 9), idle=st.integers(0, 6),
    adaptive=st.booleans(), known=st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_whatever_is_missing_has_its_reason_and_nothing_is_nan(
    trials: int, blocks: int, seed: int, idle: int, adaptive: bool, known: bool
) -> None:
    rng = np.random.default_rng(seed)
    s = rng.standard_normal((trials, blocks))
    s[:idle] = 0.0
    evidence = Evidence(
        s, s * s, int(s.sum(axis=1).argmax()), adaptive, trials, trials,
        counts=np.full(blocks, 3) if known else None, step_s=60.0 if known else None,
    )  # fmt: skip
    found: Judgement = judge(evidence)
    assert found.rule
    active = np.count_nonzero(evidence.s[evidence.winner])
    if found.verdict is Verdict.NO_DATA:
        assert ("times as much data" if active else "no trade") in found.rule
    for name, key in NUMBERS.items():
        value = getattr(found, name)
        if value is None:
            assert found.missing.get(key) or (name == "pbo_error" and found.missing.get("pbo"))
        elif isinstance(value, float):
            assert np.isfinite(value)
    if not known:
        assert found.missing["min_track_record_steps"]


@given(unit=st.floats(1e-6, 1e6), seed=st.integers(0, 20))
@settings(max_examples=5, deadline=None)
def test_the_unit_of_money_changes_no_verdict(unit: float, seed: int) -> None:
    evidence = _evidence(seed, edge=0.3)
    scaled = replace(evidence, s=evidence.s * unit, q=evidence.q * unit * unit)
    one, two = judge(evidence), judge(scaled)
    assert one.verdict == two.verdict
    assert one.psr == pytest.approx(two.psr)
    assert one.pbo is not None
    assert two.pbo is not None
    assert one.pbo.pbo == two.pbo.pbo


def test_the_same_evidence_gives_the_same_bits() -> None:
    one, two = judge(_evidence(5)), judge(_evidence(5))
    assert (one.winner, one.psr, one.dsr, one.pbo_error) == (two.winner, two.psr, two.dsr, two.pbo_error)


@given(trials=st.integers(2, 40), traded=st.integers(0, 40), block=st.integers(0, 63))
@settings(max_examples=25)
def test_where_no_trial_has_a_return_nothing_is_said_of_choosing_among_them(
    trials: int, traded: int, block: int
) -> None:
    evidence = _evidence(trials=trials)
    s, q = np.zeros_like(evidence.s), np.zeros_like(evidence.q)
    s[: min(traded, trials), block], q[: min(traded, trials), block] = 0.01, 1e-4
    found = judge(replace(evidence, s=s, q=q))
    assert (found.pbo is None) == (traded == 0)
    assert ("has any return" in found.missing.get("pbo", "")) == (traded == 0)


@given(unseen=st.integers(0, 400))
def test_trials_without_returns_count_as_if_the_best_were_left(unseen: int) -> None:
    evidence = replace(_evidence(trials=40), unseen=unseen)
    assert evidence.level == pytest.approx(LEVEL * 40 / (40 + unseen))


@pytest.mark.parametrize("scheme", ["holdout", "walk_forward", "cpcv"])
@pytest.mark.parametrize("others", [0, 60])
@pytest.mark.parametrize("unseen", [0, 20])
def test_a_p_that_counts_more_says_why_and_names_nothing_that_is_not_so(scheme: str, others: int, unseen: int) -> None:
    evidence = replace(_evidence(1, edge=0.5), beyond=Beyond(scheme, _held_out(3.0)), unseen=unseen)
    rule = judge(replace(evidence, trials_on_data=evidence.trials + others)).rule
    assert ("which counts as" in rule) == bool(others or unseen)
    assert ("as other searches saw the same data" in rule) == bool(others)
    assert (f"as {unseen} trials left no returns to compare" in rule) == bool(unseen)


@pytest.mark.parametrize(("blocks", "finer"), [(8, True), (64, False)])
def test_a_finer_grid_is_named_only_where_the_winner_was_at_work_in_every_block(blocks: int, finer: bool) -> None:
    evidence = _evidence(blocks=blocks, edge=3.0)
    s = evidence.s.copy()
    s[evidence.winner, 8:] = 0.0
    evidence = replace(evidence, s=s, q=s * s)
    assert ("or a finer grid_s" in judge(evidence).rule) == finer
    assert "finer grid_s" not in judge(replace(evidence, counts=None)).rule


def test_skill_among_trials_that_are_all_as_good_says_that_the_data_do_not_tell_which_is_best() -> None:
    rng = np.random.default_rng(5)
    s = 0.5 + rng.standard_normal((40, 64))
    evidence = replace(_evidence(trials=40), s=s, q=s * s, winner=int(s.sum(axis=1).argmax()))
    found = judge(evidence)
    assert found.verdict is Verdict.SKILL
    assert found.pbo is not None
    assert 0.5 <= found.pbo.pbo < 1
    said = f"PBO is {found.pbo.pbo:.0%}: which trial is best is not told by the data"
    assert any(said in reason for reason in found.reasons)


def _held_out(t: float | None, folds: int = 1) -> OutOfSample:
    """A test that earned something, and cannot be told from luck."""
    return OutOfSample(total=1.0, t=t, sharpe=0.1, p=0.9, folds=folds, folds_won=folds, blocks=64)


def _of_statistic(times: float, scheme: str, t: float | None) -> list[str]:
    """What would change the verdict on a winner that needs so many times its data to be told from luck, in its own search."""
    evidence = _evidence(2, trials=1)
    own = evidence.s[0] - evidence.s[0].mean()
    wanted = superior_predictive_ability(evidence.s.T, 1.0, 1_000, 1, trial=0).critical / np.sqrt(times)
    s = np.atleast_2d(own + wanted * own.std() / np.sqrt(len(own)))
    found = judge(replace(evidence, s=s, q=s * s, winner=0, beyond=Beyond(scheme, _held_out(t))))
    assert found.winner is not None
    assert (found.winner.critical / found.winner.statistic) ** 2 == pytest.approx(times, rel=0.2)
    assert found.verdict in (Verdict.LUCK, Verdict.OVERFIT)
    return found.reasons


@pytest.mark.parametrize(
    ("scheme", "times", "t", "said"),
    [
        # Folds: the test needs the quantile of half the level, 1.96 squared.
        ("walk_forward", 1.5, 1.0, "out of sample, 3.8 times as long a test"),
        ("walk_forward", 1.5, 0.5, "out of sample, 15.4 times as long a test"),
        # Held out once: 1.645 squared, where the search itself shows enough.
        ("holdout", 0.9, 1.0, "out of sample, 2.7 times as long a test"),
        ("holdout", 0.9, 2.0, "was looked at too often"),
        ("holdout", 1.5, 1.0, "times as much data"),
        ("holdout", 1.5, None, "times as much data"),
        ("walk_forward", 1.5, None, "times as much data"),
        # However little it earned, it did earn.
        ("", 9.0, None, "times as much data"),
    ],
)
def test_how_much_more_would_tell_is_said_of_the_test_or_else_of_the_data(
    scheme: str, times: float, t: float | None, said: str
) -> None:
    assert said in _of_statistic(times, scheme, t)[-1]


@pytest.mark.parametrize(("hold_s", "length"), [(None, 1.0), (0.0, 1.0), (12_000.0, 3.0), (1e9, 8.0), (np.inf, 1.0)])
def test_blocks_that_hang_together_are_as_long_as_a_position_is_held(hold_s: float | None, length: float) -> None:
    """A block is 6,000 s; an eighth of all 64 blocks is the longest."""
    evidence = replace(_evidence(1), hold_s=hold_s)
    expected = superior_predictive_ability(evidence.s.T, length, 1_000, 1, level=LEVEL)
    assert judge(evidence).spa == expected
