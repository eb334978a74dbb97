"""The table of rules in docs/engine.md, each rule with a test of its name: none without a test, no test without a rule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arbd.paper import fills
from arbd.paper.engine import Run, run, run_reference
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import SIZES, Quotes
from arbd.paper.market.quotes import quotes_of as from_columns
from tests.conftest import REPOSITORY
from tests.paper.markets import SECOND, flat_quotes, params_of, quotes_of

Engine = Callable[..., Run]
RULES: dict[str, Callable[[Engine], None]] = {}
WIDE = [0.0, 0.02, 0.02, 0.0, 0.0]


def rule(test: Callable[[Engine], None]) -> Callable[[Engine], None]:
    """The test of the rule of its name."""
    RULES[test.__name__.replace("_", "-")] = test
    return test


def table() -> list[str]:
    text = (REPOSITORY / "docs" / "engine.md").read_text(encoding="utf-8")
    part = text.split("## The rules, in the order in which they apply", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([a-z-]+)` \|", part, re.MULTILINE)


@pytest.fixture(params=[run, run_reference], ids=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return lambda quotes, **given: request.param(prepare(quotes), params_of(**{"exit_spread_pct": -50, **given}))


def rows(found: Run, *reasons: int) -> list[int]:
    return [fill.row for fill in found.fills if fill.venue == 0 and (not reasons or fill.reason in reasons)]


def sized(quotes: Quotes, **sizes: list[float]) -> Quotes:
    return replace(quotes, **{name: np.array(values, dtype=np.float64) for name, values in sizes.items()})


def everywhere(values: list[float]) -> dict[str, list[float]]:
    return dict.fromkeys(SIZES, values)


@rule
def grid(engine: Engine) -> None:
    """A quote exactly on a grid time is observed by it."""
    quotes = flat_quotes([0.02, 0.03, 0.01, 0.01], t_s=[0, 10, 15, 25])
    found = engine(quotes, min_spread_pct=1.9, grid_s=10)
    assert found.equity.tolist() == pytest.approx([999.0, 1001.0, 1001.0])


@rule
def feed_latency(engine: Engine) -> None:
    """A quote exactly so old is seen; what is decided by it meets the venue's own quote."""
    quotes = flat_quotes([0.0, 0.02, 0.03, 0.04, 0.0, 0.0])
    for latency, row in ((0, 1), (1000, 2), (1001, 3)):
        found = engine(quotes, min_spread_pct=1, feed_latency_a_ms=latency)
        assert (found.fills[0].row, found.fills[0].price) == (row, quotes.bid_a[row])
    # B's quotes do not move: that they come late matters only before the first one has come.
    assert rows(engine(quotes, min_spread_pct=1, feed_latency_b_ms=3000), fills.ENTRY) == [3]


@rule
def fill_time(engine: Engine) -> None:
    """A quote exactly at the decision plus the latency is filled at."""
    for latency, row in ((1999, 3), (2000, 3), (2001, 4)):
        assert rows(engine(flat_quotes(WIDE), min_spread_pct=1, latency_a_ms=latency), fills.ENTRY) == [row]


@rule
def usable_quote(engine: Engine) -> None:
    """An age exactly at the limit is not too old."""
    quotes = replace(flat_quotes(WIDE), age_a_ns=np.array([0, 2, 1, 0, 0]) * SECOND)
    for limit, row in ((2.0, 1), (1.999, 2), (0.0, 1)):
        assert rows(engine(quotes, min_spread_pct=1, max_quote_age_s=limit), fills.ENTRY) == [row]


@rule
def fill_price(engine: Engine) -> None:
    """Bps are of the touch; a price that lies on a tick stays there."""
    found = engine(flat_quotes(WIDE), min_spread_pct=1, slippage_bps=10, tick_a=0.5, tick_b=0.1)
    assert [fill.price for fill in found.fills[:2]] == pytest.approx([101.5, 100.1])
    assert [fill.slippage / fill.size for fill in found.fills[:2]] == pytest.approx([0.5, 0.1])


