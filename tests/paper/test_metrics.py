"""Each metric is what its line says of what a run counted, and of its returns on the grid."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arbd.paper import metrics as m
from arbd.paper.metrics import METRICS, N_BLOCKS, SECONDS_PER_YEAR, block_counts, compute_metrics, pool_counts

GRID_S = 60.0
CAPACITY = 0.625
# No two of them have the same sum, difference or quotient.
PRIMES = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0, 23.0, 29.0, 31.0, 37.0, 41.0, 43.0, 47.0, 53.0, 59.0, 61.0, 67.0,
          71.0, 73.0, 79.0, 83.0, 89.0, 97.0, 0.0, 101.0]  # fmt: skip


def of(counts: list[float], returns: list[float], *, holds: bool = True, turnover: float = 9.0) -> dict[str, float]:
    found = compute_metrics(
        np.array([counts]), np.array([returns]), np.array([turnover]), np.array([CAPACITY]), np.array([GRID_S]),
        holds=np.array([holds]),
    )  # fmt: skip
    return {name: float(column[0]) for name, column in found.items()}


def test_what_is_stored_has_64_blocks_and_a_year_365_days() -> None:
    assert (N_BLOCKS, SECONDS_PER_YEAR) == (64, 31_536_000.0)


def test_each_metric_is_made_of_its_own_counts() -> None:
    c = PRIMES
    found = of(c, [0.01, -0.02, 0.03])
    expected = {
        "pnl": c[m.REALIZED] + c[m.OPEN_MARK], "realized_pnl": c[m.REALIZED], "total_fees": c[m.FEES],
        "slippage_cost": c[m.SLIPPAGE], "trades": c[m.TRADES], "wins": c[m.WINS], "losses": c[m.LOSSES],
        "win_rate": c[m.WINS] / c[m.TRADES],
        "avg_pnl_per_trade": (c[m.GROSS_PROFIT] - c[m.GROSS_LOSS]) / c[m.TRADES],
        "profit_factor": c[m.GROSS_PROFIT] / c[m.GROSS_LOSS], "max_drawdown": c[m.MAX_DRAWDOWN],
        "max_drawdown_pct": c[m.MAX_DRAWDOWN_PCT], "avg_hold_s": c[m.HOLD_S] / c[m.TRADES],
        "exposure": c[m.EXPOSURE_S] / c[m.SPAN_S], "turnover": 9.0, "signals": c[m.SIGNALS],
        "safety_violations": c[m.VIOLATIONS], "circuit_breaker_active": c[m.BREAKER], "orders": c[m.ORDERS],
        "rejected": c[m.REJECTED], "funding_paid": c[m.FUNDING], "borrow_paid": c[m.BORROW],
        "unhedged_pnl": c[m.UNHEDGED_PNL], "unhedged_s": c[m.UNHEDGED_S], "largest_unhedged": c[m.LARGEST_UNHEDGED],
        "margin_low": c[m.MARGIN_LOW], "capacity": CAPACITY, "given_up": 0.0,
    }  # fmt: skip
    assert {name: value for name, value in found.items() if name not in ("sharpe", "sortino")} == expected
    assert list(found) == list(METRICS)


def test_a_strategy_that_holds_no_positions_has_no_holding_time() -> None:
    found = of(PRIMES, [0.01, -0.02, 0.03], holds=False)
    assert {name for name, value in found.items() if math.isnan(value)} == {"avg_hold_s", "exposure"}


def test_a_run_that_was_given_up_has_that_metric_and_no_other() -> None:
    found = of([*PRIMES[: m.GIVEN_UP], 1.0, *PRIMES[m.GIVEN_UP + 1 :]], [0.01, -0.02, 0.03])
    assert found.pop("given_up") == 1.0
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("returns", [[0.01, -0.02], [-0.01, -0.03], [0.01, -0.02, 0.03], [0.5, 0.25, -0.125, 0.0]])
def test_ratios_are_annualised_from_two_returns_on(returns: list[float]) -> None:
    found, year = of(PRIMES, returns), math.sqrt(SECONDS_PER_YEAR / GRID_S)
    mean = statistics.fmean(returns)
    downside = math.sqrt(statistics.fmean(min(0.0, r) ** 2 for r in returns))
    assert found["sharpe"] == pytest.approx(mean / statistics.stdev(returns) * year, rel=1e-12)
    assert found["sortino"] == pytest.approx(mean / downside * year, rel=1e-12)


@pytest.mark.parametrize(
    ("returns", "undefined"),
    [
        ([], {"sharpe", "sortino"}),
        ([-0.01], {"sharpe", "sortino"}),
        ([0.25, 0.25, 0.25], {"sharpe", "sortino"}),
        ([-0.25, -0.25], {"sharpe"}),
        ([0.01, 0.02], {"sortino"}),
        ([0.0, 0.0], {"sharpe", "sortino"}),
    ],
)
def test_a_ratio_of_too_few_returns_or_to_no_deviation_is_undefined(returns: list[float], undefined: set[str]) -> None:
    found = of(PRIMES, returns)
    assert {name for name in ("sharpe", "sortino") if math.isnan(found[name])} == undefined


def test_counts_of_several_markets_add_up_but_for_what_is_the_worst_of_them_and_for_yes_and_no() -> None:
    largest = {m.MAX_DRAWDOWN, m.MAX_DRAWDOWN_PCT, m.BREAKER, m.LARGEST_UNHEDGED, m.GIVEN_UP}
    markets = np.array([[PRIMES], [PRIMES[::-1]], [[1.0] * m.N_COUNTS]])
    before = markets.copy()
    pooled = pool_counts(markets)
    for place in range(m.N_COUNTS):
        values = before[:, 0, place]
        expected = values.max() if place in largest else values.min() if place == m.MARGIN_LOW else values.sum()
        assert pooled[0, place] == expected, place
    assert np.array_equal(markets, before)
    assert np.array_equal(pool_counts(markets[:1]), markets[0])


@given(st.integers(0, 200), st.integers(1, 30))
def test_blocks_are_as_equal_as_can_be_and_together_the_whole(n_steps: int, n_blocks: int) -> None:
    counts = block_counts(n_steps, n_blocks)
    assert (len(counts), counts.sum()) == (n_blocks, n_steps)
    assert counts.max() - counts.min() <= 1


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(0, 70)), elements=st.floats(-1, 1)))
def test_a_block_holds_the_sum_and_the_squares_of_its_part_of_the_returns(returns: np.ndarray) -> None:
    blocks = m.return_blocks(returns)
    assert blocks.shape == (len(returns), N_BLOCKS, 2)
    ends = np.cumsum(block_counts(returns.shape[1]))
    for block, (end, count) in enumerate(zip(ends, block_counts(returns.shape[1]), strict=True)):
        part = returns[:, end - count : end]
        assert blocks[:, block, 0] == pytest.approx(part.sum(axis=1))
        assert blocks[:, block, 1] == pytest.approx((part**2).sum(axis=1))
