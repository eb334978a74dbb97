"""Small markets worked out by hand; both engines must agree with the arithmetic here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from arbd.paper.engine import Run, run, run_reference
from arbd.paper.fills import BREAKER, END, ENTRY, EXIT, MAX_HOLD, STOP_LOSS, TAKE_PROFIT
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import Quotes
from tests.paper.markets import flat_quotes, params_of, quotes_of

DAY_S = 86_400.0


@pytest.fixture(params=[run, run_reference], ids=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> Any:
    def go(quotes: Quotes, **given: Any) -> Run:
        return request.param(prepare(quotes), params_of(**given))

    return go


def test_a_round_trip_earns_the_edge_less_fees_and_slippage(engine: Any) -> None:
    quotes = quotes_of([100, 102, 100], [100, 102, 100], [100, 100, 100], [100, 100, 100])
    found = engine(quotes, min_spread_pct=1.0, exit_spread_pct=0.0, fee_a_bps=10, fee_b_bps=20, slippage_bps=10)
    # Sell A at 102 x 0.999, buy B at 100 x 1.001; quantity 100 / 100.1. Back at A 100.1 and B 99.9.
    quantity = 100 / 100.1
    sold, bought, back_a, back_b = 102 * 0.999, 100 * 1.001, 100 * 1.001, 100 * 0.999
    fees = quantity * ((sold + back_a) * 10 + (bought + back_b) * 20) / 1e4
    assert found.metrics["pnl"] == pytest.approx(quantity * (sold - bought + back_b - back_a) - fees)
    assert found.metrics["total_fees"] == pytest.approx(fees)
    assert found.metrics["slippage_cost"] == pytest.approx(quantity * (0.102 + 0.1 + 0.1 + 0.1))
    assert (found.metrics["trades"], found.metrics["wins"], found.metrics["avg_hold_s"]) == (1, 1, 1.0)
    assert [fill.reason for fill in found.fills] == [ENTRY, ENTRY, EXIT, EXIT]


def test_prices_of_b_are_converted(engine: Any) -> None:
    quotes = quotes_of([1300, 1326, 1300], [1300, 1326, 1300], [1, 1, 1], [1, 1, 1], fx=1300.0)
    found = engine(quotes, min_spread_pct=1.0, max_position=1300.0)
    assert found.metrics["pnl"] == pytest.approx(26.0)


def test_the_other_direction_trades_the_other_way(engine: Any) -> None:
    quotes = quotes_of([100, 100, 100], [100, 100, 100], [100, 102, 100], [100, 102, 100])
    found = engine(quotes, min_spread_pct=1.0)
    assert [(f.venue, f.side) for f in found.fills] == [(0, 1), (1, -1), (0, -1), (1, 1)]
    assert found.metrics["pnl"] == pytest.approx(2.0)


def test_each_leg_fills_at_the_first_quote_after_its_own_latency(engine: Any) -> None:
    quotes = flat_quotes([0, 0.02, 0.03, 0.04, 0, 0, 0, 0])
    found = engine(quotes, min_spread_pct=1.5, latency_a_ms=1000, latency_b_ms=1500)
    assert [(f.venue, f.row) for f in found.fills[:2]] == [(0, 2), (1, 3)]
    assert found.fills[0].price == pytest.approx(103.0)


def test_an_order_that_would_fill_after_the_data_is_void(engine: Any) -> None:
    found = engine(flat_quotes([0, 0, 0.02]), min_spread_pct=1.0, latency_a_ms=1, latency_b_ms=1)
    assert (found.metrics["signals"], found.metrics["orders"], found.fills) == (1, 2, ())
    # The other leg fills, and is valued at the last quote.
    found = engine(flat_quotes([0, 0, 0.02]), min_spread_pct=1.0, latency_a_ms=1)
    assert [(f.row, f.venue, f.side) for f in found.fills] == [(2, 1, 1)]
    assert found.metrics["pnl"] == 0.0


def test_a_position_is_closed_at_the_end_of_the_data(engine: Any) -> None:
    found = engine(flat_quotes([0, 0.02, 0.015]), min_spread_pct=1.0)
    assert [f.reason for f in found.fills[2:]] == [END, END]
    assert found.metrics["pnl"] == pytest.approx(found.metrics["realized_pnl"])


def test_what_the_last_quote_cannot_take_is_valued_at_its_touch(engine: Any) -> None:
    quotes = flat_quotes([0, 0.02, 0.015])
    small = np.array([np.inf, np.inf, 0.25])
    quotes = Quotes(
        *[getattr(quotes, n) for n in ("ts_ns", "bid_a", "ask_a", "bid_b", "ask_b")],
        small,
        small,
        small,
        small,
        quotes.fx,
    )
    found = engine(quotes, min_spread_pct=1.0)
    assert found.metrics["trades"] == 0
    assert found.metrics["realized_pnl"] == pytest.approx(0.25 * 0.5)
    assert found.metrics["pnl"] == pytest.approx(0.5)
    assert found.metrics["exposure"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("given", "reason", "row"),
    [
        ({"take_profit_pct": 0.5, "exit_spread_pct": -5.0}, TAKE_PROFIT, 3),
        ({"stop_loss_pct": 0.9, "exit_spread_pct": -5.0}, STOP_LOSS, 2),
        ({"max_hold_s": 3.0, "exit_spread_pct": -5.0}, MAX_HOLD, 4),
        ({"exit_spread_pct": 1.5}, EXIT, 3),
    ],
)
def test_each_exit_closes_at_its_quote(engine: Any, given: dict[str, float], reason: int, row: int) -> None:
    quotes = flat_quotes([0, 0.02, 0.03, 0.014, 0.014, 0.014, 0.014])
    closing = engine(quotes, min_spread_pct=1.9, **given).fills[2]
    assert (closing.reason, closing.row) == (reason, row)


def test_a_position_closes_in_parts_when_sizes_are_small(engine: Any) -> None:
    quotes = flat_quotes([0, 0.02, 0, 0, 0, 0], size=0.4)
    found = engine(quotes, min_spread_pct=1.0, participation=0.5, lot_step=0.1, max_position=20.0)
    assert [round(f.size, 9) for f in found.fills] == [0.2, 0.2, 0.2, 0.2]
    shrinking = Quotes(*[getattr(quotes, n) for n in ("ts_ns", "bid_a", "ask_a", "bid_b", "ask_b")],
                       *[np.array([1, 1, 0.3, 0.0, 0.3, 9.0])] * 4, quotes.fx)  # fmt: skip
    found = engine(shrinking, min_spread_pct=1.0)
    assert [round(f.size, 9) for f in found.fills[2::2]] == [0.3, 0.3, 0.4]
    assert found.metrics["trades"] == 1
    assert found.metrics["avg_hold_s"] == 4.0


def test_a_trade_too_small_for_the_minimum_is_not_made(engine: Any) -> None:
    assert engine(flat_quotes([0, 0.02, 0], size=0.1), min_spread_pct=1.0, min_notional=11.0).fills == ()
    assert len(engine(flat_quotes([0, 0.02, 0], size=0.1), min_spread_pct=1.0, min_notional=9.0).fills) == 4


def test_the_daily_loss_stops_entries_until_the_next_utc_day(engine: Any) -> None:
    # A loss of 1 just before midnight; signals at 23:59:58 are refused, the one at 00:00:01 is not.
    times = [DAY_S - 10, DAY_S - 9, DAY_S - 8, DAY_S - 3, DAY_S - 2, DAY_S, DAY_S + 1, DAY_S + 2]
    quotes = flat_quotes([0, 0.01, 0.02, 0, 0.01, 0, 0.01, 0], t_s=times)
    found = engine(quotes, min_spread_pct=0.9, stop_loss_pct=0.5, max_daily_loss=0.9)
    assert [f.row for f in found.fills if f.venue == 0] == [1, 2, 6, 7]
    assert found.metrics["safety_violations"] == 1


def test_trades_per_hour_slide(engine: Any) -> None:
    times = [0.0, 10, 20, 30, 40, 3605, 3611, 3620]
    quotes = flat_quotes([0, 0.01, 0, 0.01, 0, 0.01, 0.01, 0], t_s=times)
    found = engine(quotes, min_spread_pct=0.9, max_trades_per_hour=1)
    assert [f.row for f in found.fills if f.venue == 0 and f.reason == ENTRY] == [1, 6]
    assert found.metrics["safety_violations"] == 2


def test_the_circuit_breaker_closes_and_stops_for_good(engine: Any) -> None:
    quotes = flat_quotes([0, 0.01, 0.05, 0.05, 0, 0.01, 0], t_s=[0, 1, 2, 3.5, 4, 5, 6])
    found = engine(quotes, min_spread_pct=0.9, circuit_breaker_pct=0.1, grid_s=3.0, exit_spread_pct=-9)
    assert [f.row for f in found.fills if f.reason == BREAKER] == [3, 3]
    assert found.metrics["circuit_breaker_active"] == 1
    assert found.metrics["safety_violations"] == 1


def test_a_loss_is_followed_by_a_pause(engine: Any) -> None:
    quotes = flat_quotes([0, 0.01, 0.03, 0, 0.01, 0.01, 0, 0.01, 0], t_s=[0, 1, 2, 3, 4, 5, 6, 70, 71])
    found = engine(quotes, min_spread_pct=0.9, stop_loss_pct=1.0, cooldown_s=60)
    assert [f.row for f in found.fills if f.venue == 0 and f.reason == ENTRY] == [1, 7]


def test_inventory_buys_and_sells_at_once_and_keeps_its_base(engine: Any) -> None:
    quotes = flat_quotes([0, 0.02, 0, -0.02, 0])
    found = engine(quotes, strategy="inventory", min_spread_pct=1.0, rebalance="none")
    assert found.metrics["trades"] == 2
    first = found.fills[:2]
    assert found.metrics["pnl"] == pytest.approx(first[0].size * 2 + found.fills[2].size * 2)
    assert math.isnan(found.metrics["exposure"])


def test_inventory_trades_no_more_than_its_balances(engine: Any) -> None:
    quotes = flat_quotes([0, 0.02, 0.02, 0.02, 0.02])
    found = engine(
        quotes, strategy="inventory", min_spread_pct=1.0, rebalance="none", max_position=150.0, initial_capital=1000.0
    )
    # A holds 2.5 base to sell, B holds 250 to buy with.
    assert sum(f.size for f in found.fills if f.venue == 0) == pytest.approx(2.5)


def test_a_transfer_costs_its_fee_and_arrives_after_its_delay(engine: Any) -> None:
    quotes = flat_quotes([0, 0.02, 0.02, 0, 0, 0, 0.02, 0])
    given = {
        "strategy": "inventory",
        "min_spread_pct": 1.0,
        "initial_capital": 1000.0,
        "max_position": 250.0,
        "rebalance_trigger": 0.4,
    }
    late = engine(quotes, **given, transfer_fee_pct=1.0, transfer_delay_s=100)
    early = engine(quotes, **given, transfer_fee_pct=1.0, transfer_delay_s=2)
    # 2.5 base and 255 of quote stand on the wrong sides; half the difference of 5.0 moves, at 1 %.
    assert late.metrics["total_fees"] > 0
    assert late.metrics["trades"] < early.metrics["trades"]


def test_empty_and_single_row_markets_have_undefined_ratios(engine: Any) -> None:
    for quotes in (flat_quotes([]), flat_quotes([0.5])):
        metrics = engine(quotes, min_spread_pct=1.0).metrics
        assert metrics["win_rate"] != metrics["win_rate"]
        assert metrics["sharpe"] != metrics["sharpe"]


def test_drawdown_is_seen_on_the_grid(engine: Any) -> None:
    quotes = flat_quotes([0, 0.01, 0.03, 0.01, 0], t_s=[0, 1, 2, 3, 4])
    found = engine(quotes, min_spread_pct=0.9, exit_spread_pct=-0.0, grid_s=1.0, max_position=100.0)
    assert found.metrics["max_drawdown"] == pytest.approx(2.0)
    assert found.metrics["max_drawdown_pct"] == pytest.approx(0.2)
    assert found.equity.tolist() == pytest.approx([1000.0, 998.0, 1000.0, 1001.0])


def test_blocks_hold_sums_and_squares_of_all_grid_returns(engine: Any) -> None:
    found = engine(flat_quotes([0, 0.01, 0.03, 0.01, 0] * 40), min_spread_pct=0.9, grid_s=1.0)
    returns = np.diff(np.concatenate([[1000.0], found.equity])) / 1000.0
    assert found.blocks.shape == (64, 2)
    assert found.blocks[:, 0].sum() == pytest.approx(returns.sum())
    assert found.blocks[:, 1].sum() == pytest.approx((returns**2).sum())
    assert found.metrics["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(365 * 86_400))
