"""What the paper engine is measured against: loops over the same edges, and other people's engines.

`simd_loop` is the harder baseline: thresholds in and out, fees, no latency, stops or limits; per quote one branch-free
pass over all sets, which the compiler turns into vector instructions. vectorbt and hftbacktest do what they can
express of it; they are optional (`pip install arbd[bench-engine]`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

TILE = 256


# Places of a tile's columns in one flat array: offsets that the compiler knows let it use vector instructions.
ENTRY, EXIT, COST, SIDE, PAID, PNL, TRADES = (TILE * place for place in range(7))


@njit(cache=True, error_model="numpy")
def _simd_tile(ab: Any, ba: Any, t: Any) -> None:
    for row in range(ab.shape[0]):
        edge_ab, edge_ba = ab[row], ba[row]
        best = max(edge_ab, edge_ba)
        towards = 1.0 if edge_ab >= edge_ba else -1.0
        for i in range(TILE):
            held = t[SIDE + i]
            closing = edge_ba if held > 0.0 else edge_ab
            opens = (held == 0.0) & (best >= t[ENTRY + i])
            closes = (held != 0.0) & (-closing <= t[EXIT + i])
            paid = t[PAID + i]
            t[PNL + i] += (paid + closing - t[COST + i]) if closes else 0.0
            t[TRADES + i] += 1.0 if closes else 0.0
            t[PAID + i] = best - t[COST + i] if opens else paid
            t[SIDE + i] = towards if opens else (0.0 if closes else held)


def simd_loop(ab: Any, ba: Any, entry: Any, exit_: Any, cost: Any) -> Any:
    """Trades of each set of thresholds (percent) after all quotes; sets in tiles that stay in the first cache."""
    trades = np.zeros(len(entry))
    for start in range(0, len(entry), TILE):
        part = slice(start, min(len(entry), start + TILE))
        size = part.stop - part.start
        tile = np.zeros(7 * TILE)
        tile[ENTRY : ENTRY + TILE] = np.inf
        for place, column in ((ENTRY, entry), (EXIT, exit_), (COST, cost)):
            tile[place : place + size] = column[part]
        _simd_tile(ab, ba, tile)
        trades[part] = tile[TRADES : TRADES + size]
    return trades


def vectorbt_from_signals(premium: Any, entry: Any, exit_: Any) -> Any:
    """Trades of each set by vectorbt's `Portfolio.from_signals`: one series that is bought when cheap, closed when not.

    It has no second venue: what it trades is the premium of A over B (in percent, moved up so that it is a price),
    sold at the entry threshold, bought back at the exit threshold, with a fee.
    """
    import vectorbt as vbt

    price = 100.0 - premium
    portfolio = vbt.Portfolio.from_signals(
        np.repeat(price[:, None], len(entry), axis=1),
        premium[:, None] >= entry[None, :],
        premium[:, None] <= exit_[None, :],
        fees=0.0002,
        freq="1s",
    )
    return portfolio.trades.count().to_numpy()


def hftbacktest_events(ts_ns: Any, bid: Any, ask: Any, size: float) -> Any:
    """A venue's quotes as hftbacktest's events: each row replaces both touches."""
    import hftbacktest as hbt

    both = hbt.EXCH_EVENT | hbt.LOCAL_EVENT | hbt.DEPTH_BBO_EVENT
    events = np.zeros(2 * len(ts_ns), dtype=hbt.event_dtype)
    for at, (side, price) in enumerate(((hbt.BUY_EVENT, bid), (hbt.SELL_EVENT, ask))):
        part = events[at::2]
        part["ev"], part["px"], part["qty"] = both | side, price, size
        part["exch_ts"] = part["local_ts"] = ts_ns
    return events


def hftbacktest_loop(feeds: Any, ticks: tuple[float, float], entry_pct: float, exit_pct: float) -> int:
    """Round trips of one set by hftbacktest's event loop: market orders on both venues, order latency, fees."""
    import hftbacktest as hbt

    assets = [
        hbt.BacktestAsset()
        .data([feed])
        .linear_asset(1.0)
        .constant_order_latency(50_000_000, 50_000_000)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0001, 0.0001)
        .tick_size(tick)
        .lot_size(0.001)
        for feed, tick in zip(feeds, ticks, strict=True)
    ]
    backtest = hbt.HashMapMarketDepthBacktest(assets)
    try:
        return int(_hftbacktest_strategy()(backtest, entry_pct, exit_pct))
    finally:
        backtest.close()


def _hftbacktest_strategy() -> Any:
    import hftbacktest as hbt

    good_till_canceled, market, every_asset = hbt.GTC, hbt.MARKET, hbt.ALL_ASSETS

    @njit
    def strategy(hbt_: Any, entry_pct: float, exit_pct: float) -> int:
        side, order, trips = 0, 0, 0
        while hbt_.wait_next_feed(False, 10**12) == 2:
            a, b = hbt_.depth(0), hbt_.depth(1)
            edge_ab = (a.best_bid - b.best_ask) / b.best_ask * 100.0
            edge_ba = (b.best_bid - a.best_ask) / a.best_ask * 100.0
            if side == 0 and max(edge_ab, edge_ba) >= entry_pct:
                side = 1 if edge_ab >= edge_ba else -1
            elif side != 0 and -(edge_ba if side > 0 else edge_ab) <= exit_pct:
                side, trips = 0, trips + 1
            else:
                continue
            order += 1
            sells_a = side > 0 or (side == 0 and trips % 2 == 0)
            if sells_a:
                hbt_.submit_sell_order(0, order, a.best_bid, 0.01, good_till_canceled, market, False)
                hbt_.submit_buy_order(1, order, b.best_ask, 0.01, good_till_canceled, market, False)
            else:
                hbt_.submit_buy_order(0, order, a.best_ask, 0.01, good_till_canceled, market, False)
                hbt_.submit_sell_order(1, order, b.best_bid, 0.01, good_till_canceled, market, False)
            hbt_.clear_inactive_orders(every_asset)
        return trips

    return strategy
