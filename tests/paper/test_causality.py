"""Nothing that is decided at a quote depends on a later one: change, delete or append rows, and all before is as it was."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest

from arbd.paper.engine import Run, run, run_reference
from arbd.paper.fills import END, ENTRY, NOTHING_LEFT, Fill, Reject
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import Quotes, quotes_of
from tests.paper.markets import SECOND, flat_quotes, params_of, random_params, wild_quotes, with_levels

CASES = int(os.environ.get("ARBD_CAUSALITY_CASES", "400"))


def changed_after(quotes: Quotes, t: int, rng: random.Random) -> Quotes:
    """Other rows after `t`: their order, their prices and their times; what a source does not tell stays untold."""
    draw = np.random.default_rng(rng.getrandbits(32))
    order, factor = draw.permutation(np.arange(t + 1, len(quotes))), float(draw.uniform(0.95, 1.05))
    later: dict[str, Any] = {}
    for name, column in quotes.told().items():
        new = column.copy()
        new[t + 1 :] = column[order] * (factor if name.startswith(("bid_a", "ask_a")) and "size" not in name else 1)
        later[name] = new
    steps = draw.choice([0, 1, 60, 9_000], len(quotes) - t - 1) * SECOND
    later["ts_ns"][t + 1 :] = quotes.ts_ns[t] + np.cumsum(steps)
    return quotes_of({**quotes.columns(), **later})


def beginning(quotes: Quotes, count: int) -> Quotes:
    return quotes_of({name: column[:count] for name, column in quotes.columns().items()})


def up_to(found: Run, t: int) -> tuple[list[Fill], list[Reject]]:
    """What was done up to a row; closing at the last row is the end of the account, and no decision."""
    fills = [fill for fill in found.fills if fill.row <= t and fill.reason != END]
    return fills, [each for each in found.rejects if each.row <= t]


@pytest.mark.parametrize("strategy", ["convergence", "inventory"])
def test_what_comes_later_changes_nothing_that_was_decided(strategy: str) -> None:
    rng, done = random.Random(f"causality {strategy}"), 0
    for case in range(CASES):
        n = rng.choice([20, 60, 150])
        quotes, t = wild_quotes(case, n), rng.randrange(n - 1)
        if case % 2:
            quotes = with_levels(quotes, case)
        # Closing before gaps is foresight, and says so. What is under way when a run is given up is told nowhere.
        params = random_params(rng, strategy) | {
            "gap": "hold",
            "give_up_trades_per_day": 0,
            "give_up_drawdown_pct": 0.0,
        }
        known = up_to(run(prepare(quotes), params), t)
        for other in (changed_after(quotes, t, rng), beginning(quotes, rng.randrange(t + 1, n + 1))):
            assert up_to(run(prepare(other), params), t) == known
        done += bool(known[0] or known[1])
    assert done > CASES / 8


@pytest.mark.parametrize("engine", [run, run_reference], ids=["compiled", "reference"])
def test_an_order_is_under_way_until_its_quote_whatever_it_finds_there(engine: Any) -> None:
    quotes = flat_quotes([0.02] * 10, size=1.0)
    for name in ("bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b"):
        getattr(quotes, name)[3] = 0.0
    given: dict[str, Any] = {"min_spread_pct": 1, "exit_spread_pct": -50, "max_position": 50}
    given |= {"latency_a_ms": 3000, "latency_b_ms": 3000}
    found = engine(prepare(quotes), params_of(**given))
    assert [(f.row, f.sent_row) for f in found.fills if f.reason == ENTRY] == [(7, 4), (7, 4)]
    assert [(each.row, each.sent_row, each.cause) for each in found.rejects] == [(3, 0, NOTHING_LEFT)] * 2
    assert (found.metrics["orders"], found.metrics["rejected"], found.metrics["signals"]) == (4, 2, 1)
    # It used up its place among the entries of the hour.
    once = engine(prepare(quotes), params_of(**given, max_trades_per_hour=1))
    assert (once.fills, once.metrics["orders"], once.metrics["rejected"]) == ((), 2, 2)


@pytest.mark.parametrize("engine", [run, run_reference], ids=["compiled", "reference"])
def test_an_order_is_no_larger_than_what_is_shown_when_it_is_sent(engine: Any) -> None:
    quotes = flat_quotes([0.02] * 3, size=0.3)
    for name in ("bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b"):
        getattr(quotes, name)[1:] = 9.0
    found = engine(
        prepare(quotes), params_of(min_spread_pct=1, exit_spread_pct=-50, latency_a_ms=1000, latency_b_ms=1000)
    )
    assert [(f.row, f.size, f.ordered) for f in found.fills if f.reason == ENTRY] == [(1, 0.3, 0.3)] * 2


@pytest.mark.parametrize("engine", [run, run_reference], ids=["compiled", "reference"])
def test_no_dust_is_left_of_a_position_that_is_closed_in_parts(engine: Any) -> None:
    quotes = flat_quotes([0.02, 0.0, 0.0, 0.02, 0.02, 0.0], size=0.8)
    for name in ("bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b"):
        getattr(quotes, name)[1:3] = [0.1, 0.7]
    found = engine(prepare(quotes), params_of(min_spread_pct=1, exit_spread_pct=0, max_position=80))
    assert [(f.row, f.size) for f in found.fills if f.venue == 0] == [(0, 0.8), (1, 0.1), (2, 0.7), (3, 0.8), (5, 0.8)]
    assert found.metrics["trades"] == 2
