"""A market without an edge keeps what the real one looks like, and nothing that could be earned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import NotComputableError, UsageError
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.validation import surrogate, surrogate_walk


def _market(seed: int = 1, n: int = 2_000) -> Quotes:
    """Two venues whose premium comes back with a half-life of 70 rows."""
    rng = np.random.default_rng(seed)
    mid_a = 100 * np.exp(np.cumsum(rng.normal(0, 1e-4, n)))
    premium = np.zeros(n)
    for row in range(1, n):
        premium[row] = 0.99 * premium[row - 1] + rng.normal(0, 2e-4)
    mid_b = mid_a * np.exp(premium) / 1.25
    columns: dict[str, npt.NDArray[np.generic]] = {
        "ts_ns": np.arange(n) * 10**9, "bid_a": mid_a * 0.9999, "ask_a": mid_a * 1.0001,
        "bid_b": mid_b * 0.9998, "ask_b": mid_b * 1.0002, "fx": np.full(n, 1.25),
    }  # fmt: skip
    return build_quotes(columns, "test")[0]


def _premium(quotes: Quotes) -> npt.NDArray[np.float64]:
    return np.log((quotes.bid_b + quotes.ask_b) * quotes.fx / (quotes.bid_a + quotes.ask_a))


@pytest.mark.parametrize("block", [1, 7, 5_000])
def test_all_but_the_prices_of_venue_b_stays_and_every_row_is_good(block: int) -> None:
    real = _market()
    made = surrogate(real, 3, block)
    build_quotes(made.columns(), "surrogate")
    for name, column in real.columns().items():
        if name not in ("bid_b", "ask_b"):
            np.testing.assert_array_equal(made.columns()[name], column)
    np.testing.assert_allclose(made.ask_b / made.bid_b, real.ask_b / real.bid_b, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.diff(_premium(made))), np.abs(np.diff(_premium(real))), atol=1e-12)
    assert made.bid_b[0] == pytest.approx(real.bid_b[0], rel=1e-12)


def test_reversion_is_gone() -> None:
    real = _premium(_market(n=20_000))

    # What the next 100 rows do against where the premium stands.
    def pull(walk: npt.NDArray[np.float64]) -> float:
        return float(np.polyfit(walk[:-100], walk[100:] - walk[:-100], 1)[0])

    made = [pull(surrogate_walk(real, seed, 1, keep_range=False)) for seed in range(20)]
    assert pull(real) < -0.5
    assert np.mean(made) > -0.15


def test_the_range_is_kept_nearer_to_the_real_one() -> None:
    real = _premium(_market())
    free = [np.ptp(surrogate_walk(real, seed, 1, keep_range=False)) for seed in range(20)]
    kept = [np.ptp(surrogate_walk(real, seed, 1)) for seed in range(20)]
    assert np.ptp(real) / 2 < np.mean(kept) < 0.7 * np.mean(free)


@settings(deadline=None)
@given(seed=st.integers(0, 2**63 - 1), block=st.integers(1, 50), keep=st.booleans())
def test_the_same_seed_gives_the_same_market_and_blocks_have_one_sign(seed: int, block: int, keep: bool) -> None:
    real = np.cumsum(np.arange(1.0, 40.0))
    walk = surrogate_walk(real, seed, block, keep_range=keep)
    assert walk.tolist() == surrogate_walk(real, seed, block, keep_range=keep).tolist()
    signs = np.sign(np.diff(walk))
    for start in range(0, len(signs), block):
        assert len(set(signs[start : start + block].tolist())) == 1


def test_what_cannot_be_made_says_why() -> None:
    with pytest.raises(NotComputableError, match="at least 2 rows; there are 1"):
        surrogate_walk([1.0], 1, 1)
    with pytest.raises(UsageError, match="blocks of 0"):
        surrogate_walk([1.0, 2.0], 1, 0)
    with pytest.raises(UsageError, match="shape"):
        surrogate_walk([[1.0, 2.0]], 1, 1)