@rule
def refusal(engine: Engine) -> None:
    """0 % refuses none, 100 % all; the draw is of seed, market, row and venue."""
    none, every = (engine(flat_quotes(WIDE), min_spread_pct=1, reject_pct_a=pct, reject_pct_b=pct) for pct in (0, 100))
    assert not none.rejects
    assert not every.fills and {each.cause for each in every.rejects} == {fills.REFUSED}
    quotes = flat_quotes([0.02, 0.0] * 100)
    given = {"min_spread_pct": 1, "exit_spread_pct": 0, "reject_pct_a": 30}
    refused = [engine(quotes, **given, execution_seed=seed).rejects for seed in (1, 2)]
    assert refused[0] != refused[1]
    assert engine(quotes, **given, fee_a_bps=5, max_daily_loss=1e6).rejects == refused[0] != ()


@rule
def liquidity(engine: Engine) -> None:
    """What is taken of a quote is gone until the venue's next one."""
    quotes = sized(flat_quotes([0.02] * 3 + [0.0] * 4), **everywhere([2.0, 2.0, 2.0, 0.4, 0.4, 0.6, 9.0]))
    found = engine(quotes, min_spread_pct=1, exit_spread_pct=0, participation=0.5, max_position=70)
    closed = [(fill.row, round(fill.size, 9)) for fill in found.fills if fill.venue == 0 and fill.side > 0]
    # Rows 3 and 4 show one quote: half of 0.4 once. Row 5 shows another.
    assert closed == [(3, 0.2), (5, 0.3), (6, 0.2)]
    aged = replace(quotes, age_a_ns=np.zeros(7, np.int64), age_b_ns=np.zeros(7, np.int64))
    found = engine(aged, min_spread_pct=1, exit_spread_pct=0, participation=0.5, max_position=70)
    assert [fill.row for fill in found.fills if fill.venue == 0 and fill.side > 0] == [3, 4, 5]


@rule
def depth(engine: Engine) -> None:
    """The next level where the one above has nothing left; what was taken is gone until anything of that side changes."""
    below = {"bid_a_2": 99.0, "ask_a_2": 103.0, "bid_b_2": 99.0, "ask_b_2": 101.0}
    columns = sized(flat_quotes(WIDE, size=9.0), ask_size_b=[1.0] * 5).columns()
    columns |= {name: np.full(5, price) for name, price in below.items()}
    columns |= {name.replace("_", "_size_", 1): np.full(5, 1.0) for name in below}
    quotes = from_columns(columns)
    for position, size, price in ((100, 1.0, 100.0), (150, 1.5, 150.5 / 1.5), (300, 2.0, 100.5)):
        bought = next(fill for fill in engine(quotes, min_spread_pct=1, max_position=position).fills if fill.venue)
        assert (bought.size, bought.price) == (pytest.approx(size), pytest.approx(price))
        assert bought.slippage == pytest.approx(size * (price - 100))
    assert engine(quotes, min_spread_pct=1, max_position=300, book_levels=1).fills[0].size == 1.0
    for last, closed in ((0.5, [(3, 0.5, 101.5)]), (0.6, [(3, 0.5, 101.5), (4, 0.5, 101.5)])):
        thin = columns | {"ask_size_a": np.full(5, 0.5), "ask_size_a_2": np.array([0.5] * 4 + [last])}
        given = {"min_spread_pct": 1, "exit_spread_pct": 0, "participation": 0.5, "max_position": 300}
        found = engine(from_columns(thin), **given, unhedged="unwind")
        bought_back = [fill for fill in found.fills if fill.venue == 0 and fill.side > 0]
        assert [(fill.row, round(fill.size, 9), round(fill.price, 9)) for fill in bought_back] == closed


@rule
def lot(engine: Engine) -> None:
    """A part is rounded down to the lot; exactly a lot is one."""
    later = {"latency_a_ms": 1000, "latency_b_ms": 1000, "lot_step": 0.25, "max_position": 80}
    for size, filled in ((0.5, [0.5, 0.5]), (0.49, [0.25, 0.25]), (0.2, [])):
        quotes = sized(flat_quotes([0.02] * 2), **everywhere([9.0, size]))
        found = engine(quotes, min_spread_pct=1, **later)
        assert [fill.size for fill in found.fills if fill.reason == fills.ENTRY] == filled
        assert {each.cause for each in found.rejects} == (set() if filled else {fills.BELOW_LOT})


