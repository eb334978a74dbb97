"""What must hold of every run, whatever the market."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper.engine import run, series_for
from arbd.paper.fills import CAUSES, END, GAP, HEDGE, REBALANCE, UNWIND, Fill
from arbd.paper.market.prepared import Market, prepare, side_bit
from arbd.paper.market.quotes import PRICES, SIZES
from arbd.paper.params import PARAMETERS
from arbd.paper.reference.convergence import ConvergenceRun
from arbd.paper.reference.execution import Order
from arbd.paper.reference.inventory import InventoryRun
from arbd.paper.reference.strategies import reference_run
from arbd.paper.reference.venue import Execution
from tests.paper.markets import any_params, params_of, random_quotes, wild_market, with_levels

MONEY = (
    "min_notional", "min_notional_a", "min_notional_b", "tick_a", "tick_b", "max_position", "max_daily_loss",
    "initial_capital", *(name for name in PARAMETERS if name.endswith("_turnover")),
)  # fmt: skip
runs = given(
    data=st.data(),
    seed=st.integers(0, 2**32),
    n=st.integers(1, 200),
    strategy=st.sampled_from(["convergence", "inventory"]),
)
few = settings(max_examples=40, deadline=None)
# A run that is given up has no metrics.
ENDURING = {"give_up_trades_per_day": 0, "give_up_drawdown_pct": 0.0}


@runs
@few
def test_fees_slippage_and_turnover_are_the_sums_over_fills(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    params = data.draw(any_params(strategy)) | ENDURING | {"transfer_fee_pct": 0.0, "mark": "hedged"}
    found = run(prepare(random_quotes(seed, n)), params)
    assert found.metrics["total_fees"] == pytest.approx(sum(f.fee for f in found.fills), abs=1e-9)
    assert found.metrics["slippage_cost"] == pytest.approx(sum(f.slippage for f in found.fills), abs=1e-9)
    notional = sum(f.price * f.size for f in found.fills)
    assert found.metrics["turnover"] == pytest.approx(notional / params["initial_capital"], abs=1e-9)


@pytest.mark.parametrize("unhedged", ["hedge", "unwind"])
def test_what_rounding_leaves_of_a_balance_is_never_ordered(unhedged: str) -> None:
    starved = {"strategy": "inventory", "min_spread_pct": -0.2, "max_position": 1000.0, "initial_capital": 500.0}
    params = params_of(**starved, unhedged=unhedged, latency_b_ms=700, fee_a_bps=10, fee_b_bps=10, slippage_bps=1)
    columns = {(0, 1): 1, (0, -1): 0, (1, 1): 3, (1, -1): 2}
    for seed in range(200):
        market = prepare(with_levels(random_quotes(seed, 90), seed))
        found = run(market, params)
        for order in (*found.fills, *found.rejects):
            shown = market.book[order.sent_row, columns[order.venue, order.side]]
            assert order.ordered * shown > 0.99e-9 * 500.0, (seed, order)


@given(data=st.data(), seed=st.integers(0, 2**32), n=st.integers(1, 200))
@few
def test_nothing_is_held_on_either_venue_when_no_position_is_open(data: st.DataObject, seed: int, n: int) -> None:
    params, market = data.draw(any_params("convergence")) | ENDURING, prepare(random_quotes(seed, n))
    known = reference_run(series_for(market, params), params)
    assert isinstance(known, ConvergenceRun)
    for venue in (0, 1):
        held = sum(fill.side * fill.size for fill in known.fills if fill.venue == venue)
        expected = known.position.sign(venue) * known.position.held[venue] if known.position else 0.0
        assert held == pytest.approx(expected, abs=1e-9)


@runs
@few
def test_legs_that_filled_alike_are_followed_by_no_hedge(data: st.DataObject, seed: int, n: int, strategy: str) -> None:
    params = data.draw(any_params(strategy)) | ENDURING
    found = run(prepare(random_quotes(seed, n)), params)
    alike = params["latency_a_ms"] == params["latency_b_ms"] == params["reject_pct_a"] == params["reject_pct_b"] == 0
    if alike and params["lot_step_a"] == params["lot_step_b"] and strategy == "convergence":
        assert not {HEDGE, UNWIND} & {fill.reason for fill in found.fills}
        assert found.metrics["unhedged_s"] == found.metrics["largest_unhedged"] == 0


@runs
@few
def test_no_more_is_filled_from_one_quote_than_the_part_of_its_size(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    market, params = wild_market(seed, n), data.draw(any_params(strategy))
    taken: dict[tuple[int, int, int], list[float]] = {}
    for fill in run(market, params).fills:
        if fill.reason == GAP:
            continue  # before a gap all is closed, whatever the sizes show
        bit = side_bit(fill.venue, fill.side)
        quote = int(np.flatnonzero(market.fresh[: fill.row + 1] >> bit & 1)[-1:].sum())
        shown = sum(size for _, size in ladder(market, params, fill))
        taken.setdefault((bit, quote, 0), []).append(fill.size)
        assert sum(taken[bit, quote, 0]) <= params["participation"] * shown * (1 + 1e-8)


def ladder(market: Market, params: dict[str, Any], fill: Fill) -> list[tuple[float, float]]:
    """Prices and sizes that an order met, from the touch down."""
    at = side_bit(fill.venue, fill.side)
    books = [market.book[fill.row], *market.levels[fill.row, : params["book_levels"] - 1]]
    return [(float(book[at]), float(book[4 + at])) for book in books]


@runs
@few
def test_orders_eat_the_levels_of_a_quote_from_the_best_on_and_none_twice(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    market = prepare(with_levels(random_quotes(seed, n), seed))
    params = data.draw(any_params(strategy)) | {"tick_a": 0.0, "tick_b": 0.0, "gap": "hold"}
    left: dict[tuple[int, int], list[float]] = {}
    for fill in run(market, params).fills:
        at, steps = side_bit(fill.venue, fill.side), ladder(market, params, fill)
        quote = int(np.flatnonzero(market.fresh[: fill.row + 1] >> at & 1)[-1:].sum())
        rest = left.setdefault((at, quote), [params["participation"] * size for _, size in steps])
        need, paid = fill.size, 0.0
        for level, (price, _) in enumerate(steps):
            took = min(need, rest[level])
            rest[level] -= took
            need -= took
            paid += took * price
        assert need <= 1e-8 * fill.size
        worsened = paid / fill.size * (1 + fill.side * params["slippage_bps"] / 1e4)
        assert fill.price == pytest.approx(worsened, rel=1e-7)


@runs
@few
def test_what_has_no_age_is_one_quote_until_its_price_or_size_changes(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    every = data.draw(st.integers(1, 4))
    quotes = random_quotes(seed, n)
    for name in (*PRICES, *SIZES):
        getattr(quotes, name)[:] = getattr(quotes, name)[np.arange(n) // every * every]
    params = data.draw(any_params(strategy)) | {"gap": "hold"}
    taken: dict[tuple[int, int, int], float] = {}
    for fill in run(prepare(quotes), params).fills:
        name = f"{'ask' if fill.side > 0 else 'bid'}_size_{'ab'[fill.venue]}"
        key = fill.venue, fill.side, fill.row // every
        taken[key] = taken.get(key, 0.0) + fill.size
        assert taken[key] <= params["participation"] * getattr(quotes, name)[fill.row] * (1 + 1e-8)


@runs
@few
def test_every_order_is_filled_or_rejected_or_void(data: st.DataObject, seed: int, n: int, strategy: str) -> None:
    params = data.draw(any_params(strategy)) | ENDURING | {"gap": "hold"}
    found = run(prepare(random_quotes(seed, n)), params)
    done = sum(fill.reason != END for fill in found.fills) + len(found.rejects)
    assert found.metrics["rejected"] == len(found.rejects)
    assert 0 <= found.metrics["orders"] - done <= 2  # what is under way at the end
    for each in found.rejects:
        assert each.ordered > 0 and CAUSES[each.cause]


@runs
@few
def test_cash_flows_add_up_to_equity(data: st.DataObject, seed: int, n: int, strategy: str) -> None:
    params = data.draw(any_params(strategy)) | ENDURING | {"transfer_fee_pct": 0.0, "mark": "hedged"}
    market = wild_market(seed, n)
    found = run(market, params)
    cash = sum(-f.side * f.price * f.size - f.fee for f in found.fills)
    held = [sum(f.side * f.size for f in found.fills if f.venue == venue) for venue in (0, 1)]
    # What is held of both venues together was not matched; inventory values it at A's touch.
    held = held if strategy == "convergence" else [sum(held), 0.0]
    marks = [
        market.column(f"{'bid' if held[venue] > 0 else 'ask'}_{'ab'[venue]}")[-1] if held[venue] else 0.0
        for venue in (0, 1)
    ]
    carry = found.metrics["funding_paid"] + found.metrics["borrow_paid"]
    worth = held[0] * marks[0] + held[1] * marks[1]
    assert found.metrics["pnl"] == pytest.approx(cash + worth - carry, abs=1e-6)


@given(data=st.data(), seed=st.integers(0, 2**32), n=st.integers(1, 200))
@few
def test_in_the_market_pnl_is_what_all_balances_are_worth_more(data: st.DataObject, seed: int, n: int) -> None:
    params = data.draw(any_params("inventory")) | ENDURING | {"rebalance": "none", "mark": "market"}
    market = wild_market(seed, n)
    fx, mid = series_for(market, params).fx, (market.column("bid_a") + market.column("ask_a")) / 2.0
    found, capital = run(market, params), params["initial_capital"]
    quote_a, quote_b = (capital * (1.0 - params["base_share"]) / 2.0 / rate for rate in (1.0, fx[0]))
    base = capital * params["base_share"] / mid[0]
    for fill in found.fills:
        cash = -fill.side * fill.price * fill.size - fill.fee
        base += fill.side * fill.size
        if fill.venue == 0:
            quote_a += cash
        else:
            quote_b += cash / fx[fill.row]
    worth = quote_a + quote_b * fx[-1] + base * mid[-1]
    # Undefined where no row has a rate.
    assert found.metrics["pnl"] == pytest.approx(worth - capital, abs=1e-6, nan_ok=bool(np.isnan(fx).all()))


@given(data=st.data(), seed=st.integers(0, 2**32), n=st.integers(1, 200))
@few
def test_balances_are_never_negative(data: st.DataObject, seed: int, n: int) -> None:
    class Watched(InventoryRun):
        def decide(self, row: int) -> None:
            super().decide(row)
            assert min(self.quote) >= -1e-9
            assert min(self.base) >= -1e-12

        def apply(self, row: int, order: Order, done: list[Execution | None]) -> None:
            super().apply(row, order, done)
            assert min(self.quote) >= -1e-9
            assert min(self.base) >= -1e-12

    params, quotes = data.draw(any_params("inventory")), random_quotes(seed, n)
    market = prepare(with_levels(quotes, seed) if data.draw(st.booleans()) else quotes)
    Watched(series_for(market, params), params).walk()


@runs
@few
def test_no_order_fills_before_its_latency(data: st.DataObject, seed: int, n: int, strategy: str) -> None:
    market = prepare(random_quotes(seed, n))
    params = data.draw(any_params(strategy)) | {"latency_jitter": 0.0}
    found = run(market, params)
    for fill in (*found.fills, *found.rejects):
        if fill.reason in (GAP, END):
            continue
        wait_ms = params["hedge_latency_ms"] if fill.reason in (HEDGE, UNWIND) else 0.0
        delay = int(params[f"latency_{'ab'[fill.venue]}_ms"] * 1e6) + int(wait_ms * 1e6)
        assert fill.ts_ns >= market.ts_ns[fill.sent_row] + delay


@given(
    data=st.data(),
    seed=st.integers(0, 2**32),
    n=st.integers(1, 200),
    strategy=st.sampled_from(["convergence", "inventory"]),
)
@few
def test_scaling_prices_and_money_by_a_power_of_two_scales_pnl_exactly(
    data: st.DataObject, seed: int, n: int, strategy: str
) -> None:
    quotes, params = random_quotes(seed, n), data.draw(any_params(strategy)) | ENDURING
    scaled_quotes = replace(
        quotes, **{name: getattr(quotes, name) * 4 for name in ("bid_a", "ask_a", "bid_b", "ask_b")}
    )
    scaled: dict[str, Any] = params | {name: params[name] * 4 for name in MONEY}
    before, after = run(prepare(quotes), params).metrics, run(prepare(scaled_quotes), scaled).metrics
    for name in ("pnl", "realized_pnl", "total_fees", "max_drawdown"):
        assert after[name] == 4 * before[name]
    assert after["trades"] == before["trades"]


@given(seed=st.integers(0, 2**32), n=st.integers(1, 200), threshold=st.sampled_from([0.1, 0.3, 0.5]))
@few
def test_costs_never_raise_the_pnl_of_the_same_inventory_trades(seed: int, n: int, threshold: float) -> None:
    # Sizes are bounded by max_position alone, so that costs change no quantity but through the price paid.
    from arbd.paper.params import resolve

    quotes = replace(
        random_quotes(seed, n),
        **{name: np.full(n, np.inf) for name in ("bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b")},
    )
    base = {
        "strategy": "inventory",
        "min_spread_pct": threshold,
        "max_position": 1.0,
        "initial_capital": 1e6,
        "rebalance": "none",
    }
    free = run(prepare(quotes), resolve({**base, "fee_a_bps": 0, "fee_b_bps": 0, "slippage_bps": 0}))
    costly = run(prepare(quotes), resolve({**base, "fee_a_bps": 5, "fee_b_bps": 5, "slippage_bps": 5}))
    assert costly.metrics["trades"] == free.metrics["trades"]
    assert costly.metrics["pnl"] <= free.metrics["pnl"] + 1e-12


def test_rebalancing_trades_carry_their_reason() -> None:
    quotes = random_quotes(5, 3000)
    from arbd.paper.params import resolve

    params = resolve(
        {"strategy": "inventory", "min_spread_pct": 0.6, "rebalance": "reverse", "rebalance_trigger": 0.45,
         "rebalance_spread_pct": -0.5, "initial_capital": 1000, "max_position": 100}
    )  # fmt: skip
    assert REBALANCE in {fill.reason for fill in run(prepare(quotes), params).fills}
