"""Old quotes are not traded on, and positions are not carried over gaps unless asked: by hand, for both engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arbd.paper import fills
from arbd.paper.engine import Run, run, run_reference
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import Quotes
from tests.paper.markets import SECOND, flat_quotes, params_of

Engine = Callable[..., Run]


@pytest.fixture(params=[run, run_reference], ids=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> Callable[..., Run]:
    return lambda quotes, **given: request.param(prepare(quotes), params_of(**given))


def told(run_: Run) -> list[tuple[int, int, int, int]]:
    return [(fill.row, fill.venue, fill.side, fill.reason) for fill in run_.fills]


def ages(seconds: list[float]) -> Any:
    return (np.array(seconds) * SECOND).astype(np.int64)


OPENING: dict[str, Any] = {"min_spread_pct": 0.5, "exit_spread_pct": 0.0, "participation": 1}


def test_nothing_is_decided_on_a_quote_that_is_too_old(engine: Engine) -> None:
    quotes = replace(flat_quotes([0.0, 0.01, 0.01, 0.0, 0.0]), age_a_ns=ages([0, 2, 0, 0, 0]))
    assert [row for row, *_ in told(engine(quotes, **OPENING))] == [1, 1, 3, 3]
    assert [row for row, *_ in told(engine(quotes, **OPENING, max_quote_age_s=1.5))] == [2, 2, 3, 3]
    assert [row for row, *_ in told(engine(quotes, **OPENING, max_quote_age_s=2))] == [1, 1, 3, 3]


def test_each_venue_may_have_an_age_of_its_own(engine: Engine) -> None:
    old = ages([0, 2, 0, 0, 0])
    quotes = replace(flat_quotes([0.0, 0.01, 0.01, 0.0, 0.0]), age_a_ns=old)
    late, at_once = [2, 2, 3, 3], [1, 1, 3, 3]
    for limits, rows in (
        ({"max_quote_age_a_s": 1.5}, late),
        ({"max_quote_age_b_s": 1.5}, at_once),
        ({"max_quote_age_s": 1.5, "max_quote_age_a_s": 3}, at_once),
        ({"max_quote_age_s": 50, "max_quote_age_a_s": 1.5}, late),
    ):
        assert [row for row, *_ in told(engine(quotes, **OPENING, **limits))] == rows, limits


def test_a_leg_waits_for_a_quote_of_its_venue_that_is_not_too_old(engine: Engine) -> None:
    quotes = replace(flat_quotes([0.01, 0.01, 0.01, 0.0, 0.0, 0.0]), age_b_ns=ages([0, 5, 5, 0, 0, 0]))
    found = told(engine(quotes, **OPENING, latency_a_ms=1000, latency_b_ms=1000, max_quote_age_s=1.5))
    assert found[:2] == [(1, 0, -1, fills.ENTRY), (3, 1, 1, fills.ENTRY)]


def test_what_is_no_quote_is_not_traded_on_and_shows_the_one_before(engine: Engine) -> None:
    quotes = flat_quotes([0.0, 0.01, 0.01, 0.0, 0.0])
    quotes.bid_b[1] = np.nan
    found = engine(quotes, **OPENING, grid_s=1)
    assert [row for row, *_ in told(found)] == [2, 2, 3, 3]
    assert np.isfinite(found.equity).all()


BEFORE: dict[str, Any] = OPENING | {"gap": "close_before"}


def gapped(block: list[int], **more: Any) -> Quotes:
    return replace(flat_quotes([0.0, 0.01, 0.01, 0.01, 0.01, 0.0], **more), block=np.array(block))


def test_a_gap_is_not_known_beforehand_unless_asked(engine: Engine) -> None:
    quotes = gapped([7, 7, 7, 8, 8, 8])
    closed, held = engine(quotes, **BEFORE), engine(quotes, **OPENING)
    assert told(closed)[2:4] == [(2, 0, 1, fills.GAP), (2, 1, -1, fills.GAP)]
    # The entry at the first quote after the gap is settled at the end of the data.
    assert closed.metrics["trades"] == 2
    assert [(row, reason) for row, _, _, reason in told(held)] == [(1, 0), (1, 0), (5, fills.EXIT), (5, fills.EXIT)]


def test_the_old_name_and_its_values_mean_the_same(engine: Engine) -> None:
    quotes = gapped([7, 7, 7, 8, 8, 8])
    assert told(engine(quotes, **OPENING, carry_over_gaps="no")) == told(engine(quotes, **BEFORE))
    assert told(engine(quotes, **OPENING, carry_over_gaps="yes")) == told(engine(quotes, **OPENING))


def test_quotes_further_apart_than_their_largest_age_are_a_gap(engine: Engine) -> None:
    quotes = flat_quotes([0.0, 0.01, 0.01, 0.01, 0.01, 0.0], t_s=[0, 1, 2, 100, 101, 102])
    assert fills.GAP not in {reason for *_, reason in told(engine(quotes, **BEFORE))}
    assert told(engine(quotes, **BEFORE, max_quote_age_s=50))[2:4] == [(2, 0, 1, fills.GAP), (2, 1, -1, fills.GAP)]


def test_before_a_gap_all_is_closed_whatever_the_sizes_show(engine: Engine) -> None:
    quotes = gapped([0, 0, 0, 1, 1, 1], size=1.0)
    quotes.ask_size_a[2] = 0.0
    found = engine(quotes, **BEFORE)
    assert sum(fill.side * fill.size for fill in found.fills if fill.venue == 0) == 0.0
    assert (2, 0, 1, fills.GAP) in told(found)


def test_an_order_is_under_way_over_a_gap(engine: Engine) -> None:
    quotes = gapped([0, 0, 1, 1, 1, 1])
    found = told(engine(quotes, **OPENING, latency_a_ms=1000))
    assert found[:2] == [(2, 0, -1, fills.ENTRY), (1, 1, 1, fills.ENTRY)]


def test_before_a_gap_a_leg_under_way_is_void_and_the_other_is_closed(engine: Engine) -> None:
    quotes = gapped([0, 0, 1, 1, 1, 1])
    found = engine(quotes, **BEFORE, latency_a_ms=1000)
    assert told(found)[:2] == [(1, 1, 1, fills.ENTRY), (1, 1, -1, fills.GAP)]
    assert found.metrics["rejected"] == 0


def test_an_exit_under_way_at_a_gap_is_void_and_all_is_closed_there(engine: Engine) -> None:
    quotes = replace(flat_quotes([0.01, 0.0, 0.0, 0.0, 0.0]), block=np.array([0, 0, 0, 1, 1]))
    found = told(engine(quotes, **BEFORE, latency_b_ms=1000))
    assert found == [(0, 0, -1, 0), (1, 1, 1, 0), (2, 0, 1, fills.EXIT), (2, 1, -1, fills.GAP)]


def test_balances_of_inventory_are_carried_over_a_gap(engine: Engine) -> None:
    quotes = gapped([0, 0, 0, 1, 1, 1])
    found = engine(quotes, **OPENING, strategy="inventory")
    assert found.metrics["trades"] > 0
    assert fills.GAP not in {reason for *_, reason in told(found)}