@rule
def minimum(engine: Engine) -> None:
    """Notional exactly at the minimum is enough, at the order's own price; what closes all there is may be smaller."""
    for least, n in ((50.0, 4), (50.1, 0)):
        found = engine(flat_quotes(WIDE, size=0.5), min_spread_pct=1, exit_spread_pct=0, min_notional_b=least)
        assert len(found.fills) == n
    quotes = sized(flat_quotes([0.02, 0.0, 0.0]), **everywhere([1.0, 0.9, 9.0]))
    found = engine(quotes, min_spread_pct=1, exit_spread_pct=0, min_notional=50)
    assert [(fill.row, round(fill.size, 9)) for fill in found.fills if fill.venue == 0] == [(0, 1), (1, 0.9), (2, 0.1)]
    quotes = sized(flat_quotes([0.02, 0.02]), **everywhere([1.0, 0.4]))
    found = engine(quotes, min_spread_pct=1, min_notional=50, latency_a_ms=1000, latency_b_ms=1000)
    assert not found.fills and {each.cause for each in found.rejects} == {fills.BELOW_MINIMUM}


@rule
def fee(engine: Engine) -> None:
    found = engine(flat_quotes(WIDE), min_spread_pct=1, fee_a_bps=10, fee_b_bps=20, slippage_bps=10)
    for fill in found.fills:
        assert fill.fee == pytest.approx(fill.price * fill.size * (20 if fill.venue else 10) / 1e4)


@rule
def fee_tier(engine: Engine) -> None:
    """Exactly the turnover of the 30 UTC days before; what was traded today counts from tomorrow on, for 30 days."""
    day = 86_400.0
    quotes = flat_quotes([0.0, 0.0, 0.02, 0.0, 0.02, 0.0], t_s=[0, 1, 2, 31 * day - 1, 31 * day, 32 * day])
    given = {"min_spread_pct": 1, "fee_a_bps": 10, "fee_b_bps": 10, "unhedged": "hedge"}
    # A trades 102 on day 0, 100 on day 30, 102 on day 31, and something on day 32.
    for turnover, bps in ((102.0, [10, 4, 10, 4]), (102.1, [10, 10, 10, 4])):
        tiers = {"fee_a_tier_1_turnover": turnover, "fee_a_tier_1_bps": 4}
        found = engine(quotes, **given, **tiers, exit_spread_pct=0.5, max_position=100)
        fees = [fill.fee / (fill.price * fill.size) * 1e4 for fill in found.fills if fill.venue == 0]
        assert fees == pytest.approx(bps), turnover
    of_two = {"fee_b_tier_1_turnover": 50, "fee_b_tier_1_bps": 4, "fee_b_tier_3_turnover": 100, "fee_b_tier_3_bps": -1}
    found = engine(quotes, **given, **of_two, exit_spread_pct=0.5, max_position=100)
    assert [fill.fee < 0 for fill in found.fills if fill.venue == 1][:2] == [False, True]


@rule
def hedge(engine: Engine) -> None:
    """What one leg lacks is ordered again, once it is known and at a later quote."""
    quotes = sized(flat_quotes([0.02] * 5), bid_size_a=[1, 1, 0.4, 9, 9], ask_size_b=[1, 1, 1, 9, 9])
    found = engine(quotes, min_spread_pct=1, latency_a_ms=2000, latency_b_ms=2000, max_position=100)
    assert [(f.row, f.venue, f.side, round(f.size, 9), f.reason) for f in found.fills[:3]] == [
        (2, 0, -1, 0.4, fills.ENTRY), (2, 1, 1, 1.0, fills.ENTRY), (4, 0, -1, 0.6, fills.HEDGE)
    ]  # fmt: skip
    assert (found.metrics["unhedged_s"], found.metrics["largest_unhedged"]) == (2.0, pytest.approx(0.6 * 102))
    later = engine(quotes, min_spread_pct=1, latency_a_ms=2000, latency_b_ms=2000, max_position=100, hedge_latency_ms=1)
    assert fills.HEDGE not in {fill.reason for fill in later.fills}


