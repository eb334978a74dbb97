"""hftbacktest, an engine of other people's, runs the same strategy on the same quotes: its fills and its pnl are ours.

Both can express: orders that take liquidity, latencies of both venues, partial fills against what is shown, at the touch
alone or through the levels below it, legs of unequal size that are hedged or unwound, fees as a share of the notional,
lots, cash and positions.

Left out, because hftbacktest has nothing like it:
- what was taken of a quote is gone: its book is as if nobody had traded, so here no quote is met twice;
- slippage, ticks that round prices, minimum notionals: it fills at the prices of its book;
- refusals and random latencies: it has a model of latency by file, and no refusals;
- funding and borrowing, quotes that are too old, gaps, fx, what is open after the last quote: it has none of them;
- an order fills at the book as it is when it arrives, ours at the first quote at or after: rows are as far apart as
  latencies are multiples of, so that both are the same quote;
- what an order filled of which the rest expired is missing in its account: there its orders are believed instead.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from arbd.paper import fills
from arbd.paper.engine import run, run_reference
from arbd.paper.market.prepared import BOOK_COLUMNS, Market, prepare
from arbd.paper.market.quotes import quotes_of
from arbd.paper.params import resolve
from tests.paper.outside_engine import LOT, Trader

pytest.importorskip("hftbacktest", reason="needs hftbacktest: bin/environment dev,bench-engine .venv-bench")

STEP_NS = 100_000_000
TICK = 0.5


def place(fill: fills.Fill) -> tuple[int, int]:
    """Where it was."""
    return fill.row, fill.venue


def market(seed: int, *, plenty: bool, deep: bool, n: int = 400) -> Market:
    """A premium that comes and goes, and sizes that are often too small, or `plenty`."""
    rng = np.random.default_rng(seed)
    mid_b = 10_000 + 4 * TICK * np.cumsum(rng.integers(-2, 3, n))
    premium = TICK * rng.integers(-120, 121, n).repeat(4)[:n]
    premium[-12:] = 0.0
    prices = [
        mid - half * TICK if bid else mid + half * TICK
        for mid in (mid_b + premium, mid_b)
        for half in [rng.integers(1, 4, n)]
        for bid in (True, False)
    ]
    sizes = [LOT * rng.choice([0, 50, 200, 300, 400, 1500], n, p=[0.02, 0.1, 0.3, 0.3, 0.18, 0.1]) for _ in range(4)]
    ts_ns = 1_700_000_000_000_000_000 + STEP_NS * np.arange(n, dtype=np.int64)
    ages = np.zeros(n, dtype=np.int64)
    # A side of size 0 has no level that hftbacktest could know: the least there is.
    sizes = [np.maximum(size, 5.0 if plenty else LOT) for size in sizes]
    book = dict(zip(BOOK_COLUMNS, (*prices, *sizes), strict=True))
    for level in (2, 3) if deep else ():
        for venue in "ab":
            for side, sign in (("bid", -1), ("ask", 1)):
                above = book[f"{side}_{venue}" if level == 2 else f"{side}_{venue}_2"]
                book[f"{side}_{venue}_{level}"] = above + sign * TICK * rng.integers(1, 4, n)
                book[f"{side}_size_{venue}_{level}"] = LOT * rng.integers(1, 300, n)
    return prepare(quotes_of({"ts_ns": ts_ns, **book, "age_a_ns": ages, "age_b_ns": ages.copy()}))


@pytest.mark.parametrize("engine", [run, run_reference], ids=["compiled", "reference"])
@pytest.mark.parametrize("unhedged", ["hedge", "unwind"])
@pytest.mark.parametrize("deep", [False, True], ids=["touch", "levels"])
def test_fills_and_pnl_are_those_of_hftbacktest(engine: Any, unhedged: str, deep: bool) -> None:
    rng, seen, evened, closed, whole = random.Random(unhedged), 0, 0, 0, 0
    for seed in range(12):
        given = {
            "min_spread_pct": rng.choice([0.1, 0.2, 0.3]), "exit_spread_pct": rng.choice([-0.05, 0.0, 0.05]),
            "latency_a_ms": rng.choice([100, 200, 300]), "latency_b_ms": rng.choice([100, 200, 500]),
            "fee_a_bps": rng.choice([0, 1, -0.5]), "fee_b_bps": 2.0, "slippage_bps": 0, "lot_step": LOT,
            "max_position": 5_000.0, "unhedged": unhedged,
        }  # fmt: skip
        params = resolve(given)
        quotes = market(seed, plenty=seed % 4 == 3, deep=deep)
        ours = engine(quotes, params)
        theirs = Trader(quotes, params, STEP_NS, TICK).run(len(quotes))
        # What is open after the last quote is closed in the account, and not by an order.
        orders = sorted((fill for fill in ours.fills if fill.reason != fills.END), key=place)
        known = sorted(zip(theirs.fills, theirs.cash, strict=True))
        assert [(*place(fill), fill.side, round(fill.size / LOT)) for fill in orders] == [
            (row, venue, side, round(size / LOT)) for (row, venue, side, size), _ in known
        ]
        cash = [-fill.side * fill.size * fill.price - fill.fee for fill in orders]
        assert cash == pytest.approx([each for _, each in known], abs=1e-6)
        assert (ours.metrics["orders"], ours.metrics["rejected"]) == (theirs.orders, theirs.unfilled)
        if theirs.positions == (0.0, 0.0):
            assert ours.metrics["pnl"] == pytest.approx(sum(theirs.cash), abs=1e-6)
            assert not theirs.whole or ours.metrics["pnl"] == pytest.approx(theirs.account, abs=1e-6)
            closed += 1
            whole += theirs.whole
        seen += len(ours.fills)
        evened += sum(fill.reason in (fills.HEDGE, fills.UNWIND) for fill in ours.fills)
    assert seen > 300 and evened > 30 and closed > 3 and whole > 0
