"""What windows that nobody chose on add: tests that hold their level, and claims that contradictions take back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import NotComputableError, UsageError
from arbd.validation import combined_p, null_p, out_of_sample, rank_correlation
from arbd.validation.claim import LEVEL, Beyond, claim_of, lost_out_of_sample, percent
from arbd.validation.out_of_sample import OutOfSample

P = st.floats(1e-6, 1.0)


def test_stitched_returns_count_folds_and_blocks() -> None:
    rng = np.random.default_rng(3)
    folds = [rng.standard_normal(20) + shift for shift in (0.5, -0.5, 0.7)]
    found = out_of_sample(folds)
    every = np.concatenate(folds)
    won = sum(1 for fold in folds if fold.sum() > 0)
    assert (found.folds, found.folds_won, found.blocks) == (3, won, 60)
    assert found.total == pytest.approx(every.sum())
    assert found.t == pytest.approx(every.mean() / every.std(ddof=1) * math.sqrt(60))


def test_the_test_of_returns_without_an_edge_holds_its_level() -> None:
    rng = np.random.default_rng(5)
    found = [out_of_sample([rng.standard_normal(48)], reps=200, seed=seed).p for seed in range(400)]
    rejected = sum(p is not None and p <= 0.05 for p in found)
    # 20 are expected; 36 is beyond 99.9 % of what a test that holds its level gives.
    assert rejected <= 36
    assert out_of_sample([rng.standard_normal(48) + 1.0]).p == pytest.approx(1 / 2001)


@pytest.mark.parametrize("returns", [np.zeros(30), np.ones(3), np.r_[np.ones(5), np.zeros(40)]])
def test_too_little_to_compare_has_a_reason_instead_of_a_p(
    returns: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    found = out_of_sample([returns])
    assert found.p is None
    assert found.no_p
    with pytest.raises(UsageError):
        out_of_sample([])


def test_combined_p_values_are_uniform_where_both_are() -> None:
    # Fisher: 0.05 and 0.05 come to 0.0175; a p of 1 beside costs, and never helps.
    assert combined_p(0.05, 0.05) == pytest.approx(0.0174787, abs=1e-6)
    rng = np.random.default_rng(1)
    pairs = 1.0 - rng.random((20_000, 2))
    share = np.mean([combined_p(a, b) <= 0.05 for a, b in pairs.tolist()])
    assert share == pytest.approx(0.05, abs=0.006)


@given(P, P)
def test_a_combined_p_is_a_probability_and_grows_with_either(a: float, b: float) -> None:
    assert 0 < combined_p(a, b) <= 1
    assert combined_p(a, b) == pytest.approx(combined_p(b, a))
    assert combined_p(a, b) <= combined_p(a, min(1.0, 2 * b)) + 1e-12


def test_null_searches_count_ties_and_winners_that_are_none() -> None:
    assert null_p(1.0, [0.0] * 19) == pytest.approx(0.05)
    assert null_p(1.0, [1.0, 2.0, 0.5]) == pytest.approx(0.75)
    assert null_p(math.nan, [0.0, math.nan]) == 1.0
    assert null_p(0.0, [math.nan] * 3) == pytest.approx(0.25)
    with pytest.raises(NotComputableError):
        null_p(1.0, [])


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.948683, abs=1e-6)
    for a, b in (([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([math.nan, 1, 2], [1, 2, 3])):
        with pytest.raises(NotComputableError):
            rank_correlation(a, b)


def _test(total: float, p: float | None) -> OutOfSample:
    return OutOfSample(total, 1.0, 0.1, p, 1, int(total > 0), 30)


@given(P, P, st.floats(0.01, 1.0))
def test_nothing_beside_what_the_job_names_ever_makes_a_claim(p: float, test_p: float, null: float) -> None:
    alone = claim_of(p, 1_000, "all 10 trials", LEVEL, Beyond())
    assert alone.holds == (p <= LEVEL)
    beside = claim_of(p, 1_000, "all 10 trials", LEVEL, Beyond(null=null))
    assert beside.holds <= alone.holds
    for scheme in ("holdout", "walk_forward", "cpcv"):
        earns = claim_of(p, 1_000, "all 10 trials", LEVEL, Beyond(scheme, _test(1.0, test_p)))
        loses = claim_of(p, 1_000, "all 10 trials", LEVEL, Beyond(scheme, _test(-1.0, test_p)))
        assert not loses.holds
        assert loses.against
        p_of_both = combined_p(p, test_p) if scheme == "holdout" else 2 * min(p, test_p)
        # Of what is the level but for rounding, either may be said.
        assert earns.holds == (p_of_both <= LEVEL) or p_of_both == pytest.approx(LEVEL, rel=1e-12)


def test_claims_of_folds_hold_their_level_however_the_two_tests_hang_together() -> None:
    """One p uniform, and the other the same, its opposite, independent, or whatever is not yet so small: all uniform."""
    one = np.random.default_rng(3).random(4_000)
    for other in (one, 1 - one, np.random.default_rng(4).random(4_000), (one + 0.025) % 1):
        pairs = zip(one.tolist(), np.maximum(other, 1e-9).tolist(), strict=True)
        held = sum(
            claim_of(a, 1_000, "all 10 trials", LEVEL, Beyond("walk_forward", _test(1.0, b))).holds for a, b in pairs
        )
        # Three standard deviations of 5 % of 4,000.
        assert held / 4_000 <= LEVEL + 3 * 0.0035


def test_what_was_looked_at_before_convinces_less() -> None:
    fresh = claim_of(0.2, 1_000, "all 10 trials", LEVEL, Beyond("walk_forward", _test(1.0, 0.02)))
    seen = claim_of(0.2, 1_000, "all 10 trials", LEVEL, Beyond("walk_forward", _test(1.0, 0.02), test_share=0.1))
    assert (fresh.holds, seen.holds) == (True, False)
    assert lost_out_of_sample(Beyond("holdout", _test(-1.0, 0.5)))
    assert not lost_out_of_sample(Beyond("holdout"))


@given(st.floats(1e-12, 1.0))
def test_no_share_is_told_as_nothing(value: float) -> None:
    told = percent(value)
    assert float(told.removeprefix("less than ").rstrip("%")) > 0
    if not told.startswith("less"):
        assert float(told.rstrip("%")) / 100 == pytest.approx(value, rel=0.1)


def test_what_was_looked_at_before_is_told_beside_what_was_found() -> None:
    seen = Beyond("holdout", _test(1.0, 0.001), test_share=0.1)
    claim = claim_of(0.002, 1_000, "all 10 trials", LEVEL / 5, seen, "as others saw it")
    assert (
        "in 0.20% of cases (all 10 trials resampled 1,000 times), which counts as 1.00%, as others saw it" in claim.text
    )
    assert "held out in 0.10% of cases, which counts as 1.00%, as it was looked at before" in claim.text
    assert "counts" not in claim_of(0.002, 1_000, "all 10 trials", LEVEL, Beyond("holdout", _test(1.0, 0.001))).text


@pytest.mark.parametrize("scheme", ["", "holdout", "walk_forward", "cpcv"])
@given(reached=st.integers(0, 1_000))
def test_a_p_that_no_resample_reached_is_told_as_the_least_that_so_many_can_tell(scheme: str, reached: int) -> None:
    claim = claim_of((1 + reached) / 1_001, 1_000, "all 10 trials", LEVEL, Beyond(scheme, _test(1.0, 0.5)))
    assert ("none of 1,000 resamples of all 10 trials" in claim.text) == (reached == 0)
    assert ("of cases or fewer" in claim.text) == (reached == 0)