@rule
def unwind(engine: Engine) -> None:
    """What one leg has more is traded back."""
    quotes = sized(flat_quotes([0.02] * 5), bid_size_a=[1, 1, 0.4, 9, 9], ask_size_b=[1, 1, 1, 9, 9])
    given = {"latency_a_ms": 2000, "latency_b_ms": 2000, "max_position": 100, "unhedged": "unwind"}
    found = engine(quotes, min_spread_pct=1, **given)
    assert [(f.row, f.venue, f.side, round(f.size, 9), f.reason) for f in found.fills[2:3]] == [
        (4, 1, -1, 0.6, fills.UNWIND)
    ]


@rule
def dust(engine: Engine) -> None:
    """What subtraction leaves below 1e-9 is nothing."""
    quotes = sized(flat_quotes([0.02, 0.0, 0.0, 0.02, 0.02]), **everywhere([0.8, 0.1, 0.7, 0.8, 0.8]))
    found = engine(quotes, min_spread_pct=1, exit_spread_pct=0, max_position=80)
    assert rows(found, fills.ENTRY, fills.EXIT) == [0, 1, 2, 3]


@rule
def center(engine: Engine) -> None:
    """Edges are less the mean of what was shown before, each for as long as it was."""
    quotes = flat_quotes([0.02, 0.02, 0.03], t_s=[0, 10, 20])
    assert rows(engine(quotes, min_spread_pct=0.9), fills.ENTRY) == [0]
    for threshold, found in ((1.0, [2]), (1.001, [])):
        given = {"center": "ewma", "center_half_life_s": 10, "min_spread_pct": threshold}
        assert rows(engine(quotes, **given), fills.ENTRY) == found
    # Before its first two edges differ there is no deviation, and no entry by it.
    assert rows(engine(quotes, center="ewma", min_spread_pct=0.5, entry_sigma=1), fills.ENTRY) == []
    moved = flat_quotes([0.02, 0.03, 0.03, 0.06], t_s=[0, 10, 20, 30])
    given = {"center": "ewma", "center_half_life_s": 10, "min_spread_pct": 0.1}
    assert rows(engine(moved, **given, entry_sigma=1), fills.ENTRY) == [2]
    assert rows(engine(moved, **given, entry_sigma=4), fills.ENTRY) == [3]


@rule
def entry(engine: Engine) -> None:
    """An edge exactly at the threshold calls; it is in percent of the price bought; each direction has its own."""
    quotes = quotes_of([100, 125, 100], [100, 125, 100], [100, 100, 100], [100, 100, 100])
    for threshold, found in ((25.0, [1]), (25.001, [])):
        assert rows(engine(quotes, min_spread_pct=threshold), fills.ENTRY) == found
    assert rows(engine(quotes, min_spread_pct=1, min_spread_ab_pct=30), fills.ENTRY) == [2] * 0
    assert rows(engine(quotes, min_spread_pct=30, min_spread_ab_pct=25), fills.ENTRY) == [1]
    level = quotes_of([100, 100], [100, 100], [100, 100], [100, 100])
    assert engine(level, min_spread_pct=0).fills[0].side == -1  # both call alike: A is sold


@rule
def signal(engine: Engine) -> None:
    """A stretch ends where neither edge calls, or with a trade."""
    assert engine(flat_quotes([0.02, 0.02, 0.0, 0.02]), min_spread_pct=1, min_notional=1e6).metrics["signals"] == 2
    assert engine(flat_quotes([0.02] * 4), min_spread_pct=1, exit_spread_pct=50).metrics["signals"] == 2


@rule
def daily_loss(engine: Engine) -> None:
    """A loss exactly at the limit refuses; the next UTC day does not."""
    t_s = [86_396.0, 86_397, 86_398, 86_399, 86_400, 86_401]
    quotes = flat_quotes([0.01, 0.02, 0.0, 0.01, 0.0, 0.01], t_s=t_s)
    for limit, found in ((1.0, [0, 5]), (1.001, [0, 3, 5])):
        given = {"min_spread_pct": 0.9, "stop_loss_pct": 0.5, "exit_spread_pct": 0, "max_daily_loss": limit}
        assert rows(engine(quotes, **given), fills.ENTRY) == found


