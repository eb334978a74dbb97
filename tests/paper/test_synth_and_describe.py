"""Synthetic markets look like the real ones whose figures they were given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from arbd.errors import UsageError
from arbd.paper.market.describe import Description, describe_quotes
from arbd.paper.market.quotes import build_quotes
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.synth import PROFILES, synth_profile


@dataclass(frozen=True)
class Counters:
    """As published with the recorded quotes: edges mean and sd in bps, touches, half-lives in seconds."""

    file: str
    ticks: int
    touch: tuple[float, float]
    ab: tuple[float, float]
    ba: tuple[float, float]
    ar1_s: float
    acf_s: float


PUBLISHED = {
    "brl": Counters("brl_two_venue_book", 25_766, (28, 22), (-43.6, 19.4), (-4.4, 16.9), 109, 29 * 60),
    "spot_perp": Counters("binance_btc_spot_perp_tick", 93_813, (0.016, 0.002), (-3.7, 0.6), (3.7, 0.6), 0.5, 1.1),
    "bybit_1m": Counters("bybit_binance_btc_1m", 721, (1.1, 0.06), (0.3, 3.1), (-1.5, 3.1), 340, 107 * 60),
}


def median_of(profile: str, ticks: int) -> Description:
    """The median of each figure over several seeds."""
    found = [describe_quotes(synth_profile(profile, seed, ticks)).to_plain() for seed in range(15)]

    def middle(values: list[object]) -> object:
        if isinstance(values[0], dict):
            return {key: middle([v[key] for v in values]) for key in values[0]}  # type: ignore[index]
        return float(np.median(np.array(values, dtype=float)))

    merged = {key: middle([one[key] for one in found]) for key in found[0]}
    return Description(**merged)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", sorted(PUBLISHED))
def test_a_profile_has_the_figures_of_its_real_market(profile: str) -> None:
    real = PUBLISHED[profile]
    found = median_of(profile, real.ticks)
    assert found.touch_a_bps == pytest.approx(real.touch[0], rel=0.15)
    assert found.touch_b_bps == pytest.approx(real.touch[1], rel=0.25)
    for edge, (mean, sd) in ((found.edge_ab, real.ab), (found.edge_ba, real.ba)):
        assert edge["mean_bps"] == pytest.approx(mean, abs=0.35 * sd + 0.1)  # type: ignore[index]
        assert edge["sd_bps"] == pytest.approx(sd, rel=0.35)  # type: ignore[index]
    assert real.ar1_s / 2.5 < found.half_life_ar1_s < 2.5 * real.ar1_s
    # The longest real sample holds a few dozen reversals and the shortest a handful: its own figure is that rough.
    assert real.acf_s / 5 < found.half_life_acf_s < 5 * real.acf_s


def test_the_kimchi_profile_reverts_within_half_an_hour() -> None:
    found = median_of("kimchi", 20_000)
    assert 6 < found.premium_sd_bps < 13
    assert 8 * 60 < found.half_life_acf_s < 30 * 60


@pytest.mark.data
@pytest.mark.parametrize("profile", sorted(PUBLISHED))
def test_describe_gives_the_published_figures_of_recorded_quotes(recorded: Path, profile: str) -> None:
    real = PUBLISHED[profile]
    found = describe_quotes(read_quotes(recorded / f"{real.file}.parquet")[0])
    assert found.rows == real.ticks
    assert found.touch_a_bps == pytest.approx(real.touch[0], rel=0.02)
    assert (found.edge_ab.mean_bps, found.edge_ab.sd_bps) == pytest.approx(real.ab, abs=0.06)
    assert (found.edge_ba.mean_bps, found.edge_ba.sd_bps) == pytest.approx(real.ba, abs=0.06)
    assert found.half_life_acf_s == pytest.approx(real.acf_s, rel=0.1)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_same_seed_gives_the_same_bits_and_good_rows(profile: str) -> None:
    one, again, other = (synth_profile(profile, seed, 2_000) for seed in (1, 1, 2))
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(one.columns().values(), again.columns().values(), strict=True)
    )
    assert not np.array_equal(one.bid_a, other.bid_a)
    assert build_quotes(one.columns(), profile)[1] == 0


def test_an_unknown_profile_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'kimchi'"):
        synth_profile("kimchee", 1, 10)


def test_a_single_quote_has_no_half_life() -> None:
    found = describe_quotes(synth_profile("brl", 1, 1))
    assert found.half_life_ar1_s != found.half_life_ar1_s
    assert found.span_s == 0


def test_gaps_and_ages_are_described() -> None:
    known = synth_profile("kimchi", 1, 100)
    plain = describe_quotes(known)
    assert (plain.blocks, plain.oldest_quote_a_s, plain.oldest_quote_b_s) == (1, 0.0, 0.0)
    aged = replace(known, age_a_ns=np.arange(100) * 10**9, block=np.arange(100) // 40)
    found = describe_quotes(aged)
    assert (found.blocks, found.oldest_quote_a_s, found.oldest_quote_b_s) == (3, 99.0, 0.0)


def test_the_time_between_two_recordings_counts_in_no_figure() -> None:
    whole = synth_profile("brl", 3, 4_000)
    n, day_ns = len(whole), 24 * 3600 * 10**9
    block, ts_ns = (np.arange(n) >= n // 2).astype(np.int64), whole.ts_ns.copy()
    ts_ns[n // 2 :] += day_ns
    plain, parted = describe_quotes(whole), describe_quotes(replace(whole, ts_ns=ts_ns, block=block))
    seam_s = (whole.ts_ns[n // 2] - whole.ts_ns[n // 2 - 1]) / 1e9
    assert (parted.blocks, parted.span_s) == (2, pytest.approx(plain.span_s - seam_s))
    assert parted.longest_gap_s <= plain.longest_gap_s
    assert parted.edge_ab.mean_bps == pytest.approx(plain.edge_ab.mean_bps, abs=0.05)
    assert parted.half_life_ar1_s == pytest.approx(plain.half_life_ar1_s, rel=0.02)
    assert parted.half_life_acf_s == pytest.approx(plain.half_life_acf_s, rel=0.05)


def test_a_last_quote_before_a_gap_is_not_taken_to_have_stood_through_it() -> None:
    ts_ns = np.array([0, 1, 2, 86_400, 86_401, 86_402]) * 10**9
    same = np.full(6, 99.5)
    columns = {"ts_ns": ts_ns, "bid_a": same.copy(), "ask_a": same + 1, "bid_b": same, "ask_b": same + 1}
    columns["bid_a"][2], columns["ask_a"][2] = 101.2, 102.0
    found = describe_quotes(build_quotes({**columns, "block": np.array([0, 0, 0, 1, 1, 1])}, "x")[0])
    assert (found.span_s, found.longest_gap_s) == (4.0, 1.0)
    assert found.edge_ba.share_of_time_above["0 bps"] == found.edge_ab.share_of_time_above["0 bps"] == 0.0