@rule
def hourly(engine: Engine) -> None:
    """After exactly 3600 s a place is free."""
    for later, found in ((3600, [0, 2]), (3599, [0])):
        quotes = flat_quotes([0.02, 0.0, 0.02, 0.0], t_s=[0, 1, later, later + 1])
        given = {"min_spread_pct": 1, "exit_spread_pct": 0, "max_trades_per_hour": 1}
        assert rows(engine(quotes, **given), fills.ENTRY) == found


@rule
def cooldown(engine: Engine) -> None:
    """At exactly its end it is over."""
    quotes = flat_quotes([0.01, 0.03, 0.0, 0.01, 0.0], t_s=[0, 1, 2, 11, 12])
    for seconds, found in ((10, [0, 3]), (10.001, [0])):
        given = {"min_spread_pct": 0.9, "stop_loss_pct": 1, "cooldown_s": seconds}
        assert rows(engine(quotes, **given), fills.ENTRY) == found


@rule
def quantity(engine: Engine) -> None:
    """By the price bought and the sizes shown at the decision, whatever the fill's are."""
    quotes = quotes_of([102, 210], [102, 210], [100, 200], [100, 200])
    found = engine(quotes, min_spread_pct=1, latency_a_ms=1000, latency_b_ms=1000, max_position=100)
    assert [(fill.size, fill.price) for fill in found.fills if fill.reason == fills.ENTRY] == [(1.0, 210), (1.0, 200)]


@rule
def exits(engine: Engine) -> None:
    """The first reason that holds, of those that hold at one quote."""
    quotes = flat_quotes([0.01, 0.05, 0.05], t_s=[0, 10, 20])
    given: dict[str, Any] = {"min_spread_pct": 0.9, "grid_s": 1.0}
    reasons: list[tuple[dict[str, Any], int]] = [
        ({"max_hold_s": 10}, fills.MAX_HOLD), ({"exit_spread_pct": 6}, fills.EXIT), ({"stop_loss_pct": 1}, fills.STOP_LOSS)
    ]  # fmt: skip
    for limits, reason in reasons:
        given |= limits
        assert engine(quotes, **given).fills[2].reason == reason
    gain = flat_quotes([0.05, 0.01], t_s=[0, 10])
    both = {"min_spread_pct": 0.9, "take_profit_pct": 1, "exit_spread_pct": 6}
    assert engine(gain, **both).fills[2].reason == fills.TAKE_PROFIT
    tripped = engine(quotes, **given, circuit_breaker_pct=0.1)
    assert tripped.fills[2].reason in (fills.BREAKER, fills.STOP_LOSS)


@rule
def stop_loss(engine: Engine) -> None:
    """Exactly at the limit; the cost of unwinding is in percent of the price bought when unwinding."""
    quotes = quotes_of([125, 150, 150], [125, 150, 150], [100] * 3, [100] * 3)
    # Unwinding buys A at 150 and sells B at 100: 33.3 % of 150. The entry's edge is 25 % of 100.
    for limit, reason in ((33.33 - 25, fills.STOP_LOSS), (33.34 - 25, fills.END)):
        assert engine(quotes, min_spread_pct=25, stop_loss_pct=limit).fills[2].reason == reason


@rule
def take_profit(engine: Engine) -> None:
    quotes = quotes_of([125, 100, 100], [125, 100, 100], [100] * 3, [100] * 3)
    for limit, reason in ((25.0, fills.TAKE_PROFIT), (25.001, fills.END)):
        assert engine(quotes, min_spread_pct=25, take_profit_pct=limit).fills[2].reason == reason


@rule
def exit_spread(engine: Engine) -> None:
    """A cost exactly at the threshold closes, in percent of the price bought when unwinding."""
    quotes = quotes_of([125, 125], [125, 125], [100] * 2, [100] * 2)
    for threshold, reason in ((20.0, fills.EXIT), (19.999, fills.END)):
        assert engine(quotes, min_spread_pct=25, exit_spread_pct=threshold).fills[2].reason == reason


@rule
def max_hold(engine: Engine) -> None:
    """After exactly that time, from the quote at which the entry's later leg filled."""
    quotes = flat_quotes([0.02] * 4, t_s=[0, 5, 15, 16])
    for limit, row in ((10.0, 2), (10.001, 3)):
        assert rows(engine(quotes, min_spread_pct=1, latency_b_ms=1, max_hold_s=limit), fills.MAX_HOLD) == [row]


@rule
def gap(engine: Engine) -> None:
    """Quotes exactly `max_quote_age_s` apart are no gap, and none is known beforehand."""
    quotes = flat_quotes([0.02, 0.02, 0.02, 0.0], t_s=[0, 1, 11, 12])
    for limit, closed in ((10, []), (9.999, [1])):
        before = engine(quotes, min_spread_pct=1, gap="close_before", max_quote_age_s=limit)
        assert rows(before, fills.GAP) == closed
    assert rows(engine(quotes, min_spread_pct=1, max_quote_age_s=1), fills.GAP) == []


@rule
def drawdown(engine: Engine) -> None:
    """In percent of the peak of equity until then; exactly at the limit the breaker trips."""
    quotes = flat_quotes([0.02, 0.07, 0.07, 0.0], t_s=[0, 10, 20, 30])
    for limit, tripped in ((0.5, 1), (0.51, 0)):
        found = engine(quotes, min_spread_pct=1, grid_s=10, circuit_breaker_pct=limit)
        assert found.metrics["circuit_breaker_active"] == tripped
        assert found.metrics["max_drawdown_pct"] == pytest.approx(0.5)


@rule
def margin(engine: Engine) -> None:
    """Equity over what is open on both venues, at the touch where it would be closed: on the grid, and after fills."""
    quotes = flat_quotes([0.02, 0.07, 0.0], t_s=[0, 10, 20])
    found = engine(quotes, min_spread_pct=1, exit_spread_pct=0, grid_s=10)
    assert found.metrics["margin_low"] == pytest.approx(995 / 207)
    assert engine(quotes, min_spread_pct=1, exit_spread_pct=0).metrics["margin_low"] == pytest.approx(1000 / 202)
    assert math.isnan(engine(quotes, min_spread_pct=50).metrics["margin_low"])
    assert math.isnan(engine(quotes, strategy="inventory", min_spread_pct=1).metrics["margin_low"])


@rule
def capacity(engine: Engine) -> None:
    """What a larger max_position does not find in the book lowers it."""
    quotes = flat_quotes([0.02, 0.0, 0.0], size=1.0)
    for position, found in ((50, 0.02), (100, 0.02), (400, 0.005)):
        made = engine(quotes, min_spread_pct=1, exit_spread_pct=0, max_position=position)
        assert made.metrics["capacity"] == pytest.approx(found)


@rule
def carry(engine: Engine) -> None:
    """What is long pays funding, what is short receives it and pays for being borrowed; by time, on the price opened."""
    quotes = flat_quotes([0.0, 0.25, 0.25, 0.0], t_s=[0, 0, 8 * 3600, 16 * 3600])
    given = {"min_spread_pct": 25, "exit_spread_pct": 0}
    found = engine(quotes, **given, funding_a_bps_8h=3, funding_b_bps_8h=8)
    # 1 unit is short on A at 125 and long on B at 100, for 16 h.
    assert found.metrics["funding_paid"] == pytest.approx(2 * (100 * 8 - 125 * 3) / 1e4)
    found = engine(quotes, **given, borrow_a_pct_year=10, borrow_b_pct_year=99)
    assert found.metrics["borrow_paid"] == pytest.approx(125 * 0.1 * 16 / 24 / 365)
    assert found.metrics["pnl"] == pytest.approx(25 - found.metrics["borrow_paid"])
    # A told rate is paid on the mid by what was held before its row: not by what is opened there, but by what is closed.
    told = replace(
        quotes, funding_a=np.array([np.nan, 0.5, np.nan, 0.01]), funding_b=np.array([np.nan, np.nan, 0.02, np.nan])
    )
    assert engine(told, **given).metrics["funding_paid"] == pytest.approx(100 * 0.02 - 100 * 0.01)


@rule
def end_of_data(engine: Engine) -> None:
    """What is open is closed at the last quote as far as its sizes allow; what was opened there is not."""
    quotes = sized(flat_quotes([0.02, 0.01]), **everywhere([1.0, 0.25]))
    found = engine(quotes, min_spread_pct=1.5)
    assert [(fill.size, fill.reason) for fill in found.fills[2:]] == [(0.25, fills.END)] * 2
    assert found.metrics["orders"] == 2
    assert len(engine(flat_quotes([0.0, 0.02]), min_spread_pct=1).fills) == 2


@rule
def open_position(engine: Engine) -> None:
    """Valued at the touch, before fees and slippage."""
    quotes = sized(flat_quotes([0.02, 0.01], half=0.001), **everywhere([1.0, 0.0]))
    found = engine(quotes, min_spread_pct=1.5, fee_a_bps=10)
    sold, bought = 102 * 0.999, 100 * 1.001
    size = 100 / bought
    expected = size * (sold - bought + 100 * 0.999 - 101 * 1.001) - size * sold * 10 / 1e4
    assert found.metrics["pnl"] == pytest.approx(expected)
    assert found.metrics["realized_pnl"] == 0


@rule
def balances(engine: Engine) -> None:
    """Bounded by what is there at the decision, and at the fill by what the balance pays for then."""
    given = {
        "strategy": "inventory",
        "min_spread_pct": 1,
        "rebalance": "none",
        "max_position": 1e6,
        "initial_capital": 1000,
    }
    found = engine(quotes_of([102] * 2, [102] * 2, [100] * 2, [100] * 2), **given)
    # B holds 250 of quote, A 250 / 102 of base: the smaller quantity.
    assert found.fills[0].size == pytest.approx(250 / 102)
    dearer = quotes_of([102, 102], [102, 102], [100, 200], [100, 200])
    found = engine(dearer, **given, latency_a_ms=1000, latency_b_ms=1000)
    assert [fill.size for fill in found.fills if fill.venue == 1] == pytest.approx([1.25])


@rule
def mark(engine: Engine) -> None:
    """Hedged, nothing but trading is seen; in the market, base is worth A's mid, and B's currency what fx says."""
    quotes = replace(quotes_of([90, 120], [110, 140], [1, 1], [1, 1]), fx=np.array([100.0, 110.0]))
    given = {"strategy": "inventory", "min_spread_pct": 50, "rebalance": "none", "initial_capital": 1000}
    assert engine(quotes, **given, mark="hedged").metrics["pnl"] == 0
    found = engine(quotes, **given, mark="market")
    # 5 of base from 100 to 130; 250 on B become 275.
    assert found.metrics["pnl"] == pytest.approx(5 * 30 + 25)
    assert (found.metrics["realized_pnl"], found.equity.tolist()) == (0, pytest.approx([1175]))
    # B's currency pays for what it is worth when it is traded.
    dearer = replace(quotes_of([100, 200], [100, 200], [1, 1], [1, 1]), fx=np.array([100.0, 150.0]))
    fills_of = [
        engine(dearer, **(given | {"min_spread_pct": 1, "max_position": 1e6}), mark=how).fills
        for how in ("hedged", "market")
    ]
    assert [found[0].size for found in fills_of] == pytest.approx([250 / 150, 2.5])


@rule
def transfer(engine: Engine) -> None:
    """What has arrived by then is there at a quote, then a transfer is sent, then a trade is decided."""
    quotes = flat_quotes([0.02, 0.02, 0.02, 0.02, 0.02])
    given = {
        "strategy": "inventory",
        "min_spread_pct": 1,
        "max_position": 1e6,
        "initial_capital": 1000,
        "transfer_fee_pct": 0,
    }
    for delay, found in ((2.0, [0, 3]), (2.001, [0, 4])):
        assert rows(engine(quotes, **given, rebalance_trigger=0.4, transfer_delay_s=delay)) == found


@rule
def reverse(engine: Engine) -> None:
    """Below the trigger, not at it, the direction that evens out has the lower threshold."""
    quotes = flat_quotes([0.02, 0.0])
    given = {
        "strategy": "inventory",
        "min_spread_pct": 1,
        "rebalance": "reverse",
        "initial_capital": 1000,
        "max_position": 100,
    }
    for trigger, found in ((0.5, [fills.REBALANCE]), (0.1, [])):
        evened = engine(quotes, **given, rebalance_trigger=trigger, rebalance_spread_pct=-1)
        assert [fill.reason for fill in evened.fills[2::2]] == found


@rule
def first_mid(engine: Engine) -> None:
    quotes = quotes_of([90, 102], [110, 102], [100, 100], [100, 100])
    given = {
        "strategy": "inventory",
        "min_spread_pct": 1,
        "rebalance": "none",
        "max_position": 1e6,
        "initial_capital": 1000,
    }
    assert engine(quotes, **given).fills[0].size == pytest.approx(2.5)


@rule
def partial_step(engine: Engine) -> None:
    """The last grid step, where it is no whole one, has no part in Sharpe, Sortino and blocks."""
    quotes = flat_quotes([0.02, 0.03, 0.01, 0.02, 0.0], t_s=[0, 10, 20, 30, 34])
    found = engine(quotes, min_spread_pct=1.9, grid_s=10)
    returns = np.diff(np.concatenate([[1000.0], found.equity])) / 1000.0
    year = math.sqrt(365 * 86_400 / 10)
    assert len(returns) == 4
    assert found.metrics["sharpe"] == pytest.approx(returns[:3].mean() / returns[:3].std(ddof=1) * year)
    assert found.blocks[:, 0].sum() == pytest.approx(returns[:3].sum())


@rule
def sortino(engine: Engine) -> None:
    """The root mean square of what is below 0, over all whole steps."""
    quotes = flat_quotes([0.02, 0.03, 0.01, 0.02, 0.0], t_s=[0, 10, 20, 30, 40])
    found = engine(quotes, min_spread_pct=1.9, grid_s=10)
    returns = np.diff(np.concatenate([[1000.0], found.equity])) / 1000.0
    below = math.sqrt(float((np.minimum(returns, 0) ** 2).mean()))
    assert found.metrics["sortino"] == pytest.approx(returns.mean() / below * math.sqrt(365 * 86_400 / 10))


@rule
def standing_time(engine: Engine) -> None:
    """A market whose time stands still has no grid, and nothing per time."""
    found = engine(flat_quotes([0.02, 0.0, 0.02], t_s=[5, 5, 5]), min_spread_pct=1, exit_spread_pct=0)
    assert found.metrics["trades"] == 1 and len(found.equity) == 0
    assert all(math.isnan(found.metrics[name]) for name in ("sharpe", "sortino", "exposure"))


@rule
def exposure(engine: Engine) -> None:
    """Time with a position over all time; inventory has no positions, and holding has no time."""
    found = engine(flat_quotes([0.0, 0.02, 0.02, 0.0, 0.0]), min_spread_pct=1, exit_spread_pct=0)
    assert (found.metrics["exposure"], found.metrics["avg_hold_s"]) == (0.5, 2.0)
    found = engine(flat_quotes(WIDE), strategy="inventory", min_spread_pct=1)
    assert math.isnan(found.metrics["exposure"]) and math.isnan(found.metrics["avg_hold_s"])


@rule
def give_up_trades(engine: Engine) -> None:
    """Exactly as many as the limit may be closed in a UTC day."""
    quotes = flat_quotes([0.02, 0.0] * 3)
    for limit, given_up in ((3, 0), (2, 1)):
        found = engine(quotes, min_spread_pct=1, exit_spread_pct=0, give_up_trades_per_day=limit)
        assert found.metrics["given_up"] == given_up
        assert math.isnan(found.metrics["pnl"]) == bool(given_up)


@rule
def give_up_drawdown(engine: Engine) -> None:
    """A drawdown exactly at the limit ends the run."""
    quotes = flat_quotes([0.02, 0.07, 0.07, 0.0, 0.02, 0.0], t_s=[0, 10, 20, 30, 40, 50])
    for limit, given_up in ((0.5, 1), (0.51, 0)):
        found = engine(quotes, min_spread_pct=1, exit_spread_pct=0, grid_s=10, give_up_drawdown_pct=limit)
        assert (found.metrics["given_up"], len(found.fills)) == (given_up, 2 if given_up else 8)


def test_every_rule_has_its_test_and_every_test_its_rule_once() -> None:
    named = table()
    assert len(named) == len(set(named))
    assert set(named) == set(RULES)


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_rule(name: str, engine: Engine) -> None:
    RULES[name](engine)
